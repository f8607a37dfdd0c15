//! A plan as it is written: the types behind `docs/plan.schema.json` and `docs/plan-reference.md`.
//!
//! Reading is forgiving, so that one pass finds every error: a required key that is missing reads
//! as empty and is reported by [`super::resolve`]. The doc comments here are the reference that
//! users read.

mod generate;
mod guest;
mod interleaving;
mod kernel;
mod matrix;
mod plan;
mod program;
mod value;

pub use generate::{catalogue_schema, json_schema, reference};
pub use guest::{Brd, Guest, SwapDevice, SwapSetting, Zram};
pub use guest::{Counted, Deadlines, Stop, Test};
pub use interleaving::{At, ByThread, Expect, Interleaving, Sweep};
pub use kernel::{BaseConfig, Debian, Git, Image, Kernel, PatchFile, Source, Tarball, Variant};
pub use kernel::{Catalogue, CatalogueEntry};
pub use matrix::{ARGS_OF_ALL, Axis, GUEST_AXES, Matrix};
pub use plan::{Defaults, Plan};
pub use program::{Arguments, Build, Exit, Oracle, Patterns};
pub use value::{Interval, OneOrMany, OrText, Scalar, Size};

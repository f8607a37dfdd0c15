//! Test plans: what to build, boot and race, read from YAML and checked before anything runs.
//!
//! [`schema`] is a plan as written, [`model`] a plan ready to run, [`resolve`] the way from one to the other.

pub mod axis;
mod control;
pub mod glob;
pub mod jobs;
pub mod model;
pub mod names;
pub mod partition;
pub mod resolve;
pub mod roots;
pub mod schema;
pub mod validate;

use std::path::{Path, PathBuf};

pub use partition::Partition;

use crate::yaml::{Diagnostics, Document};
use roots::Roots;

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the plan {}", path.display())]
    Read {
        /// The plan.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The data folder cannot be found.
    #[error(transparent)]
    Roots(#[from] roots::Error),
    /// The plan has errors.
    #[error("{0}")]
    Plan(Diagnostics),
}

/// Reads, checks and resolves the plan in `path`. `data` is the data folder when the user names one; see
/// [`Roots::find`].
///
/// # Errors
///
/// When the file or the data folder cannot be read, and all errors in the plan at once.
pub fn load(path: &Path, data: Option<&Path>) -> Result<model::Plan, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    let text = String::from_utf8(bytes).map_err(|error| Error::Plan(Diagnostics::not_utf8(path, &error)))?;
    let roots = Roots::find(path, data)?;
    parse(&text, path, &roots).map_err(Error::Plan)
}

/// Checks and resolves a plan given as text. `path` is where it comes from: its folder is where relative paths start.
/// Files that the plan names are looked for, not read.
///
/// # Errors
///
/// All errors in the plan at once.
pub fn parse(text: &str, path: &Path, roots: &Roots) -> Result<model::Plan, Diagnostics> {
    let (raw, document) = Document::read::<schema::Plan>(text, path);
    let Some(raw) = raw else { return Err(document.into_diagnostics()) };
    let plan = resolve::resolve(&raw, &document, text, path, roots);
    document.finish().map(|()| plan)
}

//! The language of drawn interleavings: what a mailing list draws in columns, as data.
//! `docs/diagrams.md` tells it whole.
//!
//! Pure: no I/O, and nothing of any kernel is known here. Whether a point exists is for
//! [`kernel_debug::Symbols`] to say, whether an operation does for the guest test.

mod drawing;
mod model;
mod point;
mod steps;
#[cfg(test)]
mod tests;

pub use drawing::parse_drawing;
pub use model::{Action, Diagram, DiagramError, HeldPoint, Hold, Operated, Step, held_point, thread_name};
pub use point::{parse_names, parse_operation, parse_point};
pub use steps::{StepLine, parse_steps};

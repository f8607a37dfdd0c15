//! Results told to people and to machines: one format a file, all from [`Results`] alone, the same bytes every time.

mod boot;
mod cases;
mod coverage;
mod forced;
mod html;
mod junit;
mod kcidb;
mod ktap;
mod mail;
mod markdown;
mod profile;
pub mod progress;
mod story;
mod summary;
mod table;
mod tally;
pub mod terminal;
mod window;
mod words;
mod write;

use crate::analysis::Results;

pub use html::Html;
pub use junit::Junit;
pub use kcidb::Kcidb;
pub use ktap::Ktap;
pub use mail::Mail;
pub use markdown::Markdown;
pub use summary::{Summary, SummaryJson, summary_schema};
pub use write::{WriteError, append_step_summary, write_all};

/// A file that a run leaves behind.
pub trait Format {
    /// Name for people and for selecting it.
    fn name(&self) -> &'static str;

    /// Name of the file in the results directory.
    fn file_name(&self) -> &'static str;

    /// The whole file.
    fn render(&self, results: &Results) -> Result<String, RenderError>;
}

/// A format that could not be rendered: a defect of twinboot, not of the results.
#[derive(Debug, thiserror::Error)]
#[error("cannot render {format}: {reason}")]
pub struct RenderError {
    /// [`Format::name`].
    pub format: &'static str,
    /// What failed.
    pub reason: String,
}

/// Every format, in the order they are written.
pub const FORMATS: &[&dyn Format] = &[&SummaryJson, &Markdown, &Html, &Mail, &Junit, &Ktap, &Kcidb];

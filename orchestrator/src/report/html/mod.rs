//! `report.html`: one page that needs nothing but itself.

mod page;
mod plots;

use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use super::{Format, RenderError};
use crate::outcome::Results;

/// The HTML format.
#[derive(Debug, Clone, Copy)]
pub struct Html;

const TEMPLATE: &str = include_str!("page.html");

impl Format for Html {
    fn name(&self) -> &'static str {
        "html"
    }

    fn file_name(&self) -> &'static str {
        "report.html"
    }

    fn render(&self, results: &Results) -> Result<String, RenderError> {
        let failed = |reason: String| RenderError { format: self.name(), reason };
        let page = page::Page::of(results).map_err(&failed)?;
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        let mut text = environment.render_str(TEMPLATE, &page).map_err(|error| failed(format!("{error:#}")))?;
        text.push('\n');
        Ok(text)
    }
}

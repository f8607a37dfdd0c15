//! `report.html`: one page that needs nothing but itself.

mod forced;
mod grid;
mod page;
mod plots;

use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use super::{Format, RenderError};
use crate::analysis::Results;

/// The HTML format.
#[derive(Debug, Clone, Copy)]
pub struct Html;

const TEMPLATE: &str = include_str!("page.html");
/// What only runs with forced interleavings or sweeps have: their part of the page, and its style.
const FORCED: [(&str, &str); 2] =
    [("forced.html", include_str!("forced.html")), ("forced.css.html", include_str!("forced.css.html"))];

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
        for (name, part) in FORCED {
            environment.add_template(name, part).map_err(|error| failed(format!("{error:#}")))?;
        }
        let mut text = environment.render_str(TEMPLATE, &page).map_err(|error| failed(format!("{error:#}")))?;
        text.push('\n');
        Ok(text)
    }
}

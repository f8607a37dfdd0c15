//! Forced interleavings and sweeps in Markdown.

#![expect(clippy::format_push_string, reason = "writing to a string cannot fail; `write!` only adds a result to drop")]

use super::{block, capital, drawn_block, escaped};
use crate::analysis::{Results, SweepResult};
use crate::report::{forced, window};

/// Drawn interleavings: the drawing, what each variant did with it, and where it was that it could not go on.
pub(super) fn drawings(results: &Results) -> String {
    let mut text = String::new();
    for drawing in forced::drawings(results) {
        text += &format!("\n## {}\n\n", escaped(&capital(&drawing.title())));
        let lines = drawing.lines(100);
        let marked = |(line, note): &(String, Option<String>)| forced::marked(line, note.as_deref(), 140);
        text += &drawn_block(lines.iter().flat_map(marked));
        text += "\n| variant | forced | | without the hold | swap entry |\n|---|---|---|---|---|\n";
        for result in &drawing.variants {
            let judged = results.forced_comparison(&result.spec.id).map_or("", |it| it.verdict.word());
            text += &format!(
                "| {} | {} | {judged} | {} | {} |\n",
                escaped(&result.spec.variant),
                escaped(&forced::tally(result)),
                escaped(&forced::without(result)),
                escaped(&forced::entries(result, "\u{2192}")),
            );
        }
        for result in &drawing.variants {
            for it in &result.exclusions {
                text += &format!("\n{}: {}\n", escaped(&result.spec.variant), escaped(&forced::exclusion(it)));
                if let Some(state) = it.waiting().filter(|state| !state.stack.is_empty()) {
                    text += &format!("\n{}", block(forced::stack(&state.stack)));
                }
            }
            if let Some(it) = results.forced_comparison(&result.spec.id) {
                text += &format!(
                    "\n{} is {}: {}.\n",
                    escaped(&result.spec.variant),
                    it.verdict.word(),
                    escaped(&forced::reason(results, it))
                );
            }
        }
    }
    text
}

/// Sweeps: the count, the bound, and the map of the lines that do not come out clean.
pub(super) fn sweeps(results: &Results) -> String {
    let mut text = String::new();
    for sweep in &results.sweeps {
        let spec = &sweep.spec;
        text += &format!("\n## {}: {}\n\n", escaped(&capital(&forced::sweep_title(sweep))), escaped(&spec.variant));
        text += &format!("{}.\n\n", escaped(&capital(&forced::what(sweep))));
        text += &format!("**{}**", escaped(&forced::swept(sweep)));
        let rest = forced::rest(&sweep.counts);
        text += &if rest.is_empty() { ".\n".to_owned() } else { format!(" ({rest}).\n") };
        if let Some(it) = results.forced_comparison(&spec.id) {
            text += &format!(
                "\nAgainst {}: {}: {}.\n",
                escaped(&it.base_variant),
                it.verdict.word(),
                escaped(&forced::reason(results, it))
            );
        }
        text += &map(sweep);
    }
    text
}

/// Lines around a window that the map shows, too.
const AROUND: usize = 2;

fn map(sweep: &SweepResult) -> String {
    let lines = window::text(sweep, 100, AROUND, &window::TELLING);
    if lines.is_empty() {
        return String::new();
    }
    format!("\n{}\n\n{}", escaped(&window::legend()), drawn_block(lines))
}

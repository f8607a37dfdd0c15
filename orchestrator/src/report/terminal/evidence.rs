//! Forced interleavings and sweeps in the terminal.

use super::Look;
use crate::analysis::forced::ForcedVerdict;
use crate::analysis::{ForcedComparison, Results};
use crate::report::words::{clipped, one_line, wrapped};
use crate::report::{forced, window};

/// Frames of a stack that a screen has room for; the other formats have all of them.
const FRAMES: usize = 8;
/// Lines around those that do not come out clean.
const AROUND: usize = 1;

/// Each drawing once, and under it what every variant did with it.
pub(super) fn drawings(results: &Results, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    let arrow = if look.fancy { "\u{2192}" } else { "->" };
    for drawing in forced::drawings(results) {
        lines.push(String::new());
        lines.extend(wrapped(&drawing.title(), look.width, "  "));
        lines.push(String::new());
        let room = look.width.saturating_sub(4);
        for (line, note) in drawing.lines(room) {
            let marked = forced::marked(&line, note.as_deref(), room);
            lines.extend(marked.iter().map(|line| format!("    {line}")));
        }
        lines.push(String::new());
        let variants = drawing.variants.iter().map(|result| one_line(&result.spec.variant));
        let names = variants.clone().map(|name| name.chars().count()).max().unwrap_or(0).min(24);
        for (result, name) in drawing.variants.iter().zip(variants) {
            let name = clipped(&name, names);
            let text = format!("{name:names$}  {}", one_line(&forced::told(result, arrow)));
            let mut told = hanging(&text, look.width.saturating_sub(2), names + 2);
            for line in &mut told {
                line.insert_str(0, "  ");
            }
            lines.extend(told);
            let indent = " ".repeat(names + 4);
            for it in &result.exclusions {
                let room = look.width.saturating_sub(names + 4);
                lines.extend(wrapped(&forced::exclusion(it), room, "  ").iter().map(|line| format!("{indent}{line}")));
                let stack = it.waiting().map_or_else(Vec::new, |state| forced::stack(&state.stack));
                let shown = stack.iter().take(FRAMES).map(|frame| clipped(&format!("{indent}  {frame}"), look.width));
                lines.extend(shown);
                if stack.len() > FRAMES {
                    lines.push(format!("{indent}  ... {} more frames", stack.len() - FRAMES));
                }
            }
        }
    }
    lines
}

/// `text` wrapped with later lines under the words, not under the name in front of them.
fn hanging(text: &str, width: usize, indent: usize) -> Vec<String> {
    let name: String = text.chars().take(indent).collect();
    let rest: String = text.chars().skip(indent).collect();
    let mut lines = wrapped(&rest, width.saturating_sub(indent).max(20), "");
    for (number, line) in lines.iter_mut().enumerate() {
        line.insert_str(0, &if number == 0 { name.clone() } else { " ".repeat(indent) });
    }
    lines
}

/// The window map of each sweep, and its count.
pub(super) fn sweeps(results: &Results, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for sweep in &results.sweeps {
        lines.push(String::new());
        let title = format!("{}, {}", forced::sweep_title(sweep), one_line(&sweep.spec.variant));
        lines.extend(wrapped(&title, look.width, "  "));
        lines.extend(item(&forced::what(sweep), look));
        let map = window::text(sweep, look.width.saturating_sub(2), AROUND, &window::TELLING);
        if !map.is_empty() {
            lines.push(String::new());
            lines.extend(item(&window::legend(), look));
            lines.extend(map.iter().map(|line| format!("  {line}")));
            lines.push(String::new());
        }
        let rest = forced::rest(&sweep.counts);
        let rest = if rest.is_empty() { rest } else { format!(" ({rest})") };
        lines.extend(item(&format!("{}{rest}", forced::swept(sweep)), look));
    }
    lines
}

/// One sentence for each forced comparison, and why.
pub(super) fn verdicts(results: &Results, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    let arrow = if look.fancy { "\u{2192}" } else { "->" };
    for it in &results.forced_comparisons {
        lines.push(String::new());
        let mut told = wrapped(&forced::sentence(results, it, arrow), look.width, "  ");
        if let (true, Some(last)) = (look.fancy, told.last_mut()) {
            let word = it.verdict.word();
            // A word of two may have been wrapped apart; it then stays as it is.
            if let Some(rest) = last.strip_suffix(word) {
                *last = format!("{rest}\u{1b}[1;{}m{word}\u{1b}[0m", colour(it));
            }
        }
        lines.extend(told);
        lines.extend(item(&forced::reason(results, it), look));
    }
    lines
}

/// Two columns further in than what it belongs to.
pub(super) fn item(text: &str, look: Look) -> Vec<String> {
    let wrapped = wrapped(text, look.width.saturating_sub(2), "  ");
    wrapped.iter().map(|line| format!("  {line}")).collect()
}

/// SGR colour: green, red, yellow.
fn colour(it: &ForcedComparison) -> u8 {
    match it.verdict {
        ForcedVerdict::Closed | ForcedVerdict::Harmless => 32,
        ForcedVerdict::NotClosed | ForcedVerdict::Broken => 31,
        ForcedVerdict::NotInKernel
        | ForcedVerdict::ClosedSoFar
        | ForcedVerdict::Narrowed
        | ForcedVerdict::NotReproduced
        | ForcedVerdict::Inconclusive => 33,
    }
}

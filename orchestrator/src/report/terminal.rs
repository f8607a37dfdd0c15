//! The verdict table on standard output: text that the caller prints.

mod evidence;

use super::table::Table;
use super::words::{counted, one_line, wrapped};
use super::{coverage, forced, story, words};
use crate::analysis::{BuildState, Results, Trouble, Verdict};

/// How the terminal wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Box-drawing, arrows and colour; plain ASCII otherwise, as pipes and logs want it. Foreign names keep their
    /// own letters either way.
    pub fancy: bool,
}

impl Look {
    /// For output that is no terminal.
    pub const PLAIN: Self = Self { width: 100, fancy: false };
}

/// Columns that go where the window is narrow, the first of them first.
const DISPENSABLE: [&str; 5] = ["tries", "per exposure", "first", "guest", "test"];
/// Between two columns.
const GAP: &str = "  ";

/// The table of cells, the trouble, what proves the corruption, and one sentence for each comparison.
pub fn render(results: &Results, look: Look) -> String {
    let Some(mut lines) = evidence_lines(results, look) else { return NO_RUN.to_owned() };
    lines.extend(all_verdicts(results, look));
    lines.push(String::new());
    lines.join("\n")
}

/// The same with the sentences of the comparisons first, for those who asked for nothing else.
pub fn render_verdict_first(results: &Results, look: Look) -> String {
    let Some(evidence) = evidence_lines(results, look) else { return NO_RUN.to_owned() };
    let mut lines = all_verdicts(results, look);
    // Each comparison begins with an empty line.
    if !lines.is_empty() {
        lines.remove(0);
        lines.push(String::new());
    }
    lines.extend(evidence);
    lines.push(String::new());
    lines.join("\n")
}

const NO_RUN: &str = "The journal holds no run: it was cut before its first line ended.\n";

fn all_verdicts(results: &Results, look: Look) -> Vec<String> {
    let mut lines = verdicts(results, look);
    lines.extend(evidence::verdicts(results, look));
    lines
}

/// Everything but the sentences of the comparisons; none where the journal holds no run.
fn evidence_lines(results: &Results, look: Look) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    let run = results.run.as_ref()?;
    lines.push(format!(
        "{}: {}, QEMU {}, {} host CPUs, seed {}",
        one_line(&run.plan),
        one_line(&run.accelerator.name),
        one_line(&run.accelerator.qemu),
        run.host.cpus,
        run.seed
    ));
    for notice in &results.notices {
        lines.extend(wrapped(&format!("note: {}", words::gist(&one_line(notice))), look.width, "  "));
    }
    if !results.cells.is_empty() || results.forced.is_empty() && results.sweeps.is_empty() {
        lines.push(String::new());
        lines.extend(cells(results, look));
    }
    let stopped: Vec<String> = results.cells.iter().filter_map(story::stopped_words).collect();
    if !stopped.is_empty() {
        lines.push(String::new());
        lines.extend(stopped.iter().flat_map(|line| wrapped(&one_line(line), look.width, "  ")));
    }
    let proofs: Vec<String> = results.cells.iter().filter_map(story::proof_words).collect();
    if !proofs.is_empty() {
        lines.push(String::new());
        lines.extend(proofs.iter().flat_map(|proof| wrapped(&one_line(proof), look.width, "  ")));
    }
    lines.extend(evidence::drawings(results, look));
    lines.extend(evidence::sweeps(results, look));
    lines.extend(trouble(results, look));
    if let Some(incomplete) = story::incomplete(results) {
        lines.push(String::new());
        lines.extend(wrapped(incomplete, look.width, "  "));
    }
    Some(lines)
}

fn cells(results: &Results, look: Look) -> Vec<String> {
    let mut table = Table::of(results);
    for row in &mut table.rows {
        for name in row.iter_mut().take(2) {
            *name = words::clipped(name, (look.width / 4).max(12));
        }
    }
    for title in DISPENSABLE {
        let total: usize = widths(&table).iter().map(|width| width + GAP.len()).sum();
        if total <= look.width + GAP.len() {
            break;
        }
        table.remove(title);
    }
    let widths = widths(&table);
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let told: Vec<String> = table
            .columns
            .iter()
            .zip(&widths)
            .zip(cells)
            .map(|((column, &width), text)| {
                let pad = " ".repeat(width.saturating_sub(text.chars().count()));
                if column.numeric { format!("{pad}{text}") } else { format!("{text}{pad}") }
            })
            .collect();
        told.join(GAP).trim_end().to_owned()
    };
    let rule = if look.fancy { "\u{2500}" } else { "-" };
    let rules: Vec<String> = widths.iter().map(|&width| rule.repeat(width)).collect();
    let mut lines = vec![line(&mut table.columns.iter().map(|column| column.title))];
    lines.push(rules.join(GAP));
    lines.extend(table.rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// Characters of the widest text of each column.
fn widths(table: &Table) -> Vec<usize> {
    let column = |place: usize, title: &str| {
        let texts = table.rows.iter().map(|row| row[place].chars().count());
        texts.chain([title.len()]).max().unwrap_or(0)
    };
    table.columns.iter().enumerate().map(|(place, it)| column(place, it.title)).collect()
}

fn trouble(results: &Results, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for cell in &results.cells {
        if let BuildState::Failed(reason) = &cell.build {
            let text = format!("{} was not built: {}", one_line(&cell.spec.id), one_line(reason));
            lines.extend(wrapped(&text, look.width, "  "));
        }
        lines.extend(troubles(&cell.spec.id, &cell.trouble, look));
    }
    for (what, reason) in forced::failures(results) {
        lines.extend(wrapped(&format!("{what}: {reason}"), look.width, "  "));
    }
    for (id, trouble) in forced::trouble(results) {
        lines.extend(troubles(id, trouble, look));
    }
    if !lines.is_empty() {
        lines.insert(0, String::new());
    }
    lines
}

fn troubles(id: &str, all: &[Trouble], look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for trouble in all {
        let text = format!(
            "{}: {} ({}): {}",
            one_line(id),
            trouble.kind.label(),
            counted(trouble.rounds.len() as u64, "round", "rounds"),
            one_line(&trouble.headline)
        );
        lines.extend(wrapped(&text, look.width, "  "));
        let excerpt = trouble.excerpt.iter().take(5);
        lines.extend(excerpt.map(|line| words::clipped(&format!("    {}", one_line(line)), look.width)));
    }
    lines
}

fn verdicts(results: &Results, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for it in &results.comparisons {
        lines.push(String::new());
        let arrow = if look.fancy { "\u{2192}" } else { "->" };
        // The verdict is coloured after wrapping: escapes have no width.
        let mut told = wrapped(&story::sentence(results, it, arrow), look.width, "  ");
        if let (true, Some(last)) = (look.fancy, told.last_mut()) {
            let word = it.verdict.word();
            if let Some(rest) = last.strip_suffix(word) {
                *last = format!("{rest}\u{1b}[1;{}m{word}\u{1b}[0m", colour(it.verdict));
            }
        }
        lines.extend(told);
        if it.verdict != Verdict::Fixed {
            lines.extend(
                wrapped(&format!("  {}", story::reason(it)), look.width, "  ")
                    .into_iter()
                    .map(|line| if line.starts_with("  ") { line } else { format!("  {line}") }),
            );
        }
        for line in coverage::lines(it) {
            lines.extend(evidence::item(&line, look));
        }
        for words in &it.contradictions {
            lines.extend(evidence::item(&format!("! contradiction: {}", one_line(words)), look));
        }
        if let Some((alone, _)) = it.by_races {
            lines.extend(evidence::item(&format!("* the races alone: {}", alone.word()), look));
        }
        for caveat in &it.caveats {
            lines.extend(
                wrapped(&format!("* {}", one_line(caveat)), look.width.saturating_sub(2), "  ")
                    .iter()
                    .map(|line| format!("  {line}")),
            );
        }
    }
    lines
}

/// SGR colour: green, red, yellow.
fn colour(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Fixed | Verdict::NoDifference => 32,
        Verdict::NotFixed | Verdict::Regressed | Verdict::Broken | Verdict::Difference => 31,
        Verdict::Reduced | Verdict::NotReproduced | Verdict::Inconclusive => 33,
    }
}

//! `report.md`: the verdict for a mail, a merge request or a CI step summary.

#![expect(clippy::format_push_string, reason = "writing to a string cannot fail; `write!` only adds a result to drop")]

use super::table::Table;
use super::words::{counted, memory, number, one_line, short};
use super::{Format, RenderError, story};
use crate::outcome::{BuildState, CellResult, Comparison, Results};

/// The Markdown format (GitHub's and GitLab's dialect).
#[derive(Debug, Clone, Copy)]
pub struct Markdown;

impl Format for Markdown {
    fn name(&self) -> &'static str {
        "markdown"
    }

    fn file_name(&self) -> &'static str {
        "report.md"
    }

    fn render(&self, results: &Results) -> Result<String, RenderError> {
        Ok(document(results))
    }
}

fn document(results: &Results) -> String {
    let Some(run) = &results.run else {
        return "# twinboot\n\nThe journal holds no run: it was cut before its first line ended.\n".to_owned();
    };
    let mut text = format!("# twinboot: {}\n\n", escaped(&run.plan));
    for it in &results.comparisons {
        text += &format!("- **{}**: {}\n", it.verdict.word(), escaped(&story::comparison(results, it)));
    }
    if results.interrupted() {
        text += "\nThe run was interrupted: this is what it had measured.\n";
    } else if results.finished.is_none() {
        text += "\nThe run did not come to its end: this is what the journal holds.\n";
    }
    for notice in &results.notices {
        text += &format!("\n> {}\n", escaped(notice));
    }
    text += "\n## What was seen\n\n";
    text += &cells(results);
    let proofs: Vec<String> = results.cells.iter().filter_map(story::proof_words).collect();
    if !proofs.is_empty() {
        text.push('\n');
        text.extend(proofs.iter().map(|proof| format!("- {}\n", escaped(proof))));
    }
    for it in &results.comparisons {
        text += &comparison(results, it);
    }
    text += &trouble(results);
    text += &environment(results);
    text += &format!("\n## Run it again\n\n{}", block([run.rerun.as_str()]));
    text
}

fn cells(results: &Results) -> String {
    let table = Table::of(results);
    let titles: Vec<&str> = table.columns.iter().map(|column| column.title).collect();
    let rules: Vec<&str> = table.columns.iter().map(|column| if column.numeric { "---:" } else { "---" }).collect();
    let mut text = format!("| {} |\n|{}|\n", titles.join(" | "), rules.join("|"));
    for row in &table.rows {
        let row: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        text += &format!("| {} |\n", row.join(" | "));
    }
    text
}

fn comparison(results: &Results, it: &Comparison) -> String {
    let Some((base, patched)) = results.sides(it) else { return String::new() };
    let mut text = format!(
        "\n## {} {} against {}: {}\n\n{}.\n\n",
        escaped(&base.spec.kernel),
        escaped(&patched.spec.variant),
        escaped(&base.spec.variant),
        it.verdict.word(),
        escaped(&capital(&story::reason(it)))
    );
    for (name, value) in facts(it) {
        text += &format!("- {name}: {}\n", escaped(&value));
    }
    for caveat in &it.caveats {
        text += &format!("- {}\n", escaped(&capital(caveat)));
    }
    text
}

/// The numbers of a comparison as (name, value), for every format that lists them.
pub(super) fn facts(it: &Comparison) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let (Some(p), Some(evidence)) = (it.p, it.evidence) {
        facts.push((
            "p-value",
            format!("{} (asked for: {}), by {}", p.told(), number(it.alpha), evidence_words(evidence.kind)),
        ));
    }
    if let Some(numbers) = &it.numbers {
        if let Some((ratio, estimate)) = numbers.ratio.and_then(|ratio| Some((ratio, ratio.estimate?))) {
            let limits = format!("{} to {}", number(ratio.lower95), number(ratio.upper95));
            let limits = if estimate == 0.0 { format!("at most {}", number(ratio.upper95)) } else { limits };
            facts.push(("rate ratio", format!("{} (one-sided 95 % limits: {limits})", number(estimate))));
        }
        if let (Some(zero), Some(low)) = (numbers.p_zero, numbers.base_rate_low) {
            facts.push((
                "chance of this zero at the base's rate",
                format!("{} (rate taken as {}, the lower 99 % limit)", zero.told(), number(low)),
            ));
        }
        if let Some(dispersion) = numbers.dispersion {
            facts.push((
                "scatter between rounds",
                format!("{} times that of independent exposures ({})", number(dispersion.index), dispersion.p),
            ));
        }
    }
    if let Some(more) = it.exposures_needed {
        facts.push(("still needed", counted(more, "clean exposure", "clean exposures")));
    }
    facts
}

pub(super) fn evidence_words(kind: crate::outcome::EvidenceKind) -> &'static str {
    match kind {
        crate::outcome::EvidenceKind::Exposures => "exposures (conditional exact test)",
        crate::outcome::EvidenceKind::Clusters => "exposures grouped in rounds (clustered model)",
        crate::outcome::EvidenceKind::Rounds => "rounds (Fisher's exact test)",
    }
}

fn trouble(results: &Results) -> String {
    let mut text = String::new();
    for cell in &results.cells {
        if let BuildState::Failed(reason) = &cell.build {
            text += &format!("\n{} was not built:\n\n{}", escaped(&cell.spec.id), block(reason.lines()));
        }
        for trouble in &cell.trouble {
            text += &format!(
                "\n{}: {} ({}): {}\n",
                escaped(&cell.spec.id),
                trouble.kind.label(),
                counted(trouble.rounds.len() as u64, "round", "rounds"),
                escaped(&trouble.headline)
            );
            if !trouble.excerpt.is_empty() {
                text += &format!("\n{}", block(trouble.excerpt.iter().map(String::as_str)));
            }
        }
    }
    if text.is_empty() { text } else { format!("\n## Trouble\n{text}") }
}

fn environment(results: &Results) -> String {
    let Some(run) = &results.run else { return String::new() };
    let mut text = "\n## Environment\n\n".to_owned();
    let mut line = |name: &str, value: String| text += &format!("- {name}: {}\n", escaped(&value));
    line("twinboot", run.twinboot.clone());
    line("started", run.started.clone());
    line("accelerator", format!("{}, QEMU {}", run.accelerator.name, run.accelerator.qemu));
    line("host", format!("{}, {} CPUs, {}, {}", run.host.cpu, run.host.cpus, memory(run.host.memory), run.host.kernel));
    line("plan", format!("{} (sha256 {})", run.plan, short(&run.plan_sha256)));
    line("seed", run.seed.to_string());
    for cell in &results.cells {
        line(&escaped(&cell.spec.id), made_from(cell));
    }
    text
}

/// What a cell's kernel and guest were made from, on one line.
pub(super) fn made_from(cell: &CellResult) -> String {
    let spec = &cell.spec;
    let mut parts = vec![format!("{} vCPUs, {}", spec.cpus, memory(spec.memory))];
    parts.extend(spec.swap.clone());
    if let Some(built) = cell.built() {
        parts.push(built.release.clone());
        parts.push(format!("config {}", short(&built.config_sha256)));
        parts.push(built.compiler.clone());
    }
    for patch in &spec.patches {
        let subject = patch.subject.as_ref().map_or_else(String::new, |subject| format!(" \"{subject}\""));
        let reverse = if patch.reverse { ", reversed" } else { "" };
        parts.push(format!("{}{subject} (id {}{reverse})", patch.file, short(&patch.id)));
    }
    parts.join("; ")
}

/// An indented code block: nothing inside can end it, unlike a fence.
fn block<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for line in lines {
        text += &format!("    {}\n", one_line(line));
    }
    text
}

/// Foreign text that Markdown takes as text. `@` and `#` go as entities, so that forges neither notify nor link.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in one_line(text).chars() {
        match letter {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '@' => out.push_str("&#64;"),
            '#' => out.push_str("&#35;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '$' => {
                out.push('\\');
                out.push(letter);
            }
            letter => out.push(letter),
        }
    }
    out
}

/// With a capital letter at the start.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

//! `report.md`: the verdict for a mail, a merge request or a CI step summary.

#![expect(clippy::format_push_string, reason = "writing to a string cannot fail; `write!` only adds a result to drop")]

mod evidence;
mod limit;

use super::table::Table;
use super::words::{counted, drawn, memory, number, one_line, short};
use super::{Format, RenderError, boot, coverage, forced, profile, story};
use crate::analysis::{BuildState, CellResult, Comparison, EvidenceKind, Results, Trouble, Units};
use crate::journal::entry::{Built, CellSpec, PatchInfo};

pub(super) use limit::within;

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
        text += &format!("- {} \u{2192} **{}**\n", escaped(&story::comparison(results, it)), it.verdict.word());
    }
    for it in &results.forced_comparisons {
        let sentence = escaped(&forced::sentence(results, it, "\u{2192}"));
        let word = it.verdict.word();
        text += &format!("- {}**{word}**\n", sentence.strip_suffix(word).unwrap_or(&sentence));
    }
    if let Some(incomplete) = story::incomplete(results) {
        text += &format!("\n{incomplete}\n");
    }
    for notice in &results.notices {
        text += &format!("\n> {}\n", escaped(notice));
    }
    if !results.cells.is_empty() || results.forced.is_empty() && results.sweeps.is_empty() {
        text += "\n## What was seen\n\n";
        text += &cells(results);
    }
    let said = |words: fn(&CellResult) -> Option<String>| results.cells.iter().filter_map(words);
    let below: Vec<String> = said(story::stopped_words).chain(said(story::proof_words)).collect();
    if !below.is_empty() {
        text.push('\n');
        text.extend(below.iter().map(|line| format!("- {}\n", escaped(line))));
    }
    for it in &results.comparisons {
        text += &comparison(results, it);
    }
    text += &evidence::drawings(results);
    text += &evidence::sweeps(results);
    text += &trouble(results);
    text += &environment(results);
    text += &parts(results);
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
    for words in &it.contradictions {
        text += &format!("- **contradiction**: {}\n", escaped(words));
    }
    for (name, value) in facts(it).into_iter().chain(forced_facts(results, it)) {
        text += &format!("- {name}: {}\n", escaped(&value));
    }
    for caveat in &it.caveats {
        text += &format!("- {}\n", escaped(&capital(caveat)));
    }
    text + &covered(it)
}

/// What was covered, level by level.
fn covered(it: &Comparison) -> String {
    if it.coverage.factors.is_empty() {
        return String::new();
    }
    let titles = coverage::COLUMNS.join(" | ");
    let mut text = format!("\n| {titles} |\n|---|---|---:|---:|---:|---:|---|\n");
    for row in coverage::rows(it) {
        let row: Vec<String> = row.iter().map(|cell| escaped(cell)).collect();
        text += &format!("| {} |\n", row.join(" | "));
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
    if it.numbers.is_some() && !it.control {
        facts.push(("covered", it.coverage.words()));
    }
    if let Some(numbers) = &it.numbers {
        let lower = |kind| numbers.evidence_of(kind).map(|evidence| evidence.p_lower);
        if let (Some(boots), true) = (lower(EvidenceKind::Boots), numbers.exact && !it.control) {
            let Units { boots: base, .. } = numbers.base_units;
            facts.push((
                "p-value by boots",
                format!("{} ({base} + {} boots, exact test)", boots.told(), numbers.patched_units.boots),
            ));
        }
        let models = [(EvidenceKind::Clusters, "rounds"), (EvidenceKind::BootClusters, "boots")];
        for (p, units) in models.into_iter().filter_map(|(kind, units)| Some((lower(kind)?, units))) {
            facts.push(("p-value by a model", format!("{} (gamma distributed rates of {units})", p.told())));
        }
        if let Some((ratio, estimate)) = numbers.ratio.and_then(|ratio| Some((ratio, ratio.estimate?))) {
            let limits = format!("{} to {}", number(ratio.lower95), number(ratio.upper95));
            let limits = if estimate == 0.0 { format!("at most {}", number(ratio.upper95)) } else { limits };
            // Limits of that kind are too narrow where rounds cluster; the p-value is not.
            let kind = if numbers.overdispersed { ", were exposures independent" } else { "" };
            facts.push(("rate ratio", format!("{} (one-sided 95 % limits{kind}: {limits})", number(estimate))));
        }
        if let (Some(zero), Some(low)) = (numbers.p_zero, numbers.base_rate_low) {
            facts.push((
                "chance of this zero at the base's rate",
                format!("{} (rate taken as {}, the lower 99 % limit)", zero.told(), number(low)),
            ));
        }
        if let Some(residual) = numbers.p_residual {
            facts.push(("chance of it at the smallest rate that matters", residual.told()));
        }
        // Where it matters a caveat tells it.
        if let Some(dispersion) = numbers.dispersion.filter(|_| !numbers.overdispersed) {
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

/// What was forced on the two kernels of a comparison, and what the races alone would have said where that overruled
/// them, as (name, value).
pub(super) fn forced_facts(results: &Results, it: &Comparison) -> Vec<(&'static str, String)> {
    let mut facts: Vec<(&'static str, String)> =
        it.forced.iter().map(|pair| ("forced", forced::sentence(results, pair, "->"))).collect();
    facts.extend(it.by_races.map(|(verdict, _)| ("the races alone", verdict.word().to_owned())));
    facts
}

pub(super) fn evidence_words(kind: crate::analysis::EvidenceKind) -> &'static str {
    match kind {
        crate::analysis::EvidenceKind::Exposures => "exposures (conditional exact test)",
        crate::analysis::EvidenceKind::Clusters => "exposures grouped in rounds (clustered model)",
        crate::analysis::EvidenceKind::Rounds => "rounds (exact test)",
        crate::analysis::EvidenceKind::Boots => "boots (exact test)",
        crate::analysis::EvidenceKind::BootClusters => "exposures grouped in boots (clustered model)",
    }
}

fn trouble(results: &Results) -> String {
    let mut text = String::new();
    for cell in &results.cells {
        if let BuildState::Failed(reason) = &cell.build {
            text += &format!("\n{} was not built:\n\n{}", escaped(&cell.spec.id), block(reason.lines()));
        }
        text += &troubles(&cell.spec.id, &cell.trouble);
    }
    for (what, reason) in forced::failures(results) {
        text += &format!("\n{}\n\n{}", escaped(&what), block([reason]));
    }
    for (id, trouble) in forced::trouble(results) {
        text += &troubles(id, trouble);
    }
    if text.is_empty() { text } else { format!("\n## Trouble\n{text}") }
}

fn troubles(id: &str, all: &[Trouble]) -> String {
    let mut text = String::new();
    for trouble in all {
        text += &format!(
            "\n{}: {} ({}): {}\n",
            escaped(id),
            trouble.kind.label(),
            counted(trouble.rounds.len() as u64, "round", "rounds"),
            escaped(&trouble.headline)
        );
        if !trouble.excerpt.is_empty() {
            text += &format!("\n{}", block(&trouble.excerpt));
        }
    }
    text
}

fn environment(results: &Results) -> String {
    let Some(run) = &results.run else { return String::new() };
    let mut text = "\n## Environment\n\n".to_owned();
    let mut line = |name: &str, value: String| text += &format!("- {name}: {}\n", escaped(&value));
    line("twinboot", run.twinboot.clone());
    line("started", run.started.clone());
    line("accelerator", format!("{}, QEMU {}", run.accelerator.name, run.accelerator.qemu));
    line("host", format!("{}, {} CPUs, {}, {}", run.host.cpu, run.host.cpus, memory(run.host.memory), run.host.kernel));
    if let Some(words) = run.load_words() {
        line("guests", words);
    }
    line("plan", format!("{} (sha256 {})", run.plan, short(&run.plan_sha256)));
    line("seed", run.seed.to_string());
    for cell in &results.cells {
        line(&escaped(&cell.spec.id), made_from(cell).join("; "));
    }
    for (id, parts) in forced_made_from(results) {
        line(&escaped(id), parts.join("; "));
    }
    let boots = boot::words(results);
    if !boots.is_empty() {
        text += "\n## How guests came up\n\n";
    }
    for (who, parts) in boots {
        text += &format!("- {}: {}\n", escaped(&who), escaped(&parts.join(", ")));
    }
    text
}

/// Where the time of a try went, a table for each cell.
fn parts(results: &Results) -> String {
    let tables = profile::tables(results);
    if tables.is_empty() {
        return String::new();
    }
    let mut text = format!("\n## Where a try's time goes\n\n{}\n", profile::LEGEND);
    for it in tables {
        text += &format!("\n{}, {}:\n\n", escaped(&it.cell), it.of);
        text += &format!("| {} |\n|---{}|\n", profile::COLUMNS.join(" | "), "|---:".repeat(profile::COLUMNS.len() - 1));
        for row in it.rows {
            text += &format!("| {} |\n", row.map(|value| escaped(&value)).join(" | "));
        }
    }
    text
}

/// What a cell's kernel and guest were made from: the kernel, its patches, the guest.
pub(super) fn made_from(cell: &CellResult) -> Vec<String> {
    let spec = &cell.spec;
    let mut parts = built_from(&cell.build, &spec.patches);
    parts.push(guest(spec));
    parts
}

/// The same for forced cells whose kernel no other cell has told of.
pub(super) fn forced_made_from(results: &Results) -> Vec<(&str, Vec<String>)> {
    let mut told: Vec<(&str, &str)> =
        results.cells.iter().map(|cell| (cell.spec.kernel.as_str(), cell.spec.variant.as_str())).collect();
    let forced = results.forced.iter().map(|it| (&it.spec, &it.build));
    let mut made = Vec::new();
    for (spec, build) in forced.chain(results.sweeps.iter().map(|it| (&it.spec, &it.build))) {
        if !told.contains(&(&spec.kernel, &spec.variant)) {
            told.push((&spec.kernel, &spec.variant));
            let mut parts = built_from(build, &spec.patches);
            parts.push(forced::guest(spec));
            made.push((spec.id.as_str(), parts));
        }
    }
    made
}

fn built_from(state: &BuildState, patches: &[PatchInfo]) -> Vec<String> {
    let mut parts = match state {
        BuildState::Built(built) => vec![kernel(built)],
        BuildState::Failed(_) | BuildState::Unknown => Vec::new(),
    };
    for patch in patches {
        let subject = patch.subject.as_ref().map_or_else(String::new, |subject| format!(" \"{subject}\""));
        let reverse = if patch.reverse { ", reversed" } else { "" };
        parts.push(format!("{}{subject} (id {}{reverse})", patch.file, short(&patch.id)));
    }
    parts
}

/// Release, digest of the configuration and compiler; a ready kernel tells no more than its release.
pub(super) fn kernel(built: &Built) -> String {
    let mut text = built.release.clone();
    if !built.config_sha256.is_empty() {
        text += &format!(", config {}", short(&built.config_sha256));
    }
    if !built.compiler.is_empty() && built.compiler != "unknown" {
        text += &format!(", {}", built.compiler);
    }
    text
}

/// CPUs, memory and swap.
pub(super) fn guest(spec: &CellSpec) -> String {
    let mut text = format!("{} vCPUs, {}", spec.cpus, memory(spec.memory));
    if let Some(swap) = &spec.swap {
        text += &format!(", {swap}");
    }
    text
}

/// An indented code block: nothing inside can end it, unlike a fence.
fn block(lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    drawn_block(lines.into_iter().map(|line| one_line(line.as_ref())))
}

/// The same with the lines' own columns kept.
fn drawn_block(lines: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    for line in lines {
        text += &format!("    {}\n", drawn(&line));
    }
    text
}

/// Foreign text that Markdown takes as text and people can read raw: a letter is escaped only where it would act.
/// `@` and `#` before a name or a number go as entities, so that forges neither notify nor link.
fn escaped(text: &str) -> String {
    let text = one_line(text);
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    let mut before = None;
    while let Some(letter) = letters.next() {
        let next = letters.peek().copied();
        let starts = before.is_none();
        let word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        match letter {
            // A tag, a closing tag, a comment or a processing instruction.
            '<' if next.is_some_and(|next| next.is_alphabetic() || "/!?".contains(next)) => out.push_str("&lt;"),
            '>' if starts => out.push_str("&gt;"),
            '&' if word(next) || next == Some('#') => out.push_str("&amp;"),
            '@' if word(next) => out.push_str("&#64;"),
            '#' if starts || word(next) => out.push_str("&#35;"),
            // Inside a word an underscore is only that.
            '_' if word(before) && word(next) => out.push(letter),
            '[' if !starts => out.push(letter),
            ']' if !next.is_some_and(|next| "([:".contains(next)) => out.push(letter),
            '!' if next != Some('[') => out.push(letter),
            '-' | '+' if starts && next.is_some_and(|next| " -+".contains(next)) => out.extend(['\\', letter]),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '!' | '$' => out.extend(['\\', letter]),
            letter => out.push(letter),
        }
        before = Some(letter);
    }
    out
}

/// With a capital letter at the start.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

//! What the template shows: text that is ready but for HTML's own escaping.

use serde::Serialize;

use super::forced::{self, Forced};
use super::grid::Grid;
use super::plots::{self, Plot};
use crate::analysis::{BuildState, CellResult, Comparison, Results};
use crate::report::words::{counted, memory, one_line, short};
use crate::report::{boot, coverage, markdown, profile, story, table};

#[derive(Debug, Serialize)]
pub(super) struct Page {
    title: String,
    /// Why there is less than a whole run to see.
    incomplete: Option<&'static str>,
    /// All verdicts at a glance, where there are many.
    grid: Option<Grid>,
    verdicts: Vec<Verdict>,
    notices: Vec<String>,
    columns: Vec<table::Column>,
    rows: Vec<Vec<String>>,
    plots: Vec<Plot>,
    /// Forced interleavings and sweeps; none where the run had none.
    forced: Option<Forced>,
    stopped: Vec<String>,
    proofs: Vec<Proof>,
    trouble: Vec<Trouble>,
    stamp: Vec<(String, String)>,
    /// Cell, and what its kernel and guest were made from, a line each.
    kernels: Vec<(String, Vec<String>)>,
    /// Guests, and each step of their coming up with its time.
    boots: Vec<(String, String)>,
    part_columns: [&'static str; profile::COLUMNS.len()],
    part_legend: &'static str,
    /// Where a try's time went, a table for each cell.
    parts: Vec<profile::Table>,
    rerun: String,
}

#[derive(Debug, Serialize)]
struct Verdict {
    word: &'static str,
    /// `good`, `bad` or `open`, for the colour.
    tone: &'static str,
    sentence: String,
    reason: String,
    facts: Vec<(&'static str, String)>,
    contradictions: Vec<String>,
    caveats: Vec<String>,
    coverage_columns: [&'static str; 7],
    coverage: Vec<[String; 7]>,
}

/// One corruption as two columns: who did what, in order.
#[derive(Debug, Serialize)]
struct Proof {
    title: String,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    /// `victim` or `interferer`.
    actor: &'static str,
    text: String,
    /// Swap entry seen at this step.
    entry: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Trouble {
    pub title: String,
    pub excerpt: Vec<String>,
}

impl Page {
    pub(super) fn of(results: &Results) -> Result<Self, String> {
        let table = table::Table::of(results);
        let plan = results.run.as_ref().map_or("no run", |run| run.plan.as_str());
        Ok(Self {
            title: one_line(plan),
            incomplete: story::incomplete(results),
            grid: Grid::of(results),
            verdicts: results.comparisons.iter().map(|it| verdict(results, it)).collect(),
            notices: results.notices.iter().map(|notice| one_line(notice)).collect(),
            columns: table.columns,
            rows: table.rows,
            plots: plots::all(results)?,
            forced: Forced::of(results),
            stopped: results.cells.iter().filter_map(story::stopped_words).map(|line| one_line(&line)).collect(),
            proofs: results.cells.iter().filter_map(proof).collect(),
            trouble: results.cells.iter().flat_map(trouble).chain(forced::trouble(results)).collect(),
            stamp: stamp(results),
            kernels: results
                .cells
                .iter()
                .map(|cell| {
                    let parts = markdown::made_from(cell).iter().map(|part| one_line(part)).collect();
                    (one_line(&cell.spec.id), parts)
                })
                .chain(forced::made_from(results))
                .collect(),
            boots: boot::words(results)
                .into_iter()
                .map(|(who, parts)| (one_line(&who), one_line(&parts.join(", "))))
                .collect(),
            part_columns: profile::COLUMNS,
            part_legend: profile::LEGEND,
            parts: profile::tables(results),
            rerun: results.run.as_ref().map_or_else(String::new, |run| one_line(&run.rerun)),
        })
    }
}

/// A verdict's colour.
pub(super) fn tone(verdict: crate::analysis::Verdict) -> &'static str {
    use crate::analysis::Verdict as Word;
    match verdict {
        Word::Fixed | Word::NoDifference => "good",
        Word::NotFixed | Word::Regressed | Word::Broken | Word::Difference => "bad",
        Word::Reduced | Word::NotReproduced | Word::Inconclusive => "open",
    }
}

fn verdict(results: &Results, it: &Comparison) -> Verdict {
    Verdict {
        word: it.verdict.word(),
        tone: tone(it.verdict),
        sentence: story::sentence(results, it, "\u{2192}"),
        reason: markdown::capital(&story::reason(it)),
        facts: markdown::facts(it).into_iter().chain(markdown::forced_facts(results, it)).collect(),
        contradictions: it.contradictions.iter().map(|words| markdown::capital(&one_line(words))).collect(),
        caveats: it.caveats.iter().map(|caveat| markdown::capital(&one_line(caveat))).collect(),
        coverage_columns: coverage::COLUMNS,
        coverage: coverage::rows(it),
    }
}

/// The interleaving that ends in a lost write, with what this run saw of it. Without both swap entries only the ends
/// are known.
fn proof(cell: &CellResult) -> Option<Proof> {
    let (round, sample) = story::proof(cell)?;
    let step = |actor, text: String, entry: Option<String>| Step { actor, text, entry };
    let (before, after) = (sample.entry_before, sample.entry_after);
    let mut steps = vec![step(
        "victim",
        format!("faults on page {}, which is swapped out", sample.page),
        before.map(|entry| story::entry_words(Some(entry))),
    )];
    if before.is_some() && before == after {
        steps.extend([
            step("victim", format!("reads generation {} from the swap device, and is held up", sample.found), None),
            step("interferer", "swaps the same page in".to_owned(), None),
            step("interferer", format!("writes generation {}", sample.expected), None),
            step("interferer", "pages it out again: to the same entry".to_owned(), Some(story::entry_words(after))),
            step("victim", "finds the page table as it left it, and maps its old copy".to_owned(), None),
        ]);
    } else {
        steps.push(step(
            "interferer",
            format!("writes generation {} and pages it out", sample.expected),
            after.map(|entry| story::entry_words(Some(entry))),
        ));
    }
    steps.push(step(
        "victim",
        format!("reads generation {} instead of {}: {}", sample.found, sample.expected, story::kind_words(sample.kind)),
        None,
    ));
    Some(Proof {
        title: one_line(&format!(
            "{} {}: round {round}, try {}, {} after the first try",
            cell.spec.kernel,
            cell.spec.variant,
            sample.attempt,
            crate::report::words::duration(sample.elapsed_ns as f64 / 1e9)
        )),
        steps,
    })
}

fn trouble(cell: &CellResult) -> Vec<Trouble> {
    let mut all = Vec::new();
    if let BuildState::Failed(reason) = &cell.build {
        let title = one_line(&format!("{} was not built", cell.spec.id));
        all.push(Trouble { title, excerpt: reason.lines().map(one_line).collect() });
    }
    all.extend(troubles(&cell.spec.id, &cell.trouble));
    all
}

pub(super) fn troubles(id: &str, all: &[crate::analysis::Trouble]) -> Vec<Trouble> {
    let told = all.iter().map(|trouble| Trouble {
        title: one_line(&format!(
            "{id}: {} ({}): {}",
            trouble.kind.label(),
            counted(trouble.rounds.len() as u64, "round", "rounds"),
            trouble.headline
        )),
        excerpt: trouble.excerpt.iter().map(|line| one_line(line)).collect(),
    });
    told.collect()
}

fn stamp(results: &Results) -> Vec<(String, String)> {
    let Some(run) = &results.run else { return Vec::new() };
    let pair = |name: &str, value: String| (name.to_owned(), one_line(&value));
    let guests = run.load_words().map(|words| pair("guests", words));
    let mut stamp = vec![
        pair("accelerator", format!("{}, QEMU {}", run.accelerator.name, run.accelerator.qemu)),
        pair("host", format!("{}, {} CPUs, {}", run.host.cpu, run.host.cpus, memory(run.host.memory))),
        pair("host kernel", run.host.kernel.clone()),
        pair("plan", format!("{} (sha256 {})", run.plan, short(&run.plan_sha256))),
        pair("seed", run.seed.to_string()),
        pair("alpha", crate::report::words::number(run.alpha)),
        pair("started", run.started.clone()),
        pair("finished", results.finished.as_ref().map_or_else(|| "never".to_owned(), |end| end.finished.clone())),
        pair("twinboot", run.twinboot.clone()),
    ];
    stamp.splice(2..2, guests);
    stamp
}

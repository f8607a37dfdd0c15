//! Forced interleavings and window maps for the template: text that is ready but for HTML's own escaping.

use serde::Serialize;

use super::page::{Trouble, troubles};
use crate::analysis::forced::{ForcedVerdict, PointState};
use crate::analysis::{ForcedComparison, ForcedResult, Results, SweepResult};
use crate::report::window::{self, Mark, Row};
use crate::report::words::{drawn, one_line};
use crate::report::{forced, markdown, table};

#[derive(Debug, Serialize)]
pub(super) struct Forced {
    verdicts: Vec<Verdict>,
    drawings: Vec<Drawing>,
    legend: Vec<Legend>,
    sweeps: Vec<Sweep>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    word: &'static str,
    tone: &'static str,
    sentence: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Drawing {
    title: String,
    lines: Vec<Line>,
    variants: Vec<Variant>,
    stacks: Vec<Stack>,
}

#[derive(Debug, Serialize)]
struct Line {
    text: String,
    /// What cannot be taken here.
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Variant {
    name: String,
    tally: String,
    without: String,
    entries: String,
    word: &'static str,
}

#[derive(Debug, Serialize)]
struct Stack {
    title: String,
    /// It is what a step could not be taken for; the others are there for those who look for more.
    waits: bool,
    frames: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Legend {
    class: &'static str,
    sign: char,
    word: &'static str,
}

/// One map: a sweep of one kernel, or that of the base and of the patched one beside each other.
#[derive(Debug, Serialize)]
struct Sweep {
    title: String,
    what: String,
    sides: Vec<Side>,
    rows: Vec<MapRow>,
}

#[derive(Debug, Serialize)]
struct Side {
    name: String,
    told: String,
    rest: String,
    bound: Option<String>,
    beside: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MapRow {
    /// Swept function that begins here.
    function: Option<String>,
    /// Inlined code.
    inner: bool,
    sides: Vec<Option<MapSide>>,
}

#[derive(Debug, Serialize)]
struct MapSide {
    marks: Vec<MapMark>,
    /// It corrupts or crashes here.
    hit: bool,
    line: String,
    place: String,
    inlined: Option<String>,
    text: String,
    why: String,
}

#[derive(Debug, Serialize)]
struct MapMark {
    class: &'static str,
    sign: char,
    count: u64,
    title: String,
}

impl Forced {
    /// Nothing where the run had neither interleavings nor sweeps.
    pub(super) fn of(results: &Results) -> Option<Self> {
        if results.forced.is_empty() && results.sweeps.is_empty() {
            return None;
        }
        let legend = Mark::ALL.iter().filter(|mark| **mark != Mark::Unreached);
        Some(Self {
            verdicts: results.forced_comparisons.iter().map(|it| verdict(results, it)).collect(),
            drawings: forced::drawings(results).iter().map(|it| drawing(results, it)).collect(),
            legend: legend.map(|it| Legend { class: it.class(), sign: it.sign(), word: it.word() }).collect(),
            sweeps: maps(results),
        })
    }
}

/// Cells that could not be tried, and what the guests' kernels complained about.
pub(super) fn trouble(results: &Results) -> Vec<Trouble> {
    let failed = forced::failures(results).into_iter();
    let mut all: Vec<Trouble> = failed.map(|(title, reason)| Trouble { title, excerpt: vec![reason] }).collect();
    all.extend(forced::trouble(results).flat_map(|(id, told)| troubles(id, told)));
    all
}

/// What kernels were made from that no cell of races tells of.
pub(super) fn made_from(results: &Results) -> Vec<(String, Vec<String>)> {
    let made = markdown::forced_made_from(results).into_iter();
    made.map(|(id, parts)| (one_line(id), parts.iter().map(|part| one_line(part)).collect())).collect()
}

fn verdict(results: &Results, it: &ForcedComparison) -> Verdict {
    Verdict {
        word: it.verdict.word(),
        tone: match it.verdict {
            ForcedVerdict::Closed | ForcedVerdict::Harmless => "good",
            ForcedVerdict::NotClosed | ForcedVerdict::Broken => "bad",
            ForcedVerdict::NotInKernel
            | ForcedVerdict::ClosedSoFar
            | ForcedVerdict::Narrowed
            | ForcedVerdict::NotReproduced
            | ForcedVerdict::Inconclusive => "open",
        },
        sentence: forced::sentence(results, it, "\u{2192}"),
        reason: markdown::capital(&one_line(&forced::reason(results, it))),
    }
}

fn drawing(results: &Results, it: &forced::Drawing<'_>) -> Drawing {
    Drawing {
        title: markdown::capital(&it.title()),
        lines: it.lines(usize::MAX).into_iter().map(|(text, note)| Line { text: drawn(&text), note }).collect(),
        variants: it
            .variants
            .iter()
            .map(|result| Variant {
                name: one_line(&result.spec.variant),
                tally: forced::tally(result),
                without: forced::without(result),
                entries: forced::entries(result, "\u{2192}"),
                word: results
                    .forced_comparison(&result.spec.id)
                    .map_or(table::forced_word(result.state), |it| it.verdict.word()),
            })
            .collect(),
        stacks: it.variants.iter().flat_map(|result| stacks(result)).collect(),
    }
}

/// Where each step that could not be taken was stuck, and where the victim stood in the first corrupt round.
fn stacks(result: &ForcedResult) -> Vec<Stack> {
    let mut all = Vec::new();
    let title = |text: &str| one_line(&format!("{}: {text}", result.spec.variant));
    let held = result.proof().map_or(&[][..], |(round, _)| &round.threads);
    for state in held.iter().filter(|state| !state.stack.is_empty()) {
        let text = format!("{} is {} here while the others go on", state.thread, state.state);
        all.push(Stack { title: title(&text), waits: false, frames: forced::stack(&state.stack) });
    }
    for it in &result.exclusions {
        let frames = it.waiting().map_or_else(Vec::new, |state| forced::stack(&state.stack));
        all.push(Stack { title: title(&forced::exclusion(it)), waits: true, frames });
        // What the others held meanwhile says why.
        for state in it.threads.iter().filter(|state| it.thread.as_ref() != Some(&state.thread)) {
            if !state.stack.is_empty() {
                let text = format!("meanwhile {} is {}", state.thread, state.state);
                all.push(Stack { title: title(&text), waits: false, frames: forced::stack(&state.stack) });
            }
        }
    }
    all
}

fn maps(results: &Results) -> Vec<Sweep> {
    let find = |id: &String| results.sweeps.iter().find(|it| it.spec.id == *id);
    let pairs: Vec<(&SweepResult, &SweepResult)> = results
        .forced_comparisons
        .iter()
        .filter(|it| it.sweep)
        .filter_map(|it| Some((find(&it.base)?, find(&it.patched)?)))
        .collect();
    let mut all: Vec<Sweep> = pairs.iter().map(|(base, patched)| pair(base, patched)).collect();
    let alone = |it: &&SweepResult| !pairs.iter().any(|(base, patched)| [base, patched].contains(&it));
    all.extend(results.sweeps.iter().filter(alone).map(single));
    all
}

fn single(sweep: &SweepResult) -> Sweep {
    let rows = window::rows(sweep);
    let mut function = None;
    let rows = rows.iter().map(|row| map_row(&mut function, &[Some(row)])).collect();
    Sweep { title: title(sweep), what: markdown::capital(&forced::what(sweep)), sides: vec![side(sweep)], rows }
}

fn pair(base: &SweepResult, patched: &SweepResult) -> Sweep {
    let (left, right) = (window::rows(base), window::rows(patched));
    let mut function = None;
    let rows = window::aligned(&left, &right).into_iter().map(|(row, column)| {
        let sides = [row.and_then(|at| left.get(at)), column.and_then(|at| right.get(at))];
        map_row(&mut function, &sides)
    });
    Sweep {
        title: title(patched),
        what: markdown::capital(&forced::what(patched)),
        rows: rows.collect(),
        sides: vec![side(base), side(patched)],
    }
}

fn title(sweep: &SweepResult) -> String {
    markdown::capital(&forced::sweep_title(sweep))
}

fn side(sweep: &SweepResult) -> Side {
    let clean = sweep.counts.corrupt == 0 && sweep.counts.judged() > 0;
    let bound = clean.then(|| {
        // The count stands in front of it already.
        let bound = forced::bound(sweep);
        bound.split_once(". ").map_or_else(|| bound.clone(), |(_, rest)| rest.to_owned())
    });
    let beside = window::beside(sweep).into_iter().map(|row| drawn(&format!("{}  {}", row.place, row.text.trim())));
    Side {
        name: one_line(&sweep.spec.variant),
        told: forced::swept(sweep),
        rest: forced::rest(&sweep.counts),
        bound: bound.filter(|_| !sweep.way.iter().all(|it| matches!(it.state, PointState::Untried))),
        beside: beside.collect(),
    }
}

fn map_row(function: &mut Option<String>, sides: &[Option<&Row>]) -> MapRow {
    let any = sides.iter().flatten().next();
    let name = any.map(|row| row.function.clone());
    let begins = name.is_some() && *function != name;
    if begins {
        function.clone_from(&name);
    }
    MapRow {
        function: name.filter(|_| begins).map(|name| one_line(&format!("{name}()"))),
        inner: any.is_some_and(|row| row.inlined.is_some()),
        sides: sides.iter().map(|row| row.map(map_side)).collect(),
    }
}

fn map_side(row: &Row) -> MapSide {
    let mark = |(mark, count): &(Mark, u64)| MapMark {
        class: mark.class(),
        sign: mark.sign(),
        count: *count,
        title: format!("{} {}", count, mark.word()),
    };
    MapSide {
        marks: row.marks.iter().map(mark).collect(),
        hit: row.has(Mark::Corrupt) || row.has(Mark::Crashed),
        line: row.line.map_or_else(String::new, |line| line.to_string()),
        place: one_line(&row.place),
        inlined: row.inlined.as_ref().map(|name| one_line(name)),
        text: one_line(&row.text),
        why: if row.why.is_empty() { String::new() } else { one_line(&format!(" ({})", row.why.join("; "))) },
    }
}

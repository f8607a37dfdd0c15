//! Sweeps in the words that every format tells alike.

#![expect(clippy::format_push_string, reason = "writing to a string cannot fail; `write!` only adds a result to drop")]

use super::{at, titled};
use crate::analysis::forced::{SweepCounts, Window};
use crate::analysis::{BuildState, SweepResult};
use crate::journal::interleaving::{Forced, SweepPoint};
use crate::report::words::{clipped, count, counted, one_line};

/// `sweep swap-skip on linux-6.1 patched (…)`.
pub(in crate::report) fn sweep_title(sweep: &SweepResult) -> String {
    titled("sweep", &sweep.spec)
}

/// Where a point is: `mm/memory.c:3882`, or `do_swap_page+0x1f3` where no line is known.
pub(in crate::report) fn place(point: &SweepPoint) -> String {
    match &point.file {
        Some(file) => at(file, point.line),
        None => format!("{}+{:#x}", point.function, point.offset),
    }
}

/// `mm/memory.c:3883 to :3965`, or one place.
fn span(first: &SweepPoint, last: &SweepPoint) -> String {
    let (from, to) = (place(first), place(last));
    match (&first.file, &last.file, last.line) {
        _ if from == to => from,
        (Some(a), Some(b), Some(line)) if a == b => format!("{from} to :{line}"),
        _ => format!("{from} to {to}"),
    }
}

/// Windows told by their lines; the rest are only counted.
const WINDOWS: usize = 4;

/// `43 of 133 legal points corrupt, from mm/memory.c:3883 to :3965`.
pub(in crate::report) fn swept(sweep: &SweepResult) -> String {
    let counts = &sweep.counts;
    if counts.legal() == 0 {
        return match (&sweep.build, sweep.failures.first()) {
            (BuildState::Failed(_), _) => "not built".to_owned(),
            (_, Some(failed)) => format!("not tried: {}", clipped(&one_line(&failed.reason), 200)),
            _ if sweep.way.is_empty() && sweep.beside.is_empty() => "not tried".to_owned(),
            _ => "no legal point is on the victim's way".to_owned(),
        };
    }
    let mut text = format!("{} of {} legal points corrupt", count(counts.corrupt), count(counts.legal()));
    let between = |window: &Window| {
        let (first, last) = (sweep.way.get(window.first), sweep.way.get(window.last));
        first.zip(last).map_or_else(String::new, |(first, last)| span(&first.point, &last.point))
    };
    match sweep.windows.as_slice() {
        [] => {}
        [only] if only.corrupt == 1 => text += &format!(", at {}", between(only)),
        [only] => text += &format!(", from {}", between(only)),
        several => {
            let told: Vec<String> = several
                .iter()
                .take(WINDOWS)
                .map(|window| format!("{} ({})", between(window), count(window.corrupt)))
                .collect();
            text += &format!(", in {} windows: {}", several.len(), told.join(", "));
            if several.len() > WINDOWS {
                text += &format!(" and {} more", several.len() - WINDOWS);
            }
        }
    }
    one_line(&text)
}

/// The other counts: `90 clean, 82 not legal, 233 not on the victim's way`.
pub(in crate::report) fn rest(counts: &SweepCounts) -> String {
    let parts = [
        (counts.clean, "clean"),
        (counts.excluded, "excluded"),
        (counts.crashed, "crashed"),
        (counts.lost, "lost"),
        (counts.untried, "not tried yet"),
        (counts.illegal, "not legal"),
        (counts.unreached, "not on the victim's way"),
        (counts.once, "met once and never again"),
    ];
    let told =
        parts.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{} {word}", count(*number)));
    told.collect::<Vec<_>>().join(", ")
}

/// What is swept, and what the others do meanwhile.
pub(in crate::report) fn what(sweep: &SweepResult) -> String {
    let Forced::Sweep { victim, interferers, functions, callees, coarse } = &sweep.spec.what else {
        return String::new();
    };
    let every = if *coarse { "every call's return" } else { "every instruction" };
    let mut places = functions.join(", ");
    if !callees.is_empty() {
        places += &format!(" and of what it calls in {}", callees.join(", "));
    }
    one_line(&format!(
        "the victim's \"{victim}\" held at {every} of {places}; meanwhile {}",
        interferers.join(", then ")
    ))
}

/// Exactly what a sweep that found nothing shows, and no more.
pub(in crate::report) fn bound(sweep: &SweepResult) -> String {
    let counts = &sweep.counts;
    let threads = match sweep.threads() {
        2 => "two threads".to_owned(),
        several => counted(several as u64, "thread", "threads"),
    };
    let each = if sweep.coarse() { "return of a call" } else { "instruction" };
    let missing = match (counts.lost, counts.untried) {
        (0, 0) => String::new(),
        (lost, untried) => format!(
            " {} of these points {} missing ({} lost, {} not tried): of them nothing is known.",
            count(lost + untried),
            if lost + untried == 1 { "is" } else { "are" },
            count(lost),
            count(untried)
        ),
    };
    format!(
        "0 of {} legal preemption points corrupt.{missing} This holds for {threads}, one preemption of the victim, at the \
         first time it comes through each {each}, on the way the undisturbed operation took, in this configuration; and \
         for no more.",
        count(counts.legal())
    )
}

/// Points that are named one by one.
const NAMED: usize = 8;

pub(super) fn left(points: &[SweepPoint]) -> String {
    let mut lines: Vec<(String, u64)> = Vec::new();
    for point in points {
        let here = one_line(&place(point));
        match lines.iter_mut().find(|(known, _)| *known == here) {
            Some((_, times)) => *times += 1,
            None => lines.push((here, 1)),
        }
    }
    let told: Vec<String> = lines
        .iter()
        .take(NAMED)
        .map(|(line, times)| format!("{line} ({})", counted(*times, "instruction", "instructions")))
        .collect();
    let more = lines.len().saturating_sub(NAMED);
    let more =
        if more > 0 { format!(" and {}", counted(more as u64, "more line", "more lines")) } else { String::new() };
    format!("{}{more}", told.join(", "))
}

//! Forced interleavings and sweeps in the words that every format tells alike.

#![expect(clippy::format_push_string, reason = "writing to a string cannot fail; `write!` only adds a result to drop")]

mod sweep;

use super::story::entry_words;
use super::words::{clipped, count, counted, drawn, one_line};
use crate::analysis::forced::{ExclusionSeen, ForcedCounts, ForcedVerdict};
use crate::analysis::{BuildState, ForcedComparison, ForcedResult, Results, Trouble};
use crate::journal::interleaving::{Forced, ForcedSpec};
use kernel_debug::Frame;

pub(super) use sweep::{bound, place, rest, sweep_title, swept, what};

/// One drawing, and the variants of one kernel that it was forced on.
pub(super) struct Drawing<'a> {
    /// In plan order; at least one.
    pub variants: Vec<&'a ForcedResult>,
}

impl<'a> Drawing<'a> {
    fn spec(&self) -> &'a ForcedSpec {
        &self.variants[0].spec
    }

    /// `interleaving swap-skip on linux-6.1 (2 vCPUs, 512 MiB, zram 64K lzo-rle)`.
    pub fn title(&self) -> String {
        titled("interleaving", self.spec())
    }

    /// The drawing as drawn where it is at most `width` wide, and otherwise its steps, one a line. With each line, what
    /// cannot be taken there: `patched cannot take this step`.
    pub fn lines(&self, width: usize) -> Vec<(String, Option<String>)> {
        let whole: Vec<String> = self.variants[0].drawing().iter().map(|line| drawn(line)).collect();
        let Forced::Diagram { threads, steps, .. } = &self.spec().what else { return Vec::new() };
        if steps.is_empty() || whole.iter().all(|line| line.chars().count() <= width) {
            let note = |row: usize| self.note(|it| it.row == Some(row));
            return whole.into_iter().enumerate().map(|(row, line)| (clipped(&line, width), note(row))).collect();
        }
        let told = steps.iter().enumerate().map(|(index, step)| {
            let thread = threads.get(step.thread).map_or("?", String::as_str);
            let line = one_line(&format!("{}. {thread}: {}", index + 1, step.text.trim()));
            (clipped(&line, width), self.note(|it| it.step == index))
        });
        told.collect()
    }

    fn note(&self, here: impl Fn(&ExclusionSeen) -> bool) -> Option<String> {
        let barred: Vec<String> = self
            .variants
            .iter()
            .filter(|result| result.exclusions.iter().any(&here))
            .map(|result| one_line(&result.spec.variant))
            .collect();
        (!barred.is_empty()).then(|| format!("not in {}", barred.join(", ")))
    }
}

/// The drawings of a run, each once, by first appearance.
pub(super) fn drawings(results: &Results) -> Vec<Drawing<'_>> {
    let mut all: Vec<Drawing<'_>> = Vec::new();
    for result in &results.forced {
        let spec = &result.spec;
        let ours = |known: &&mut Drawing<'_>| {
            let other = known.spec();
            (&other.kernel, &other.guest, &other.name) == (&spec.kernel, &spec.guest, &spec.name)
                && known.variants[0].drawing() == result.drawing()
        };
        match all.iter_mut().find(ours) {
            Some(known) => known.variants.push(result),
            None => all.push(Drawing { variants: vec![result] }),
        }
    }
    all
}

/// A line of a drawing with what cannot be taken there, beside it or, where that is too wide, below it.
pub(super) fn marked(line: &str, note: Option<&str>, width: usize) -> Vec<String> {
    let Some(note) = note else { return vec![clipped(line, width)] };
    let whole = format!("{line}   <- {note}");
    if whole.chars().count() <= width {
        vec![whole]
    } else {
        vec![clipped(line, width), clipped(&format!("^^ {note}"), width)]
    }
}

fn titled(what: &str, spec: &ForcedSpec) -> String {
    // What is not named in the plan is called what it is.
    let name = if spec.name == what { String::new() } else { format!(" {}", spec.name) };
    one_line(&format!("{what}{name} on {} ({})", spec.kernel, guest(spec)))
}

/// CPUs, memory and swap.
pub(super) fn guest(spec: &ForcedSpec) -> String {
    let swap = spec.swap.as_ref().map_or_else(String::new, |swap| format!(", {swap}"));
    format!("{} vCPUs, {}{swap}", spec.cpus, super::words::memory(spec.memory))
}

/// `20 of 20 corrupt (without the hold 0 of 20), entry 0:15 -> 0:15`.
pub(super) fn told(result: &ForcedResult, arrow: &str) -> String {
    let mut text = tally(result);
    if result.control.judged() > 0 {
        let control = &result.control;
        text += &format!(" (without the hold {} of {}", count(control.corrupt), count(control.judged()));
        text += if result.held.corrupt > 0 { ")" } else { " corrupt)" };
    }
    if let Some((round, _)) = result.proof() {
        text += &format!(", entry {} {arrow} {}", entry_words(round.entry_before), entry_words(round.entry_after));
    }
    text
}

/// The rounds without a hold: `0 of 20 corrupt`.
pub(super) fn without(result: &ForcedResult) -> String {
    match result.control.judged() {
        0 => "-".to_owned(),
        judged => format!("{} of {} corrupt", count(result.control.corrupt), count(judged)),
    }
}

/// The swap entry before and after the first corrupt round: `0:15 -> 0:15, the same`.
pub(super) fn entries(result: &ForcedResult, arrow: &str) -> String {
    result.proof().map_or_else(
        || "-".to_owned(),
        |(round, _)| {
            let same = round.entry_before.is_some() && round.entry_before == round.entry_after;
            format!(
                "{} {arrow} {}{}",
                entry_words(round.entry_before),
                entry_words(round.entry_after),
                if same { ", the same" } else { "" }
            )
        },
    )
}

/// The held rounds alone: `18 of 20 excluded, 2 clean`.
pub(super) fn tally(result: &ForcedResult) -> String {
    match (&result.build, result.failures.first()) {
        _ if result.held.judged() + result.held.lost > 0 => counts(&result.held),
        (BuildState::Failed(_), _) => "not built".to_owned(),
        _ if result.is_absent() => "excluded: not in this kernel".to_owned(),
        (_, Some(failed)) => format!("not tried: {}", clipped(&one_line(&failed.reason), 200)),
        _ => "no round was run".to_owned(),
    }
}

fn counts(held: &ForcedCounts) -> String {
    let mut parts = Vec::new();
    for (number, word) in
        [(held.corrupt, "corrupt"), (held.excluded, "excluded"), (held.clean, "clean"), (held.crashed, "crashed")]
    {
        if number > 0 && parts.is_empty() {
            parts.push(format!("{} of {} {word}", count(number), count(held.judged())));
        } else if number > 0 {
            parts.push(format!("{} {word}", count(number)));
        }
    }
    if held.excluded_corrupt > 0 {
        parts.push(format!("{} of those excluded corrupt all the same", count(held.excluded_corrupt)));
    }
    if held.lost > 0 {
        parts.push(format!("{} lost", count(held.lost)));
    }
    parts.join(", ")
}

/// Why a step could not be taken: `interferer cannot do "pageout page": it waits in do_swap_page (20 rounds, watched
/// for 210 ms or more)`.
pub(super) fn exclusion(it: &ExclusionSeen) -> String {
    let thread = it.thread.as_deref().unwrap_or("the thread");
    let text = it.text.as_ref().map_or_else(|| format!("step {}", it.step + 1), |text| format!("\"{text}\""));
    let rounds = counted(it.rounds.len() as u64, "round", "rounds");
    let why = match (&it.function, &it.absent) {
        (None, Some(absent)) => format!("not in this kernel: {absent}"),
        (Some(function), _) => {
            let watched = it.for_ms.map_or_else(String::new, |ms| format!(", watched for {} ms or more", count(ms)));
            format!(
                "it waits in {function} for as long as the others are held, and goes on once they are let go ({rounds}{watched})"
            )
        }
        (None, None) => format!("the operation comes back another way ({rounds})"),
    };
    one_line(&format!("{thread} cannot do {text}: {why}"))
}

/// A kernel stack as an oops has it, innermost frame first: `do_swap_page+0x1f3 mm/memory.c:3811`.
pub(super) fn stack(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(|frame| one_line(&self::frame(frame))).collect()
}

fn frame(frame: &Frame) -> String {
    let offset = frame.offset.map_or_else(String::new, |offset| format!("+{offset:#x}"));
    let place = frame.file.as_ref().map_or_else(String::new, |file| format!(" {}", at(file, frame.line)));
    let inlined = if frame.offset.is_none() { " (inlined)" } else { "" };
    format!("{}{offset}{place}{inlined}", frame.function)
}

fn at(file: &str, line: Option<u32>) -> String {
    line.map_or_else(|| file.to_owned(), |line| format!("{file}:{line}"))
}

/// One sentence that tells a forced comparison and ends in its verdict:
/// `swap-skip on linux-6.1: unpatched 20 of 20 corrupt; patched 20 of 20 excluded, waiting in do_swap_page -> closed`.
pub(super) fn sentence(results: &Results, it: &ForcedComparison, arrow: &str) -> String {
    let what = if it.sweep { "sweep " } else { "" };
    format!(
        "{what}{} on {}: {} {}; {} {} {arrow} {}",
        one_line(&it.name),
        one_line(&it.kernel),
        one_line(&it.base_variant),
        side(results, &it.base),
        one_line(&it.patched_variant),
        side(results, &it.patched),
        it.verdict.word()
    )
}

fn side(results: &Results, id: &str) -> String {
    if let Some(result) = results.forced.iter().find(|it| it.spec.id == id) {
        let waits = result.exclusions.first().and_then(|it| it.function.as_ref());
        let waits = waits.map_or_else(String::new, |function| format!(", waiting in {}", one_line(function)));
        return format!("{}{waits}", tally(result));
    }
    results.sweeps.iter().find(|it| it.spec.id == id).map_or_else(String::new, swept)
}

/// Why the word is what it is, in a sentence without a full stop.
pub(super) fn reason(results: &Results, it: &ForcedComparison) -> String {
    let sweep = || results.sweeps.iter().find(|sweep| sweep.spec.id == it.patched);
    match it.verdict {
        ForcedVerdict::Closed | ForcedVerdict::ClosedSoFar if it.sweep => {
            sweep().map_or_else(String::new, |sweep| bound(sweep).trim_end_matches('.').to_owned())
        }
        ForcedVerdict::Closed | ForcedVerdict::ClosedSoFar => format!(
            "the base {} in every round in which the interleaving is forced, and the patched kernel does not let it happen",
            harm(results, &it.base)
        ),
        ForcedVerdict::NotInKernel => format!(
            "the base {} in every round in which the interleaving is forced, and the patched kernel does not have the \
             point at which it is held",
            harm(results, &it.base)
        ),
        ForcedVerdict::Harmless => {
            "the patched kernel lets the interleaving happen, and no harm comes of it".to_owned()
        }
        ForcedVerdict::Narrowed => format!("fewer points corrupt, but these still do: {}", sweep::left(&it.left)),
        ForcedVerdict::NotClosed if it.sweep && !it.left.is_empty() => {
            format!("the patched kernel corrupts at {}", sweep::left(&it.left))
        }
        ForcedVerdict::NotClosed => {
            format!("the patched kernel {} when the interleaving is forced", harm(results, &it.patched))
        }
        ForcedVerdict::Broken => "the patched kernel dies of it, and the base does not".to_owned(),
        ForcedVerdict::NotReproduced if it.sweep => {
            "no point of the base corrupts, so nothing can be said of the patch".to_owned()
        }
        ForcedVerdict::NotReproduced => {
            "the base does not corrupt or die when the interleaving is forced: it does not draw this race".to_owned()
        }
        ForcedVerdict::Inconclusive => it.unclear.unwrap_or("too little is known").to_owned(),
    }
}

/// What the forced rounds of a cell do to its kernel.
fn harm(results: &Results, cell: &str) -> &'static str {
    let held = results.forced.iter().find(|it| it.spec.id == cell).map(|it| it.held);
    match held.map(|held| (held.damaged(), held.crashed)) {
        Some((0, 1..)) => "dies",
        Some((1.., 1..)) => "corrupts or dies",
        _ => "corrupts",
    }
}

/// Cells that could not be tried (to their end), with the reason.
pub(super) fn failures(results: &Results) -> Vec<(String, String)> {
    let forced = results.forced.iter().flat_map(|it| &it.failures);
    let all = forced.chain(results.sweeps.iter().flat_map(|it| &it.failures));
    all.map(|failed| {
        let whose = if failed.plan { "the plan is wrong" } else { "could not be tried" };
        (one_line(&format!("{}: {whose}", failed.cell)), one_line(&failed.reason))
    })
    .collect()
}

/// Trouble of forced cells, by cell.
pub(super) fn trouble(results: &Results) -> impl Iterator<Item = (&str, &[Trouble])> {
    let forced = results.forced.iter().map(|it| (it.spec.id.as_str(), it.trouble.as_slice()));
    forced.chain(results.sweeps.iter().map(|it| (it.spec.id.as_str(), it.trouble.as_slice())))
}

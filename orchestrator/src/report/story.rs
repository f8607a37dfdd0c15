//! The sentences that every format tells alike.

use twinboot_protocol::{Corruption, CorruptionKind, SwapEntry};

use super::coverage;
use super::words::{clipped, count, counted, duration, number, one_line};
use crate::analysis::stats::LnProb;
use crate::analysis::{CellResult, Comparison, EvidenceKind, Reason, Results, Verdict};

/// What a cell's corruptions are called: by their kind where all samples agree.
pub(super) fn corruptions(cell: &CellResult) -> (&'static str, &'static str) {
    let mut kinds = cell.rounds.iter().filter_map(|round| round.end()).flat_map(|end| &end.samples).map(|it| it.kind);
    let first = kinds.next();
    match first.filter(|first| kinds.all(|kind| kind == *first)) {
        Some(CorruptionKind::LostUpdate) => ("lost update", "lost updates"),
        Some(CorruptionKind::ZeroPage) => ("zeroed page", "zeroed pages"),
        Some(CorruptionKind::ForeignPage) => ("foreign page", "foreign pages"),
        Some(CorruptionKind::TornPage) => ("torn page", "torn pages"),
        None => ("corruption", "corruptions"),
    }
}

/// Words for one kind of corruption.
pub(super) fn kind_words(kind: CorruptionKind) -> &'static str {
    match kind {
        CorruptionKind::LostUpdate => "lost update",
        CorruptionKind::ZeroPage => "zeroed page",
        CorruptionKind::ForeignPage => "foreign page",
        CorruptionKind::TornPage => "torn page",
    }
}

/// Swap type and offset as `0:15`, or a word where pagemap showed none.
pub(super) fn entry_words(entry: Option<SwapEntry>) -> String {
    entry.map_or_else(|| "unknown".to_owned(), |entry| format!("{}:{}", entry.kind, entry.offset))
}

/// The corruption that proves most: the first whose page was seen to come back to the same entry, or the first at all,
/// with its round.
pub(super) fn proof(cell: &CellResult) -> Option<(u32, &Corruption)> {
    let samples = || {
        let ends = cell.rounds.iter().filter_map(|round| round.end().map(|end| (round.number, end)));
        ends.flat_map(|(number, end)| end.samples.iter().map(move |sample| (number, sample)))
    };
    samples()
        .find(|(_, sample)| sample.entry_before.is_some() && sample.entry_before == sample.entry_after)
        .or_else(|| samples().next())
}

/// Where a cell's rounds ended before they were used up, and why.
pub(super) fn stopped_words(cell: &CellResult) -> Option<String> {
    let stopped = cell.stopped.as_ref()?;
    Some(format!(
        "{}: stopped after {} of {} rounds: {}",
        cell.spec.variant,
        stopped.after_rounds,
        stopped.of_rounds,
        stopped.why.words()
    ))
}

/// One sentence about [`proof`].
pub(super) fn proof_words(cell: &CellResult) -> Option<String> {
    let (round, sample) = proof(cell)?;
    let same = sample.entry_before.is_some() && sample.entry_before == sample.entry_after;
    Some(format!(
        "{}: round {round}, try {}, page {}: generation {} was written, {} was read ({}); swap entry {} before the fault, {} after the interferer's pageout{}",
        cell.spec.variant,
        count(sample.attempt),
        sample.page,
        sample.expected,
        sample.found,
        kind_words(sample.kind),
        entry_words(sample.entry_before),
        entry_words(sample.entry_after),
        if same { ": the same entry" } else { "" },
    ))
}

/// What tells cells of one kernel apart beside the variant; empty where the run has one test and one guest.
pub(super) fn setting(results: &Results, cell: &CellResult) -> String {
    let several = |part: fn(&CellResult) -> &String| results.cells.iter().any(|other| part(other) != part(cell));
    let mut parts = Vec::new();
    if several(|cell| &cell.spec.test) {
        parts.push(cell.spec.test.as_str());
    }
    if several(|cell| &cell.spec.guest) {
        parts.push(cell.spec.guest.as_str());
    }
    parts.join(" ")
}

/// The one sentence that tells a comparison, without its verdict:
/// `linux-6.1 unpatched: 1,204 lost updates in 41 s, first after 18 ms; patched: 0 in 12,911 exposures, p < 1e-200`.
pub(super) fn comparison(results: &Results, it: &Comparison) -> String {
    let Some((base, patched)) = results.sides(it) else { return String::new() };
    let setting = setting(results, base);
    let setting = if setting.is_empty() { setting } else { format!(" ({setting})") };
    format!(
        "{} {}{setting}: {}; {}: {}",
        base.spec.kernel,
        base.spec.variant,
        base_words(base),
        patched.spec.variant,
        patched_words(patched, it),
    )
}

/// [`comparison`] with its verdict behind an arrow, as letters or in ASCII.
pub(super) fn sentence(results: &Results, it: &Comparison, arrow: &str) -> String {
    format!("{} {arrow} {}", one_line(&comparison(results, it)), it.verdict.word())
}

/// What tells a run that did not come to its end from one that did.
pub(super) fn incomplete(results: &Results) -> Option<&'static str> {
    if results.run.is_none() {
        Some("The journal holds no run: it was cut before its first line ended.")
    } else if results.interrupted() {
        Some("The run was interrupted: this is what it had measured.")
    } else if results.finished.is_none() {
        Some("The run did not come to its end: this is what the journal holds.")
    } else {
        None
    }
}

/// `failed in 4 of 4 rounds (a hang)`, of a test that counts rounds.
pub(super) fn failed_words(cell: &CellResult) -> String {
    let ways: Vec<String> = cell
        .spec
        .counts
        .iter()
        .filter(|way| cell.rounds.iter().filter_map(|round| round.end()).any(|end| way.is_shown_by(end)))
        .map(|way| clipped(&one_line(&way.words()), 60))
        .collect();
    let ways = if ways.is_empty() { String::new() } else { format!(" ({})", ways.join(", ")) };
    let rounds = counted(cell.counted_rounds(), "round", "rounds");
    format!("failed in {} of {rounds}{ways}", count(cell.failed.len() as u64))
}

fn base_words(cell: &CellResult) -> String {
    if cell.counted_rounds() == 0 {
        return nothing_counts(cell);
    }
    if cell.counts_rounds() {
        return failed_words(cell);
    }
    let (one, more) = corruptions(cell);
    let words = format!("{} in {}", counted(cell.totals.corruptions, one, more), duration(cell.seconds));
    match cell.first_corruption_s {
        Some(first) => format!("{words}, first after {}", duration(first)),
        None => format!("{words} and {}", counted(cell.totals.exposures, "exposure", "exposures")),
    }
}

fn patched_words(cell: &CellResult, it: &Comparison) -> String {
    let counts = if cell.counted_rounds() == 0 {
        nothing_counts(cell)
    } else if cell.counts_rounds() {
        failed_words(cell)
    } else {
        format!("{} in {}", count(cell.totals.corruptions), counted(cell.totals.exposures, "exposure", "exposures"))
    };
    match it.verdict {
        Verdict::Broken => format!("{}; {counts}", trouble_words(cell)),
        Verdict::Fixed | Verdict::Inconclusive | Verdict::NoDifference => format!("{counts}{}", p_words(it)),
        Verdict::NotFixed | Verdict::Reduced | Verdict::Regressed | Verdict::Difference => {
            let ratio = it.numbers.as_ref().and_then(|numbers| numbers.ratio?.estimate);
            let ratio = ratio.map_or_else(String::new, |ratio| format!(", {} times the base's rate", number(ratio)));
            let only = it.coverage.only.as_ref().map_or_else(String::new, |only| format!("{only}: "));
            format!("{only}{counts}{ratio}{}", p_words(it))
        }
        Verdict::NotReproduced => counts,
    }
}

/// The p-value of a headline and what it rests on: independent units alone, whole rounds or the boots of a control. Models
/// of what happens within a round stand among the details.
fn p_words(it: &Comparison) -> String {
    let Some(numbers) = &it.numbers else { return String::new() };
    let (base, patched) = (numbers.base_units, numbers.patched_units);
    let boots = format!("{} + {} boots", base.boots, patched.boots);
    if it.control && numbers.exact {
        return it.p.map_or_else(String::new, |p| format!(", {p} ({boots})"));
    }
    let Some(evidence) = numbers.evidence_of(EvidenceKind::Rounds) else { return String::new() };
    let p = match it.verdict {
        Verdict::Regressed => evidence.p_higher,
        _ if it.control => LnProb::from_ln(evidence.p_lower.ln().min(evidence.p_higher.ln())).twice(),
        _ => evidence.p_lower,
    };
    let boots = if numbers.exact { format!(", {boots}") } else { String::new() };
    format!(", {p} ({} + {} rounds{boots})", base.rounds, patched.rounds)
}

/// Why no round of a cell counts.
fn nothing_counts(cell: &CellResult) -> String {
    match (&cell.build, cell.trouble.first()) {
        (crate::analysis::BuildState::Failed(_), _) => "not built".to_owned(),
        (_, Some(trouble)) => format!("no round counts ({})", clipped(&one_line(&trouble.headline), 80)),
        (_, None) => "no round was run".to_owned(),
    }
}

/// The kernel trouble of a cell: `kernel warning in 2 rounds: WARNING: ...`.
pub(super) fn trouble_words(cell: &CellResult) -> String {
    let told: Vec<String> = cell
        .kernel_trouble()
        .map(|trouble| {
            format!(
                "{} in {}: {}",
                trouble.kind.label(),
                counted(trouble.rounds.len() as u64, "round", "rounds"),
                clipped(&one_line(&trouble.headline), 100)
            )
        })
        .collect();
    match told.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} (and {} more kinds of trouble)", rest.len()),
    }
}

/// Why the verdict is what it is, in a sentence.
pub(super) fn reason(it: &Comparison) -> String {
    let more = || match it.exposures_needed {
        Some(more) => format!("; about {} are needed", counted(more, "more clean exposure", "more clean exposures")),
        None => String::new(),
    };
    let rounds = || match it.rounds_needed {
        Some(more) => format!("; about {} of either side are needed", counted(more, "more round", "more rounds")),
        None => String::new(),
    };
    match it.reason {
        Reason::CleanAndExposed => {
            "the base reproduced the race in this run, and the patched kernel stayed clean over enough exposures"
                .to_owned()
        }
        Reason::StillCorrupts => "the patched kernel still corrupts, and not provably less often".to_owned(),
        Reason::FewerCorruptions => "the patched kernel corrupts significantly less often, but it does".to_owned(),
        Reason::MoreCorruptions => "the patched kernel corrupts significantly more often".to_owned(),
        Reason::NoFailures => {
            "the base failed in this run, and the patched kernel did not, over enough rounds".to_owned()
        }
        Reason::StillFails => "rounds of the patched kernel still fail, and not provably fewer".to_owned(),
        Reason::FewerFailures => "significantly fewer rounds of the patched kernel fail, but some do".to_owned(),
        Reason::MoreFailures => "significantly more rounds of the patched kernel fail".to_owned(),
        Reason::KernelTrouble => "the patched kernel died, hung or complained".to_owned(),
        Reason::BaseClean => {
            "the base did not reproduce the race in this run, so nothing can be said of the patch".to_owned()
        }
        Reason::BuildFailed => "a kernel could not be built".to_owned(),
        Reason::IdenticalKernels => "both kernels run the same code: there is nothing to compare".to_owned(),
        Reason::NoRounds => "a side has no round that counts".to_owned(),
        Reason::BaseUnexposed => {
            "the base corrupts but was never seen to be exposed, so there is no rate to hold the patched kernel against"
                .to_owned()
        }
        Reason::NoExposures => format!("the patched kernel was never exposed to the race{}", more()),
        Reason::NotEnoughExposures => format!("too few exposures for zero corruptions to mean anything{}", more()),
        Reason::ResidualNotExcluded => {
            format!("clean, but the smallest residual rate that matters could have stayed unseen{}", more())
        }
        Reason::SidesAgree => "a control: the same kernel on both sides, and no difference was found".to_owned(),
        Reason::SidesDiffer => {
            "a control that failed: the same kernel on both sides differs, so no verdict of this setup can be trusted"
                .to_owned()
        }
        Reason::ForcedCorruption => "the patched kernel corrupts when the interleaving is forced".to_owned(),
        Reason::ForcedCrash => "the patched kernel dies of a forced interleaving that the base survives".to_owned(),
        Reason::TooFewRounds => format!("clean, but too few rounds for the significance asked for{}", rounds()),
        Reason::TooFewBoots => {
            "so few boots show the difference that it may be theirs: raise `guest.boots`, or `rounds`".to_owned()
        }
        Reason::NotCovered => format!("clean, but not at every level often enough: {}", coverage::missing(it)),
        Reason::RoundsLost => "rounds of the patched kernel were lost and might have hidden a failure".to_owned(),
    }
}

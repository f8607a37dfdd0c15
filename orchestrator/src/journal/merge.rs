//! The journals of several machines put together into the one that a single machine would have written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::entry::{Entry, RoundFinished, RoundId, RoundOutcome, RunFinished, RunStarted};

/// One journal and where it comes from.
#[derive(Debug, Clone)]
pub struct Part {
    /// For messages: its folder.
    pub name: String,
    /// Its entries.
    pub entries: Vec<Entry>,
}

/// The journals put together.
#[derive(Debug, Clone, PartialEq)]
pub struct Merged {
    /// One journal.
    pub entries: Vec<Entry>,
    /// Cells of the plan that no part has run, in plan order.
    pub missing: Vec<String>,
    /// Which part each cell's files come from: (cell, index of the part).
    pub origin: Vec<(String, usize)>,
}

/// Why journals cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction(String);

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Contradiction {}

/// Puts `parts` together. A round that several of them hold is taken once if they agree on it.
///
/// # Errors
///
/// All contradictions at once: another plan, version or significance; a cell on several accelerators or with another
/// definition; a round that ended in two ways; a kernel that was built in two ways.
pub fn merge(parts: &[Part]) -> Result<Merged, Vec<Contradiction>> {
    let mut wrong = Vec::new();
    let mut starts = Vec::new();
    for part in parts {
        match started(part) {
            Some(run) => starts.push((part, run)),
            None => wrong.push(Contradiction(format!("{}: its journal does not say what was run", part.name))),
        }
    }
    let Some(&(first, run)) = starts.first() else {
        wrong.push(Contradiction("there is nothing to merge".to_owned()));
        return Err(wrong);
    };
    for (part, other) in &starts {
        wrong.extend(same_run(&first.name, run, &part.name, other));
    }
    let mut whole = whole(run);
    for (_, other) in &starts {
        adopt(&mut whole, other);
    }
    wrong.extend(accelerators(&starts));
    let (rounds, twice) = rounds(parts);
    wrong.extend(twice);
    wrong.extend(forced(parts));
    wrong.extend(kernels(parts));
    if !wrong.is_empty() {
        return Err(wrong);
    }

    let origin = origin(parts, &whole);
    let ours = |id: &String| origin.iter().any(|(cell, _)| cell == id);
    let missing: Vec<String> = whole
        .cells
        .iter()
        .map(|cell| &cell.id)
        .chain(whole.forced.iter().map(|it| &it.id))
        .filter(|id| !ours(id))
        .cloned()
        .collect();
    let mut entries = vec![Entry::RunStarted(Box::new(whole))];
    entries.extend(notices(&starts, &missing));
    let mut builds = Vec::new();
    let mut rest = Vec::new();
    for part in parts {
        for entry in &part.entries {
            match entry {
                Entry::RunStarted(_) | Entry::RunFinished(_) => {}
                Entry::Built(_) | Entry::BuildFailed(_) => builds.push(entry.clone()),
                // Taken from the part that brought the round to its end, below.
                Entry::RoundStarted(id) if rounds.get(id).is_some_and(Option::is_some) => {}
                Entry::RoundFinished(round) => {
                    let end = rounds.get(&round.id).cloned().flatten();
                    if end.as_deref() == Some(&**round) {
                        rest.push(Entry::RoundStarted(round.id.clone()));
                        rest.push(entry.clone());
                    }
                }
                other => rest.push(other.clone()),
            }
        }
    }
    let mut seen: Vec<Entry> = Vec::new();
    for entry in builds.into_iter().map(uncached).chain(rest) {
        if !seen.contains(&entry) {
            seen.push(entry);
        }
    }
    entries.extend(seen);
    entries.extend(finished(parts).map(Entry::RunFinished));
    Ok(Merged { entries, missing, origin })
}

fn started(part: &Part) -> Option<&RunStarted> {
    part.entries.iter().find_map(|entry| match entry {
        Entry::RunStarted(run) => Some(&**run),
        _ => None,
    })
}

/// The plan as a whole, as the first part knows it.
fn whole(run: &RunStarted) -> RunStarted {
    let mut merged = run.clone();
    if let Some(whole) = merged.whole.take() {
        merged.cells = whole.cells;
        merged.comparisons = whole.comparisons;
        merged.forced = whole.forced;
    }
    merged
}

/// Adds what another part ran and the first one does not know of.
fn adopt(merged: &mut RunStarted, other: &RunStarted) {
    merged.started = merged.started.clone().min(other.started.clone());
    for cell in &other.cells {
        if !merged.cells.iter().any(|known| known.id == cell.id) {
            merged.cells.push(cell.clone());
        }
    }
    for pair in &other.comparisons {
        if !merged.comparisons.contains(pair) {
            merged.comparisons.push(pair.clone());
        }
    }
    for forced in &other.forced {
        if !merged.forced.iter().any(|known| known.id == forced.id) {
            merged.forced.push(forced.clone());
        }
    }
}

fn same_run(first: &str, run: &RunStarted, name: &str, other: &RunStarted) -> Option<Contradiction> {
    let differs = |what: &str, ours: &str, theirs: &str| {
        Some(Contradiction(format!("{name} is of another {what} than {first}: {theirs}, not {ours}")))
    };
    let short = |digest: &str| digest.chars().take(12).collect::<String>();
    let plan = |run: &RunStarted| format!("{} ({})", run.plan, short(&run.plan_sha256));
    if (&run.plan, &run.plan_sha256) != (&other.plan, &other.plan_sha256) {
        return differs("plan", &plan(run), &plan(other));
    }
    if run.twinboot != other.twinboot {
        return differs("twinboot", &run.twinboot, &other.twinboot);
    }
    let defined = run.cells.iter().chain(run.whole.iter().flat_map(|whole| &whole.cells));
    let changed = defined.into_iter().find(|cell| other.cells.iter().any(|it| it.id == cell.id && it != *cell))?;
    Some(Contradiction(format!("{name} understands by {} something else than {first}", changed.id)))
}

/// Cells of which two parts with rounds of them ran under different accelerators.
fn accelerators(starts: &[(&Part, &RunStarted)]) -> Vec<Contradiction> {
    let mut first: BTreeMap<String, (&Part, &RunStarted)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for &(part, run) in starts {
        let cells: BTreeSet<&String> = part
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::RoundFinished(round) => Some(&round.id.cell),
                Entry::ForcedRound(round) => Some(&round.cell),
                _ => None,
            })
            .collect();
        for cell in cells {
            let (other, theirs) = *first.entry(cell.clone()).or_insert((part, run));
            if theirs.accelerator != run.accelerator {
                wrong.push(Contradiction(format!(
                    "{cell} ran under {} (QEMU {}) in {} and under {} (QEMU {}) in {}: such rounds are never pooled",
                    theirs.accelerator.name,
                    theirs.accelerator.qemu,
                    other.name,
                    run.accelerator.name,
                    run.accelerator.qemu,
                    part.name
                )));
            }
        }
    }
    wrong
}

type Rounds<'a> = BTreeMap<RoundId, Option<Box<RoundFinished>>>;

/// Every round that began, with its end, and the rounds that ended in two ways. A round that was interrupted in one part
/// and ended in another has ended.
fn rounds(parts: &[Part]) -> (Rounds<'_>, Vec<Contradiction>) {
    let mut ends: BTreeMap<RoundId, (Option<Box<RoundFinished>>, &str)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for part in parts {
        for entry in &part.entries {
            match entry {
                Entry::RoundStarted(id) => {
                    ends.entry(id.clone()).or_insert((None, &part.name));
                }
                Entry::RoundFinished(round) => {
                    let known = ends.entry(round.id.clone()).or_insert((None, &part.name));
                    let open = known.0.as_ref().is_none_or(|end| end.outcome == RoundOutcome::Interrupted);
                    if open {
                        *known = (Some(round.clone()), &part.name);
                    } else if round.outcome != RoundOutcome::Interrupted && known.0.as_deref() != Some(&**round) {
                        wrong.push(Contradiction(format!(
                            "round {} of {} ended in {} and, differently, in {}: it counts once, and nobody can say which",
                            round.id.round, round.id.cell, known.1, part.name
                        )));
                    }
                }
                _ => {}
            }
        }
    }
    (ends.into_iter().map(|(id, (end, _))| (id, end)).collect(), wrong)
}

/// Drawn interleavings of which two parts have a round in two ways.
fn forced(parts: &[Part]) -> Vec<Contradiction> {
    let mut first = BTreeMap::new();
    let mut wrong = Vec::new();
    for part in parts {
        for entry in &part.entries {
            let Entry::ForcedRound(round) = entry else { continue };
            let (other, known) = *first.entry((&round.cell, round.held, round.round)).or_insert((&part.name, round));
            // A run that was taken up again may have played it twice itself; then the last one counts.
            if known != round && *other != part.name {
                wrong.push(Contradiction(format!(
                    "forced round {} of {} is in {other} and, differently, in {}",
                    round.round, round.cell, part.name
                )));
            }
        }
    }
    wrong
}

/// Kernels that run other code in one part than in another.
fn kernels(parts: &[Part]) -> Vec<Contradiction> {
    let mut first = BTreeMap::new();
    let mut wrong = Vec::new();
    for part in parts {
        for entry in &part.entries {
            let Entry::Built(built) = entry else { continue };
            let name = (&built.kernel, &built.variant);
            let (other, digest) = *first.entry(name).or_insert((part.name.as_str(), built.load_digest.as_str()));
            if digest != built.load_digest {
                wrong.push(Contradiction(format!(
                    "kernel {} {} is not the same code in {other} and in {}: pin sources and compiler (`twinboot plan lock`)",
                    built.kernel, built.variant, part.name
                )));
            }
        }
    }
    wrong
}

/// The same kernel, built here and taken from a cache there, is one.
fn uncached(entry: Entry) -> Entry {
    match entry {
        Entry::Built(mut built) => {
            built.cached = true;
            built.seconds = 0.0;
            Entry::Built(built)
        }
        other => other,
    }
}

/// The part with most ended rounds of each cell that any part has begun.
fn origin(parts: &[Part], whole: &RunStarted) -> Vec<(String, usize)> {
    let count = |part: &Part, id: &str| {
        let of = |entry: &&Entry| match entry {
            Entry::RoundFinished(round) => round.id.cell == id && round.outcome != RoundOutcome::Interrupted,
            Entry::ForcedRound(round) => round.cell == id,
            Entry::ForcedFailed(failed) => failed.cell == id,
            _ => false,
        };
        part.entries.iter().filter(of).count()
    };
    let built_nowhere = |kernel: &str, variant: &str| {
        parts.iter().position(|part| {
            part.entries.iter().any(|entry| {
                matches!(entry, Entry::BuildFailed(failed) if failed.kernel == kernel && failed.variant == variant)
            })
        })
    };
    let cells = whole.cells.iter().map(|cell| (&cell.id, &cell.kernel, &cell.variant));
    let forced = whole.forced.iter().map(|cell| (&cell.id, &cell.kernel, &cell.variant));
    cells
        .chain(forced)
        .filter_map(|(id, kernel, variant)| {
            let best = (0..parts.len()).max_by_key(|&at| (count(&parts[at], id), std::cmp::Reverse(at)))?;
            if count(&parts[best], id) > 0 {
                return Some((id.clone(), best));
            }
            built_nowhere(kernel, variant).map(|at| (id.clone(), at))
        })
        .collect()
}

fn notices(starts: &[(&Part, &RunStarted)], missing: &[String]) -> Vec<Entry> {
    let mut texts = Vec::new();
    if starts.len() > 1 {
        texts.push(format!("merged from {} results folders", starts.len()));
    }
    let Some((_, first)) = starts.first() else { return Vec::new() };
    for (part, run) in &starts[1..] {
        let host = |run: &RunStarted| format!("{} CPUs ({}), {}", run.host.cpus, run.host.cpu, run.host.kernel);
        if run.accelerator != first.accelerator {
            texts.push(format!("{} ran under {} (QEMU {})", part.name, run.accelerator.name, run.accelerator.qemu));
        }
        if run.host != first.host {
            texts.push(format!("{} ran on another machine: {}", part.name, host(run)));
        }
        if run.load != first.load
            && let Some(words) = run.load_words()
        {
            texts.push(format!("{} ran its guests {words}", part.name));
        }
        if run.seed != first.seed {
            texts.push(format!("{} ran with seed {}", part.name, run.seed));
        }
    }
    if !missing.is_empty() {
        texts.push(format!("no results for {} of the plan's cells: {}", missing.len(), missing.join(", ")));
    }
    texts.into_iter().map(|text| Entry::Notice { text }).collect()
}

/// The end of the last part to end; none when a part never came to its end.
fn finished(parts: &[Part]) -> Option<RunFinished> {
    let ends = parts.iter().map(|part| match part.entries.last() {
        Some(Entry::RunFinished(end)) => Some(end.clone()),
        _ => None,
    });
    let ends: Option<Vec<RunFinished>> = ends.collect();
    let ends = ends?;
    let finished = ends.iter().map(|end| end.finished.clone()).max()?;
    Some(RunFinished { finished, interrupted: ends.iter().any(|end| end.interrupted) })
}

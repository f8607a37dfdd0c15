//! A run on the terminal as it happens: bars where there is a terminal, plain lines where there is none.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use indicatif::HumanBytes;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use twinboot_protocol::Counts;

use super::tally::{SweepTally, Tally};
use super::words;
use crate::build::Step;
use crate::journal::Entry;
use crate::journal::entry::{Built, RoundFinished, RoundId, RoundOutcome, Stage};
use crate::journal::interleaving::{ForcedOutcome, ForcedRound};
use crate::printable::indented_line;
use crate::run::messages::{Event, Observer};

/// Draws events on standard error.
#[derive(Clone)]
pub struct Progress(Arc<Mutex<Screen>>);

struct Screen {
    bars: MultiProgress,
    /// False where standard error is no terminal: every event of weight is then a line of its own.
    live: bool,
    builds: HashMap<(String, String), ProgressBar>,
    rounds: HashMap<RoundId, ProgressBar>,
    drawings: HashMap<String, ProgressBar>,
    tally: Tally,
    sweeps: HashMap<String, SweepTally>,
    total: Option<ProgressBar>,
    planned: u64,
}

impl Progress {
    /// Draws on standard error, whatever it is.
    pub fn on_stderr() -> Self {
        let live = std::io::stderr().is_terminal();
        let target = if live { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        Self(Arc::new(Mutex::new(Screen {
            bars: MultiProgress::with_draw_target(target),
            live,
            builds: HashMap::new(),
            rounds: HashMap::new(),
            drawings: HashMap::new(),
            tally: Tally::default(),
            sweeps: HashMap::new(),
            total: None,
            planned: 0,
        })))
    }

    /// The observer to hand to the runner.
    pub fn observer(&self) -> Observer {
        let screen = self.clone();
        Arc::new(move |event| screen.screen().show(event))
    }

    /// Says something that is no event of a run.
    pub fn note(&self, text: &str) {
        self.screen().say(&format!("note: {text}"));
    }

    /// Takes every bar off the screen, so that a report can be printed below what was said.
    pub fn finish(&self) {
        let mut screen = self.screen();
        screen.builds.clear();
        screen.rounds.clear();
        screen.drawings.clear();
        screen.total = None;
        // Nothing is left to draw on when the terminal is gone.
        let _ = screen.bars.clear();
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    fn show(&mut self, event: Event) {
        match event {
            Event::Build { kernel, variant, step } => self.build(kernel, variant, &step),
            Event::Built(built) => {
                self.builds.remove(&(built.kernel.clone(), built.variant.clone()));
                self.say(&built_line(&built));
            }
            Event::BuildFailed(failure) => {
                self.builds.remove(&(failure.kernel.clone(), failure.variant.clone()));
                self.say(&format!("{} {}: does not build: {}", failure.kernel, failure.variant, failure.reason));
            }
            Event::Image | Event::Accelerator => {}
            Event::Journal(entry) => self.journal(*entry),
            Event::Stage { id, stage } => self.stage(&id, stage),
            Event::Progress { id, progress } => {
                if let Some(bar) = self.rounds.get(&id) {
                    bar.set_message(counts_text(&progress.counts));
                }
            }
        }
    }

    fn build(&mut self, kernel: String, variant: String, step: &Step) {
        let name = format!("{kernel} {variant}");
        let live = self.live;
        let bars = &self.bars;
        let fresh = !self.builds.contains_key(&(kernel.clone(), variant.clone()));
        let bar = self.builds.entry((kernel, variant)).or_insert_with(|| {
            let bar = bars
                .add(ProgressBar::no_length().with_style(style("{prefix}  {spinner} {msg}")).with_prefix(name.clone()));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        match step {
            Step::Compile { done, total } => {
                if let Some(total) = total
                    && bar.length() != Some(*total)
                {
                    bar.set_style(style("{prefix}  {bar:28} {pos}/{len} objects  {elapsed}"));
                    bar.set_length(*total);
                }
                bar.set_position(*done);
                bar.set_message(format!("{done} objects"));
            }
            other => bar.set_message(indented_line(&step_text(other))),
        }
        let milestone = match step {
            Step::Compile { done, .. } => *done > 0 && done.is_multiple_of(400),
            Step::Cached => false,
            _ => true,
        };
        let lasting = matches!(step, Step::Notice(_));
        if lasting || !live && (milestone || (fresh && !matches!(step, Step::Cached))) {
            self.say(&format!("{name}: {}", step_text(step)));
        }
    }

    fn journal(&mut self, entry: Entry) {
        match entry {
            Entry::RunStarted(run) => {
                self.tally = Tally::start(&run);
                self.planned = run.cells.iter().map(|cell| u64::from(cell.rounds)).sum();
                if run.cells.is_empty() {
                    return self.say(&format!(
                        "{} to force on {} (QEMU {}), seed {}",
                        run.forced.len(),
                        run.accelerator.name,
                        run.accelerator.qemu,
                        run.seed
                    ));
                }
                let total = ProgressBar::new(self.planned).with_style(style("rounds  {bar:28} {pos}/{len}  {elapsed}"));
                total.enable_steady_tick(Duration::from_millis(500));
                self.total = Some(self.bars.add(total));
                self.say(&format!(
                    "{} rounds in {} cells on {} (QEMU {}), seed {}",
                    self.planned,
                    run.cells.len(),
                    run.accelerator.name,
                    run.accelerator.qemu,
                    run.seed
                ));
            }
            Entry::Notice { text } => self.say(&format!("note: {}", words::gist(&text))),
            Entry::RoundFinished(round) => {
                self.rounds.remove(&round.id).inspect(ProgressBar::finish_and_clear);
                if let Some(total) = &self.total {
                    total.inc(1);
                }
                self.say(&round_line(&round));
            }
            Entry::Stopped(stopped) => {
                self.planned =
                    self.planned.saturating_sub(u64::from(stopped.of_rounds.saturating_sub(stopped.after_rounds)));
                if let Some(total) = &self.total {
                    total.set_length(self.planned);
                }
                self.say(&format!(
                    "{}: stopped after {} of {} rounds: {}",
                    stopped.cell,
                    stopped.after_rounds,
                    stopped.of_rounds,
                    stopped.why.words()
                ));
            }
            Entry::ForcedRound(round) => self.forced(&round),
            Entry::ForcedFailed(failed) => {
                self.drawings.remove(&failed.cell).inspect(ProgressBar::finish_and_clear);
                self.say(&format!("{}: cannot be forced: {}", failed.cell, failed.reason));
            }
            Entry::SweepTraced(traced) => self.swept(traced.cell.clone(), |tally| tally.traced(&traced)),
            Entry::SweepTried(tried) => self.swept(tried.cell.clone(), |tally| tally.tried(&tried)),
            Entry::Built(_)
            | Entry::BuildFailed(_)
            | Entry::Snapshot(_)
            | Entry::RoundStarted(_)
            | Entry::RunFinished(_) => {}
        }
    }

    /// A bar for each sweep; a line for each quarter of it.
    fn swept(&mut self, cell: String, count: impl FnOnce(&mut SweepTally) -> bool) {
        let tally = self.sweeps.entry(cell.clone()).or_default();
        let milestone = count(tally);
        let (done, planned, text) = (tally.done(), tally.planned, tally.text());
        if milestone {
            self.say(&format!("{cell}: {text}"));
        }
        if done >= planned {
            self.drawings.remove(&cell).inspect(ProgressBar::finish_and_clear);
            return;
        }
        let bars = &self.bars;
        let bar = self.drawings.entry(cell.clone()).or_insert_with(|| {
            let style = style("{prefix}  {bar:28} {pos}/{len} points  {msg}  {eta} left");
            bars.add(ProgressBar::new(planned).with_style(style).with_prefix(cell))
        });
        bar.set_length(planned);
        bar.set_position(done);
        bar.set_message(text);
    }

    /// A bar for each drawing; lines for what is lost at once, and for all rounds when they are over.
    fn forced(&mut self, round: &ForcedRound) {
        let cell = self.tally.count(round).clone();
        if let ForcedOutcome::Lost { reason } | ForcedOutcome::Crashed { reason } = &round.outcome {
            let how = if round.held { "forced round" } else { "round without the hold" };
            self.say(&format!("{}: {how} {}: {}", round.cell, round.round, words::gist(reason)));
        }
        if cell.done >= cell.planned {
            self.drawings.remove(&round.cell).inspect(ProgressBar::finish_and_clear);
            return self.say(&format!("{}: {}", round.cell, cell.text()));
        }
        let bars = &self.bars;
        let bar = self.drawings.entry(round.cell.clone()).or_insert_with(|| {
            let style = style("{prefix}  {bar:28} {pos}/{len}  {msg}");
            bars.add(ProgressBar::new(cell.planned).with_style(style).with_prefix(round.cell.clone()))
        });
        bar.set_position(cell.done);
        bar.set_message(cell.text());
    }

    fn stage(&mut self, id: &RoundId, stage: Stage) {
        // A bar that nobody sees still has a thread that ticks it.
        if !self.live {
            return;
        }
        let (bars, total) = (&self.bars, &self.total);
        let bar = self.rounds.entry(id.clone()).or_insert_with(|| {
            let bar = ProgressBar::no_length()
                .with_style(style("{prefix}  {spinner} {msg}  {elapsed}"))
                .with_prefix(round_name(id));
            let bar = match total {
                Some(total) => bars.insert_before(total, bar),
                None => bars.add(bar),
            };
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        bar.set_message(stage_text(stage));
    }

    /// A line that stays.
    /// Says a line, whoever's words are in it.
    fn say(&self, line: &str) {
        let line = indented_line(line);
        if self.live {
            // A terminal that went away takes its lines with it.
            let _ = self.bars.println(&line);
        } else {
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

fn round_name(id: &RoundId) -> String {
    format!("{} round {}", id.cell, id.round)
}

fn step_text(step: &Step) -> String {
    match step {
        Step::Fetch(what) => format!("fetching {what}"),
        Step::Notice(what) => format!("note: {what}"),
        Step::Unpack => "unpacking".to_owned(),
        Step::Patch => "patching".to_owned(),
        Step::Configure => "configuring".to_owned(),
        Step::Compile { done, total: Some(total) } => format!("compiled {done} of {total} objects"),
        Step::Compile { done, total: None } => format!("compiled {done} objects"),
        Step::Link => "linking".to_owned(),
        Step::Cached => "in the cache".to_owned(),
    }
}

fn stage_text(stage: Stage) -> &'static str {
    match stage {
        Stage::Start => "starting QEMU",
        Stage::Boot => "booting",
        Stage::Ssh => "connecting",
        Stage::Test => "racing",
        Stage::Shutdown => "powering off",
    }
}

fn built_line(built: &Built) -> String {
    let how = if built.cached { "in the cache".to_owned() } else { format!("built in {:.0} s", built.seconds) };
    let mut line = format!("{} {}: {} {how}", built.kernel, built.variant, built.release);
    for note in &built.patch_notes {
        line.push_str("\n  patch: ");
        line.push_str(note);
    }
    line
}

fn round_line(round: &RoundFinished) -> String {
    let name = round_name(&round.id);
    let troubles = match round.problems.first() {
        None => String::new(),
        Some(first) => format!("; kernel said: {}", first.fingerprint.first().map_or("", String::as_str)),
    };
    let said = match &round.outcome {
        RoundOutcome::Finished => match &round.summary {
            Some(summary) => {
                let first = summary
                    .first_corruption_ns
                    .map_or(String::new(), |ns| format!(", first after {:.0} ms", ns as f64 / 1e6));
                format!("{} in {:.1} s{first}", counts_text(&summary.counts), summary.elapsed_ns as f64 / 1e9)
            }
            None => "finished without a summary".to_owned(),
        },
        RoundOutcome::GuestDied { reason } => format!("the guest died: {reason}"),
        RoundOutcome::TimedOut { stage, after_s } => format!("{} took more than {after_s:.0} s", stage_text(*stage)),
        RoundOutcome::Stuck { reason } => format!("the kernel got stuck: {reason}"),
        RoundOutcome::TestFailed { reason } => format!("the test failed: {reason}"),
        RoundOutcome::Infrastructure { stage, reason } => format!("lost while {}: {reason}", stage_text(*stage)),
        RoundOutcome::Interrupted => "interrupted".to_owned(),
    };
    format!("{name}: {said}{troubles}")
}

fn counts_text(counts: &Counts) -> String {
    format!(
        "{} tries, {} exposures, {} corruptions",
        HumanCount(counts.tries),
        HumanCount(counts.exposures),
        HumanCount(counts.corruptions)
    )
}

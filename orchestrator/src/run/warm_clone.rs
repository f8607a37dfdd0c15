//! A round in a warm clone: finding the snapshot, and not trusting it further than it carries.

use super::executor::{Round, infrastructure};
use super::messages::Event;
use crate::causes::chain;
use crate::journal::Entry;
use crate::journal::entry::{self, RoundOutcome, Stage};
use crate::journal::rules::Warmth;
use crate::vm;
use crate::vm::{GuestLogs, Snapshot, SnapshotError, Taken};

impl Round<'_> {
    /// The round in a clone, from start to end; none where there is nothing to go on from, so that the guest has to boot.
    pub(super) async fn in_clone(&mut self, logs: &GuestLogs) -> Option<RoundOutcome> {
        let task = self.task;
        let snapshots = task.snapshots.as_deref().filter(|_| task.machine.guest.clone == Warmth::Warm)?;
        // Ends when the snapshots have had enough.
        loop {
            let origin = GuestLogs::new(&task.folder, "snapshot-for-round", task.id.round);
            (self.observer)(Event::Stage { id: task.id.clone(), stage: Stage::Boot });
            let found = snapshots.get(&task.machine, task.origin, &origin, task.test.deadlines.boot, self.cancel).await;
            origin.keep();
            let snapshot = match found {
                Ok((snapshot, taken)) => {
                    let told = taken.map_or_else(Vec::new, |taken| self.told(taken));
                    self.news.extend(told);
                    snapshot
                }
                Err(_) if self.cancel.is_cancelled() => return Some(RoundOutcome::Interrupted),
                Err(SnapshotError::GivenUp { .. }) => return None,
                Err(error) => {
                    let cell = &task.id.cell;
                    self.notice(format!(
                        "no guest could be saved for {cell}, so its rounds boot cold: {}",
                        chain(&error)
                    ));
                    return None;
                }
            };
            self.clone = Warmth::Warm;
            let outcome = match task.machine.clone_of(&snapshot, logs.begin()) {
                Ok((spec, login)) => self.live(&spec, &login, &vm::run_dir_parent()).await,
                Err(error) => infrastructure(Stage::Start, &error),
            };
            let Some(doubt) = doubt(&outcome) else { return Some(outcome) };
            logs.keep();
            self.start_anew();
            self.invalidate(&snapshot, &doubt).await?;
        }
    }

    /// Throws the snapshot away; none where that cannot be done.
    async fn invalidate(&mut self, snapshot: &std::sync::Arc<Snapshot>, doubt: &str) -> Option<()> {
        let (snapshots, cell) = (self.task.snapshots.as_deref()?, &self.task.id.cell);
        match snapshots.invalidate(snapshot, doubt, self.cancel).await {
            Ok(another) => {
                let then = if another { "another one is taken" } else { "its rounds boot cold" };
                self.notice(format!("a saved guest of {cell} was thrown away, {then}: {doubt}"));
                Some(())
            }
            Err(error) => {
                self.notice(format!(
                    "a saved guest of {cell} is of no use and cannot be removed: {doubt}: {}",
                    chain(&error)
                ));
                None
            }
        }
    }

    fn notice(&mut self, text: String) {
        self.news.push(Entry::Notice { text });
    }

    /// What the journal is to know of a snapshot that is used for the first time.
    fn told(&self, taken: Taken) -> Vec<Entry> {
        let Taken { cached, seconds, bytes, boot, replaced } = taken;
        let built = &self.task.machine.kernel.info;
        let (kernel, variant) = (built.kernel.clone(), built.variant.clone());
        let guest = self.task.machine.guest.name.clone();
        let replaced = replaced.map(|reason| Entry::Notice {
            text: format!("a saved guest of {} from an earlier run was replaced: {reason}", self.task.id.cell),
        });
        let number = Some(self.task.origin.number);
        let snapshot = entry::Snapshot { kernel, variant, guest, cached, seconds, bytes, boot, number };
        replaced.into_iter().chain([Entry::Snapshot(Box::new(snapshot))]).collect()
    }
}

/// Why a clone's end is to be blamed on what it went on from rather than on its kernel: it never came to life, or is not who
/// it should be.
fn doubt(outcome: &RoundOutcome) -> Option<String> {
    match outcome {
        RoundOutcome::Infrastructure { stage: Stage::Start | Stage::Boot | Stage::Ssh, reason } => Some(reason.clone()),
        RoundOutcome::TimedOut { stage: Stage::Start | Stage::Boot, after_s } => {
            Some(format!("its clone did not come to life within {after_s} s"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_that_came_to_life_answers_for_itself() {
        let broken = |stage| RoundOutcome::Infrastructure { stage, reason: "load of migration failed".to_owned() };
        let late = |stage| RoundOutcome::TimedOut { stage, after_s: 60.0 };
        assert_eq!(doubt(&broken(Stage::Start)).as_deref(), Some("load of migration failed"));
        assert!(doubt(&late(Stage::Boot)).is_some_and(|doubt| doubt.contains("60 s")));
        let own = [
            RoundOutcome::Finished,
            RoundOutcome::Interrupted,
            RoundOutcome::GuestDied { reason: "panic".to_owned() },
            broken(Stage::Test),
            late(Stage::Ssh),
        ];
        for outcome in own {
            assert_eq!(doubt(&outcome), None, "{outcome:?}");
        }
    }
}

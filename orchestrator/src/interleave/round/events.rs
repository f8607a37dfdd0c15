//! How a round reacts to events.

use twinboot_protocol::orders::Answer;

use super::{Judged, Round, Stop, lost};
use crate::diagram::Action;
use crate::interleave::control::{Event, GuestControl};

impl<S: GuestControl> Round<'_, S> {
    pub(super) async fn take(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Answer(answer) => self.answer(answer)?,
            Event::Reached { tid } => {
                if let Some(column) = self.column(tid) {
                    self.reach(column);
                    self.guest.unwatch(tid).await?;
                }
            }
            Event::Held { tid } => {
                if let Some(column) = self.column(tid) {
                    let reached = self.threads[column].watched;
                    self.reach(column);
                    let next = reached.and_then(|index| self.next_of(index));
                    if matches!(self.action(next), Some(Action::Hold(_))) {
                        self.threads[column].held = Some(self.holds);
                        self.holds += 1;
                    } else {
                        self.arm(column, next).await?;
                        self.guest.release(tid).await?;
                    }
                }
            }
            Event::Illegal { tid, address, why } => {
                let step = self.column(tid).and_then(|column| self.threads[column].watched);
                return Err(Stop::Illegal { step: step.unwrap_or_default(), address, why });
            }
            Event::FreezeExpired { tid } => {
                if let Some(column) = self.column(tid)
                    && self.threads[column].held.take().is_some()
                {
                    let thread = &self.spec.diagram.threads[column];
                    return Err(lost(format!(
                        "`{thread}` went on by itself: its virtual CPU had stood for as long as the guest bears"
                    )));
                }
            }
            Event::Ended(end) => return Err(end.into()),
        }
        Ok(())
    }

    fn column(&self, tid: i32) -> Option<usize> {
        self.threads.iter().position(|thread| thread.tid == tid)
    }

    fn reach(&mut self, column: usize) {
        let thread = &mut self.threads[column];
        thread.reached = thread.watched.take().or(thread.reached);
    }

    fn answer(&mut self, answer: Answer) -> Result<(), Stop> {
        match answer {
            Answer::Offer { .. } => {}
            Answer::Prepared { round, entry } if round == self.spec.round => {
                (self.prepared, self.entry) = (true, entry);
            }
            Answer::Judged { round, damage, entry_before, entry_after } if round == self.spec.round => {
                self.judged = Some(Judged { damage, before: entry_before, after: entry_after });
            }
            Answer::Prepared { round, .. } | Answer::Judged { round, .. } => {
                let now = self.spec.round;
                return Err(lost(format!("the guest test answered for round {round} in round {now}")));
            }
            Answer::Done { thread, saw, refused, .. } => self.back(&thread, saw, refused),
            Answer::Failed { message } => return Err(lost(format!("the guest test gave up: {message}"))),
        }
        Ok(())
    }

    /// A thread's operation has returned.
    fn back(&mut self, thread: &str, saw: Option<String>, refused: Option<String>) {
        let Some(column) = self.spec.diagram.threads.iter().position(|name| name == thread) else { return };
        let Some((step, since)) = self.threads[column].running.take() else { return };
        if !self.spec.held
            && let Action::Operate { operation, object, .. } = &self.spec.diagram.steps[step].action
        {
            self.latency.note(operation, object.as_deref(), since.elapsed());
        }
        if let Some(taken) = self.steps.get_mut(step) {
            taken.saw = refused.map(|why| format!("refused: {why}")).or(saw);
        }
    }
}

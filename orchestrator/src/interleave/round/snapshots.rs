//! Where the threads of a round are, and whether one of them is blocked.

use tokio::time::Instant;

use super::{Round, Stop, Thread, WaitFor};
use crate::diagram::{Action, Hold};
use crate::interleave::control::{End, GuestControl, TaskSnapshot};
use crate::interleave::wait_state::{self, BETWEEN, WaitState};
use crate::journal::interleaving::ThreadState;

impl<S: GuestControl> Round<'_, S> {
    /// Samples a thread until its wait state is known. Returns the function it is blocked in, if it
    /// is blocked.
    pub(super) async fn blocked(&mut self, column: usize, until: WaitFor) -> Result<Option<String>, Stop> {
        let tids: Vec<i32> = self.threads.iter().map(|thread| thread.tid).collect();
        let (mut all, mut own): (Vec<Vec<TaskSnapshot>>, Vec<TaskSnapshot>) = (Vec::new(), Vec::new());
        loop {
            let snapshots = self.guest.look(&tids).await?;
            own.extend(snapshots.get(column).cloned());
            all.push(snapshots);
            match wait_state::classify_wait(&own) {
                WaitState::Running => return Ok(None),
                WaitState::Waiting { function, look } => {
                    self.states = self.states(&all[look]);
                    return Ok(Some(function));
                }
                WaitState::Undecided => {}
            }
            let next_look = Instant::now() + BETWEEN;
            while let Ok(event) = tokio::time::timeout_at(next_look, self.guest.next()).await {
                self.take(event).await?;
                if self.done(column, until) || self.threads[column].running.is_none() {
                    return Ok(None);
                }
            }
        }
    }

    pub(super) async fn see_all(&mut self) -> Result<Vec<ThreadState>, End> {
        let tids: Vec<i32> = self.threads.iter().map(|thread| thread.tid).collect();
        let snapshots = self.guest.look(&tids).await?;
        Ok(self.states(&snapshots))
    }

    fn states(&self, snapshots: &[TaskSnapshot]) -> Vec<ThreadState> {
        let state = |(column, snapshot): (usize, &TaskSnapshot)| {
            let thread = &self.threads[column];
            let word = match (thread.held, thread.running) {
                (Some(_), _) if self.is_frozen(thread) => "frozen",
                (Some(_), _) => "held",
                (None, None) => "idle",
                (None, Some(_)) => snapshot.state.word(),
            };
            let stack = if word == "idle" { Vec::new() } else { snapshot.stack.clone() };
            ThreadState { thread: self.spec.diagram.threads[column].clone(), state: word.to_owned(), stack }
        };
        snapshots.iter().enumerate().map(state).collect()
    }

    fn is_frozen(&self, thread: &Thread) -> bool {
        let hold = thread.reached.and_then(|reach| self.action(self.next_of(reach)));
        matches!(hold, Some(Action::Hold(Hold::Freeze)))
    }
}

//! Where the threads of a round are, and whether one of them waits.

use tokio::time::Instant;

use super::{Round, Stop, Thread, Until};
use crate::diagram::{Action, Hold};
use crate::interleave::scene::{End, Scene, Sight};
use crate::interleave::waiting::{self, BETWEEN, Told};
use crate::journal::interleaving::ThreadState;

impl<S: Scene> Round<'_, S> {
    /// Looks at a thread again and again: the function it waits in, if it does and goes on doing so.
    pub(super) async fn blocked(&mut self, column: usize, until: Until) -> Result<Option<String>, Stop> {
        let tids: Vec<i32> = self.threads.iter().map(|thread| thread.tid).collect();
        let (mut all, mut own): (Vec<Vec<Sight>>, Vec<Sight>) = (Vec::new(), Vec::new());
        loop {
            let sights = self.scene.look(&tids).await?;
            own.extend(sights.get(column).cloned());
            all.push(sights);
            match waiting::tell(&own) {
                Told::Works => return Ok(None),
                Told::Waits { function, look } => {
                    self.states = self.states(&all[look]);
                    return Ok(Some(function));
                }
                Told::Open => {}
            }
            let next_look = Instant::now() + BETWEEN;
            while let Ok(happening) = tokio::time::timeout_at(next_look, self.scene.next()).await {
                self.take(happening).await?;
                if self.done(column, until) || self.threads[column].running.is_none() {
                    return Ok(None);
                }
            }
        }
    }

    pub(super) async fn see_all(&mut self) -> Result<Vec<ThreadState>, End> {
        let tids: Vec<i32> = self.threads.iter().map(|thread| thread.tid).collect();
        let sights = self.scene.look(&tids).await?;
        Ok(self.states(&sights))
    }

    fn states(&self, sights: &[Sight]) -> Vec<ThreadState> {
        let state = |(column, sight): (usize, &Sight)| {
            let thread = &self.threads[column];
            let word = match (thread.held, thread.running) {
                (Some(_), _) if self.is_frozen(thread) => "frozen",
                (Some(_), _) => "held",
                (None, None) => "idle",
                (None, Some(_)) => sight.posture.word(),
            };
            let stack = if word == "idle" { Vec::new() } else { sight.stack.clone() };
            ThreadState { thread: self.script.diagram.threads[column].clone(), state: word.to_owned(), stack }
        };
        sights.iter().enumerate().map(state).collect()
    }

    fn is_frozen(&self, thread: &Thread) -> bool {
        let hold = thread.reached.and_then(|reach| self.action(self.next_of(reach)));
        matches!(hold, Some(Action::Hold(Hold::Freeze)))
    }
}

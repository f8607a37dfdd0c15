//! The test stage of a round whose program knows nothing of twinboot.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::executor::{Round, connection_lost, infrastructure, timed_out};
use super::messages::Event;
use super::reproducer::{End, Listener, signal, start};
use crate::journal::entry::{FIRST_RECORD, RoundOutcome, Stage};
use crate::nofollow;
use crate::plan::model::Program;
use crate::vm::{Vm, ssh};

/// How long a program may take to end by itself once it is asked to.
const GRACE: Duration = Duration::from_secs(2);

/// How often its counters are told.
const PROGRESS: Duration = Duration::from_millis(500);

/// A signal on its way into the guest: whether it was sent.
type Sending<'a> = Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// What is being done to end the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    Not,
    Asked,
    Killed,
}

impl Round<'_> {
    /// Runs `program` until it ends, its time is up or enough failures were seen; then TERM, grace, KILL to all of it.
    pub(super) async fn reproduce(&mut self, program: &Program, vm: &mut Vm, session: &ssh::Session) -> RoundOutcome {
        let test = &self.task.test;
        let mut listener = match Listener::new(&program.oracle) {
            Ok(listener) => listener,
            Err(error) => return infrastructure(Stage::Test, &error),
        };
        let mut exec = match session.exec(&start(test, program, self.task.seed), None).await {
            Ok(exec) => exec,
            Err(error) => return infrastructure(Stage::Test, &error),
        };
        let began = Instant::now();
        let elapsed = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let (mut until, mut tell) = (began + test.stop.at_most, began + PROGRESS);
        let (mut ending, mut why, mut sent) = (Ending::Not, End::TimeUp, false);
        let mut sending: Option<Sending> = None;
        let ended = loop {
            let enough = test.stop.corruptions.is_some_and(|most| listener.failures() >= most);
            if enough && ending == Ending::Not {
                (why, until) = (End::Enough, Instant::now());
            }
            let event = tokio::select! {
                event = exec.next() => event,
                done = async { Some(sending.as_mut()?.await) }, if sending.is_some() => {
                    sent |= done == Some(true);
                    sending = None;
                    continue;
                }
                () = sleep_until(tell) => {
                    tell = Instant::now() + PROGRESS;
                    (self.observer)(Event::Progress { id: self.task.id.clone(), progress: listener.progress(elapsed()) });
                    continue;
                }
                () = sleep_until(until) => {
                    let (next, name, patience) = match ending {
                        Ending::Not => (Ending::Asked, "TERM", GRACE),
                        Ending::Asked => (Ending::Killed, "KILL", test.deadlines.test),
                        Ending::Killed if sent => break Ok(End::Unkillable),
                        // Not even a signal could be sent: it is the guest that hangs.
                        Ending::Killed => break Err(timed_out(Stage::Test, began.elapsed())),
                    };
                    // Before the program's first line there is nothing to send a signal to.
                    if let Some(pid) = listener.pid {
                        sent = false;
                        sending = Some(Box::pin(send(session, name, pid)));
                    }
                    (ending, until) = (next, Instant::now() + patience);
                    continue;
                }
                () = self.cancel.cancelled() => break Err(RoundOutcome::Interrupted),
            };
            match event {
                Some(ssh::Event::Out(line) | ssh::Event::Err(line)) => {
                    let first = listener.pid.is_none();
                    listener.take(&line, elapsed());
                    if first && listener.pid.is_some() {
                        self.boot.push((FIRST_RECORD.to_owned(), vm.age().as_secs_f64()));
                    }
                }
                Some(ssh::Event::Exit(exit)) if ending == Ending::Not => break Ok(End::Exited(exit)),
                Some(ssh::Event::Exit(_)) => break Ok(why),
                lost @ (None | Some(ssh::Event::Lost(_))) => break Err(connection_lost(vm, lost).await),
            }
        };
        drop(sending);
        let kept = self.task.folder.join(format!("output.round-{}.log", self.task.id.round));
        if let Err(error) = nofollow::replace(&kept, &listener.output()) {
            return infrastructure(Stage::Test, &error);
        }
        self.records.corruptions = listener.failures();
        self.records.progress.push(listener.progress(elapsed()));
        let end = match ended {
            Ok(end) => end,
            Err(outcome) => return outcome,
        };
        let (outcome, summary) = listener.finish(&end, elapsed(), self.task.seed);
        self.records.corruptions = summary.as_ref().map_or(self.records.corruptions, |it| it.counts.corruptions);
        self.records.summary = summary;
        outcome
    }
}

/// Sends the signal to the program and all that it started. Output is not awaited but for the command's end.
async fn send(session: &ssh::Session, name: &str, pid: u32) -> bool {
    match session.exec(&signal(name, pid), None).await {
        Ok(exec) => exec.output().await.is_ok(),
        Err(_) => false,
    }
}

//! One child process and the process group it leads.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use super::guard::{self, Lifeline};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// How long a guard may take to kill what it watches.
const GUARDED: Duration = Duration::from_secs(6);

/// A running child that leads its own process group. Dropping it kills it with all that it has started.
#[derive(Debug)]
pub struct Group {
    child: Child,
    leader: Pid,
    reaped: Option<ExitStatus>,
    /// Dropped, it ends what the child has started; none for a child that starts nothing.
    lifeline: Option<Lifeline>,
}

impl Group {
    /// Starts `command` with no standard input, under a `guard`: it may start whatever it likes.
    pub fn spawn(mut command: Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).process_group(0);
        let lifeline = guard::watch(&mut command)?;
        Self::started(command.spawn()?, Some(lifeline))
    }

    /// Starts `command`, a program that starts no others, with this standard input. It gets `PR_SET_PDEATHSIG` (prctl(2)), so
    /// that it ends when twinboot itself is killed outright.
    pub fn spawn_reading(mut command: Command, stdin: impl Into<Stdio>) -> io::Result<Self> {
        command.stdin(stdin).process_group(0).kill_on_drop(true);
        // SAFETY: prctl(2) is async-signal-safe and touches nothing that the parent shares with the child.
        unsafe {
            command.pre_exec(|| {
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        Self::started(command.spawn()?, None)
    }

    fn started(child: Child, lifeline: Option<Lifeline>) -> io::Result<Self> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { child, leader: Pid::from_raw(pid), reaped: None, lifeline })
    }

    /// Process id of the child, or of its guard, which is the id of the group.
    pub fn pid(&self) -> i32 {
        self.leader.as_raw()
    }

    /// The child's standard output, once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// The child's standard error, once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Waits for the leader's end. Safe to cancel and to call again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.reaped {
            return Ok(status);
        }
        let status = self.child.wait().await?;
        self.reaped = Some(status);
        Ok(status)
    }

    /// Asks the group to end (TERM), waits `grace`, then kills it.
    pub async fn terminate(&mut self, grace: Duration) -> io::Result<ExitStatus> {
        if self.reaped.is_none() {
            self.signal(Signal::SIGTERM);
            if tokio::time::timeout(grace, self.wait()).await.is_err() {
                self.kill().await;
            }
        }
        let status = self.wait().await;
        self.signal(Signal::SIGKILL);
        self.vanish().await;
        status
    }

    /// Kills the child and what it has started.
    async fn kill(&mut self) {
        // Killed itself, the guard could no longer see to the others.
        if self.lifeline.take().is_none() || tokio::time::timeout(GUARDED, self.wait()).await.is_err() {
            self.signal(Signal::SIGKILL);
        }
    }

    /// Waits until the killed group is empty, for a second at most: a member that nobody reaps stays in it for ever.
    async fn vanish(&self) {
        // Ever longer waits, 1 ms to 512: some hosts take a second to reap what has lost its parent, and a hundred looks at
        // each guest's end cost more than all else that is done for it.
        for doubled in 0..10 {
            if killpg(self.leader, None).is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1 << doubled)).await;
        }
    }

    /// Signals every process of the group; a group that is gone already is no error.
    fn signal(&self, signal: Signal) {
        let _ = killpg(self.leader, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.lifeline.take().is_none() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// How a process ended, in words: `exit status 2`, `signal 9 (SIGKILL)`.
pub fn exit_text(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("signal {number} ({signal})"),
            Err(_) => format!("signal {number}"),
        },
        (None, None) => "an unknown end".to_owned(),
    }
}

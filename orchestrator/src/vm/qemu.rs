//! The life of one QEMU process: started, talked to, watched, ended. Whatever happens, nothing of it stays.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::console::{Console, Seen};
use super::death::{Death, DeathKind, Dying, dying};
use super::log::{Log, copy_output};
use super::qmp::{Event, Qmp};
use super::spec::Spec;
use super::{Error, args, run_dir, sandbox};
use crate::crash::CrashReport;
use crate::nofollow;
use crate::process::{Group, exit_text};

/// How long QEMU may take for what it does by itself: ending after a panic or after `quit`, ending after TERM.
pub(super) const STEP: Duration = Duration::from_secs(3);

/// What QEMU calls a machine whose state it is reading.
const LOADING: &str = "inmigrate";

/// Between two looks at how far a state is read or written.
pub(super) const LOOK: Duration = Duration::from_millis(2);

/// A running machine. Dropping it kills QEMU and removes the run directory.
pub struct Vm {
    group: Group,
    pub(super) qmp: Qmp,
    events: mpsc::UnboundedReceiver<Event>,
    pub(super) console: Console,
    log: Log,
    pub(super) run_dir: TempDir,
    started: Instant,
    monitor_after: Duration,
    qemu_version: String,
    ssh_port: Option<u16>,
    gdb: bool,
    command: String,
    death: Option<Dying>,
}

/// How a guest came up. Times count from the start of QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The monitor answered.
    pub monitor: Duration,
    /// The console's first line; kernels are told to be quiet, so it may be the init's.
    pub first_line: Option<Duration>,
    /// What the init said, in order.
    pub stages: Vec<(String, Duration)>,
    /// The line that was waited for: the init's `ready`, or its `paused`.
    pub ready: Duration,
}

/// How a machine was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// What it took.
    pub how: How,
    /// What was seen of the end.
    pub death: Death,
    /// All that the guest's kernel complained about.
    pub problems: Vec<CrashReport>,
    /// Bytes of the console that were too many for its log.
    pub console_left_out: u64,
}

/// What it took to end a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// Nothing: the machine had ended, or did so within its grace.
    ByItself,
    /// The monitor's `quit`.
    Quit,
    /// A signal: TERM, and KILL where that was not enough.
    Signal,
}

impl Vm {
    /// Starts QEMU and shakes hands with its monitor; the guest begins to boot. `run_dir_parent` gets a private folder
    /// for the sockets (see [`run_dir_parent`](super::run_dir_parent)).
    ///
    /// Call it on a worker thread of the runtime, not in `spawn_blocking`: the child dies with the thread that made it.
    pub async fn start(spec: &Spec, run_dir_parent: &Path, cancel: &CancellationToken) -> Result<Self, Error> {
        let run_dir = run_dir::make(run_dir_parent)?;
        let monitor = listen(&args::monitor_socket(run_dir.path()))?;
        let serial = listen(&args::console_socket(run_dir.path()))?;
        let console_log = open_log(&spec.console_log)?;
        let mut arguments = args::args(spec, run_dir.path());
        let sandboxed = sandbox::works(&spec.qemu, cancel).await;
        if sandboxed {
            arguments.extend(sandbox::OPTION.map(OsString::from));
        }
        let command_line = args::shell_line(&spec.qemu, &arguments);
        let log = Log::new(open_log(&spec.qemu_log)?);
        log.line(&command_line);
        if !sandboxed {
            log.line("twinboot: this QEMU does not start with `-sandbox on`, so it runs without a system call filter");
        }
        let stdin = match &spec.incoming {
            Some(path) => {
                log.line(&format!("twinboot: its standard input is `{}`", path.display()));
                let state = |source| Error::Io { action: "open", path: path.clone(), source };
                Stdio::from(File::open(path).map_err(state)?)
            }
            None => Stdio::null(),
        };

        let mut command = Command::new(&spec.qemu);
        sandbox::clean_environment(&mut command);
        command.args(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut group = Group::spawn_reading(command, stdin).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotInstalled { qemu: spec.qemu.clone() },
            _ => Error::Spawn { qemu: spec.qemu.clone(), source },
        })?;
        let (stdout, stderr) = (group.take_stdout(), group.take_stderr());
        let output = tokio::spawn(copy_output(stdout, stderr, log.clone()));

        let connected = async {
            // QEMU connects to both while it parses its command line, in either order.
            let (monitor, serial) = tokio::try_join!(accept(&monitor), accept(&serial))?;
            let console = Console::read(serial, console_log, started);
            let (qmp, events) = Qmp::open(monitor).await?;
            let qemu_version = qmp.version().await?;
            let ssh_port = if spec.network { Some(forwarded_port(&qmp.human("info usernet").await?)?) } else { None };
            let mut status = qmp.status().await?;
            // A state that is still being read would overwrite what is typed at the console meanwhile.
            while status.1 == LOADING {
                tokio::time::sleep(LOOK).await;
                status = qmp.status().await?;
            }
            let (running, state) = status;
            log.line(&format!("twinboot: monitor of QEMU {qemu_version}, machine {state}, running: {running}"));
            Ok::<_, Error>((console, qmp, events, qemu_version, ssh_port))
        };
        let connected = tokio::select! {
            biased;
            connected = connected => connected.map_err(Some),
            _ = group.wait() => Err(None),
            () = tokio::time::sleep(spec.start_deadline) => {
                let _ = group.terminate(STEP).await;
                let (stderr, command) = (log.tail(), command_line);
                return Err(Error::StartDeadline { after: spec.start_deadline, stderr, command });
            }
            () = cancel.cancelled() => {
                let _ = group.terminate(STEP).await;
                return Err(Error::Interrupted);
            }
        };
        let (console, qmp, events, qemu_version, ssh_port) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                // A monitor that broke off is most often a QEMU that ended: its own words say why.
                let ended = tokio::time::timeout(STEP, group.wait()).await;
                let status = match (ended, error) {
                    (Ok(Ok(status)), _) => exit_text(status),
                    (Ok(Err(error)), _) => error.to_string(),
                    (Err(_), Some(error)) => {
                        let _ = group.terminate(STEP).await;
                        return Err(error);
                    }
                    (Err(_), None) => "an unknown end".to_owned(),
                };
                let _ = tokio::time::timeout(STEP, output).await;
                return Err(Error::StartFailed { status, stderr: log.tail(), command: command_line });
            }
        };
        let monitor_after = started.elapsed();
        let mut vm = Self {
            group,
            qmp,
            events,
            console,
            log,
            run_dir,
            started,
            monitor_after,
            qemu_version,
            ssh_port,
            gdb: spec.gdb,
            command: command_line,
            death: None,
        };
        // A guest may be dead before QEMU has said that it runs; that is for the next stage to report.
        if let Err(error) = vm.resume().await
            && tokio::time::timeout(STEP, vm.died()).await.is_err()
        {
            return Err(error);
        }
        Ok(vm)
    }

    /// Waits for the init's `ready` line. `deadline` counts from the start of QEMU. Safe to cancel.
    pub async fn ready(&mut self, deadline: Duration) -> Result<Boot, Error> {
        self.up(deadline, |seen| seen.ready).await
    }

    /// Waits until the init has said what `said` finds.
    pub(super) async fn up(
        &mut self,
        deadline: Duration,
        found: impl Fn(&Seen) -> Option<Duration> + Send,
    ) -> Result<Boot, Error> {
        enum Said {
            Ready(Boot),
            Fatal(String),
        }
        let monitor = self.monitor_after;
        let said = self.console.until(move |seen| {
            if let Some(reason) = &seen.fatal {
                return Some(Said::Fatal(reason.clone()));
            }
            let (first_line, stages) = (seen.first_line, seen.stages.clone());
            found(seen).map(|ready| Said::Ready(Boot { monitor, first_line, stages, ready }))
        });
        let said = tokio::select! {
            biased;
            said = said => said,
            () = dying(&mut self.events, &mut self.group, &mut self.death, &self.log) => None,
            () = tokio::time::sleep_until(self.started + deadline) => {
                return Err(Error::BootDeadline { after: deadline, console: self.console.tail() });
            }
        };
        match said {
            Some(Said::Ready(boot)) => Ok(boot),
            Some(Said::Fatal(reason)) => Err(Error::InitFatal { reason, console: self.console.tail() }),
            None => {
                let died = tokio::time::timeout_at(self.started + deadline + STEP, self.died()).await;
                let Ok(death) = died else {
                    return Err(Error::BootDeadline { after: deadline, console: self.console.tail() });
                };
                // The init's last words may have come with the end.
                if let Some(reason) = self.console.look(|seen| seen.fatal.clone()) {
                    return Err(Error::InitFatal { reason, console: self.console.tail() });
                }
                Err(Error::BootDied { death, console: self.console.tail() })
            }
        }
    }

    /// Waits until the kernel under test introduces itself; false when it did not within `deadline` of QEMU's start or
    /// the machine ended first.
    pub(super) async fn kernel_runs(&mut self, deadline: Duration) -> bool {
        let runs = self.console.until(|seen| seen.kernel_runs.then_some(()));
        tokio::select! {
            biased;
            runs = runs => runs.is_some(),
            () = dying(&mut self.events, &mut self.group, &mut self.death, &self.log) => {
                self.died().await;
                self.console.look(|seen| seen.kernel_runs)
            }
            () = tokio::time::sleep_until(self.started + deadline) => false,
        }
    }

    /// Since QEMU was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The loopback port that reaches the guest's SSH server; 0 for a machine without network.
    pub fn ssh_port(&self) -> u16 {
        self.ssh_port.unwrap_or(0)
    }

    /// QEMU's version, as its monitor reports it: `7.2.22 (Debian …)`.
    pub fn qemu_version(&self) -> &str {
        &self.qemu_version
    }

    /// QEMU's whole command line, quoted for a shell.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Process id of QEMU.
    pub fn pid(&self) -> i32 {
        self.group.pid()
    }

    /// The last lines of the console, at most 20.
    pub fn console_tail(&self) -> Vec<String> {
        self.console.tail()
    }

    /// The last lines QEMU itself printed.
    pub fn output_tail(&self) -> Vec<String> {
        self.log.tail()
    }

    /// What the guest's kernel complained about so far.
    pub fn problems(&self) -> Vec<CrashReport> {
        self.console.problems()
    }

    /// Why the console log is incomplete, if it is: the first write that failed.
    pub fn console_log_error(&self) -> Option<String> {
        self.console.look(|seen| seen.log_error.clone())
    }

    /// Stops all virtual CPUs.
    pub async fn pause(&self) -> Result<(), Error> {
        self.qmp.stop().await
    }

    /// Lets the virtual CPUs run on.
    pub async fn resume(&self) -> Result<(), Error> {
        self.qmp.cont().await
    }

    /// Connects to QEMU's gdb stub, which stops the machine; whoever holds the connection resumes it. One connection at a
    /// time, and neither [`Vm::pause`] nor [`Vm::resume`] while it lasts.
    pub async fn gdb(&self) -> Result<UnixStream, Error> {
        if !self.gdb {
            return Err(Error::NoDebugger);
        }
        let path = args::gdb_socket(self.run_dir.path());
        UnixStream::connect(&path).await.map_err(|source| Error::Io { action: "connect to", path, source })
    }

    /// Waits for the machine's end, however it comes. When this returns, the console has been read to its end. Safe to
    /// cancel and to call again.
    pub async fn died(&mut self) -> Death {
        loop {
            if let Some(dying) = &self.death
                && (dying.gone || dying.give_up <= Instant::now())
            {
                break;
            }
            let give_up = self.death.as_ref().map(|dying| dying.give_up);
            tokio::select! {
                () = dying(&mut self.events, &mut self.group, &mut self.death, &self.log) => {}
                () = sleep_until(give_up) => {}
            }
        }
        let _ = tokio::time::timeout(STEP, self.console.until(|_| None::<()>)).await;
        let panic = self.problems().into_iter().rev().find_map(|problem| {
            let panicked = problem.kind == crate::crash::CrashKind::Panic;
            problem.excerpt.into_iter().find(|line| line.contains("Kernel panic")).filter(|_| panicked)
        });
        let Some(dying) = &mut self.death else {
            return Death { kind: DeathKind::Exited, reason: "QEMU ended".to_owned() };
        };
        if let Some(panic) = panic
            && dying.death.kind != DeathKind::PoweredOff
        {
            let text = panic.find("Kernel panic").map_or(panic.as_str(), |at| &panic[at..]);
            dying.death = Death { kind: DeathKind::Panicked, reason: format!("the guest's kernel panicked ({text})") };
        }
        dying.death.clone()
    }

    /// Waits up to `grace` for the guest to power itself off, which somebody has asked it to do; then [`Vm::quit`].
    pub async fn power_off(mut self, grace: Duration) -> Result<Ended, Error> {
        match tokio::time::timeout(grace, self.died()).await {
            Ok(_) => self.bury(How::ByItself).await,
            Err(_) => self.quit().await,
        }
    }

    /// Ends the machine now: the monitor's `quit`, TERM after three seconds, KILL after three more. Returns when the
    /// process is gone and the run directory is removed.
    pub async fn quit(mut self) -> Result<Ended, Error> {
        let by_guest = self.death.is_some();
        // QEMU may end before it answers, or never answer: only its end counts.
        let gone = async { tokio::join!(self.qmp.quit(), self.group.wait()) };
        let how = match tokio::time::timeout(STEP, gone).await {
            Ok(_) if by_guest => How::ByItself,
            Ok(_) => How::Quit,
            Err(_) => How::Signal,
        };
        self.bury(how).await
    }

    async fn bury(mut self, how: How) -> Result<Ended, Error> {
        let pid = self.group.pid();
        if let Err(error) = self.group.terminate(STEP).await {
            self.log.line(&format!("twinboot: lost track of process {pid}: {error}"));
        }
        let death = self.died().await;
        self.log.line(&format!("twinboot: {death}"));
        let problems = self.problems();
        let console_left_out = self.console.look(|seen| seen.left_out);
        let path = self.run_dir.path().to_path_buf();
        self.run_dir.close().map_err(|source| Error::Io { action: "remove", path, source })?;
        Ok(Ended { how, death, problems, console_left_out })
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

pub(super) fn listen(path: &Path) -> Result<UnixListener, Error> {
    UnixListener::bind(path).map_err(|source| Error::Io { action: "listen on", path: path.to_path_buf(), source })
}

pub(super) async fn accept(listener: &UnixListener) -> Result<UnixStream, Error> {
    let (stream, _) = listener
        .accept()
        .await
        .map_err(|error| Error::Monitor { action: "waiting for QEMU to connect", reason: error.to_string() })?;
    Ok(stream)
}

/// Opens a log to write behind what is there already.
fn open_log(path: &Path) -> Result<File, Error> {
    nofollow::append(path).map_err(|source| Error::Io { action: "write", path: path.to_path_buf(), source })
}

/// The host port of the first TCP forward in `info usernet`'s table: protocol, descriptor, source address and port,
/// destination address and port, and two queue lengths.
fn forwarded_port(answer: &str) -> Result<u16, Error> {
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        match columns[..] {
            ["TCP[HOST_FORWARD]", _, _, port, _, "22", ..] => port.parse().ok().filter(|&port| port != 0),
            _ => None,
        }
    };
    answer.lines().find_map(row).ok_or_else(|| Error::NoForwardedPort { answer: answer.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_the_monitors_table() {
        let answer = "Hub -1 (net):\n  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n  \
                      TCP[HOST_FORWARD]  13       127.0.0.1 41287       10.0.2.15    22     0     0\n";
        assert_eq!(forwarded_port(answer).expect("a port"), 41287);
        let error = forwarded_port("net (net):\n").expect_err("no row").to_string();
        assert!(error.contains("net (net)"), "{error}");
    }
}

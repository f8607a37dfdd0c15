//! QEMU's monitor: commands, their replies and events, over an accepted socket.
//!
//! The `qapi` crate is generated from one QEMU version's schema and ends its stream at the first line it cannot read. Other
//! QEMU versions know other events, so a sieve reads the socket first: events go to the caller from there, lines that are
//! neither event nor reply are reported and left out, and only replies reach `qapi`'s own stream.
//!
//! Protocol: QEMU's docs/interop/qmp-spec.

use std::time::Duration;

use qapi::futures::{QapiEvents, QapiService, QmpStreamTokio};
use qapi::qmp::{self, MigrationStatus, QmpMessage, QmpMessageAny, ShutdownCause};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Error;

/// How long one command may take. QEMU answers within milliseconds unless its main loop hangs.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);

/// Bytes between the sieve and `qapi`; more than any reply asked for here.
const PIPE: usize = 1 << 16;

/// What QEMU reports by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The machine ends; whether the guest asked for it, and the reason as QEMU spells it.
    Shutdown { by_guest: bool, reason: String, cause: Cause },
    /// The machine was reset.
    Reset { by_guest: bool, reason: String },
    /// The guest's kernel reported a panic through pvpanic.
    Panicked,
    /// Any other line, for the log.
    Other(String),
}

/// The shutdown causes that mean different things to a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The guest powered off.
    GuestShutdown,
    /// The guest rebooted, which `-no-reboot` turns into an end.
    GuestReset,
    /// The guest panicked.
    GuestPanic,
    /// Anything else.
    Host,
}

type Service = QapiService<QmpStreamTokio<OwnedWriteHalf>>;

/// A monitor after the handshake.
pub(super) struct Qmp {
    service: std::sync::Arc<Service>,
    tasks: [JoinHandle<()>; 2],
}

impl Qmp {
    /// Shakes hands over `socket`. The receiver yields events and ends with the connection.
    pub(super) async fn open(socket: UnixStream) -> Result<(Self, mpsc::UnboundedReceiver<Event>), Error> {
        let failed = |error: std::io::Error| Error::Monitor { action: "the handshake", reason: error.to_string() };
        let (read, write) = socket.into_split();
        let (sender, events) = mpsc::unbounded_channel();
        let (replies, sieved) = tokio::io::duplex(PIPE);
        let sieve = tokio::spawn(sieve(read, replies, sender));
        let negotiation = QmpStreamTokio::open_split(sieved, write).await.map_err(failed)?;
        let (service, stream) = negotiation.negotiate().await.map_err(failed)?.into_parts();
        let pump = tokio::spawn(pump(stream));
        Ok((Self { service: service.into(), tasks: [sieve, pump] }, events))
    }

    /// QEMU's version as `7.2.22 (Debian …)`.
    pub(super) async fn version(&self) -> Result<String, Error> {
        let info = self.execute("query-version", qmp::query_version {}).await?;
        let qemu = info.qemu;
        let package = if info.package.is_empty() { String::new() } else { format!(" ({})", info.package.trim()) };
        Ok(format!("{}.{}.{}{package}", qemu.major, qemu.minor, qemu.micro))
    }

    /// Whether the virtual CPUs run, and the run state's name.
    pub(super) async fn status(&self) -> Result<(bool, String), Error> {
        let info = self.execute("query-status", qmp::query_status {}).await?;
        Ok((info.running, format!("{:?}", info.status)))
    }

    /// Answer of the human monitor.
    pub(super) async fn human(&self, command: &str) -> Result<String, Error> {
        let command = qmp::human_monitor_command { command_line: command.to_owned(), cpu_index: None };
        self.execute("human-monitor-command", command).await
    }

    /// Stops the virtual CPUs.
    pub(super) async fn stop(&self) -> Result<(), Error> {
        self.execute("stop", qmp::stop {}).await.map(drop)
    }

    /// Lets the virtual CPUs run on.
    pub(super) async fn cont(&self) -> Result<(), Error> {
        self.execute("cont", qmp::cont {}).await.map(drop)
    }

    /// Sends the machine's state to `uri`, in the background.
    pub(super) async fn migrate(&self, uri: String) -> Result<(), Error> {
        let command = qmp::migrate { channels: None, detach: None, resume: None, uri: Some(uri) };
        self.execute("migrate", command).await.map(drop)
    }

    /// Whether the last migration is complete; an error once it has failed.
    pub(super) async fn migrated(&self) -> Result<bool, Error> {
        let info = self.execute("query-migrate", qmp::query_migrate {}).await?;
        let failed = |reason: String| Err(Error::Monitor { action: "migrate", reason });
        match info.status {
            Some(MigrationStatus::completed) => Ok(true),
            Some(MigrationStatus::failed | MigrationStatus::cancelled) => {
                failed(info.error_desc.unwrap_or_else(|| "it gave no reason".to_owned()))
            }
            _ => Ok(false),
        }
    }

    /// Asks QEMU to end.
    pub(super) async fn quit(&self) -> Result<(), Error> {
        self.execute("quit", qmp::quit {}).await.map(drop)
    }

    /// Runs one command. It runs in a task of its own: `qapi` takes a reply whose asker went away for a broken stream.
    async fn execute<C>(&self, action: &'static str, command: C) -> Result<C::Ok, Error>
    where
        C: qmp::QmpCommand + 'static,
        C::Ok: Send + 'static,
    {
        let failed = |reason: String| Error::Monitor { action, reason };
        let service = self.service.clone();
        let reply = tokio::spawn(async move { service.execute(command).await });
        match tokio::time::timeout(COMMAND_DEADLINE, reply).await {
            Ok(Ok(reply)) => reply.map_err(|error| failed(error.to_string())),
            Ok(Err(broken)) => Err(failed(broken.to_string())),
            Err(_) => Err(failed(format!("no reply within {} s", COMMAND_DEADLINE.as_secs()))),
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Hands replies from the socket to the commands that wait for them.
async fn pump(replies: QapiEvents<QmpStreamTokio<DuplexStream>>) {
    // Its end is the connection's end, which the event channel reports.
    let _ = replies.await;
}

/// Reads the socket: events to `events`, the greeting and replies to `replies`.
async fn sieve(read: OwnedReadHalf, mut replies: DuplexStream, events: mpsc::UnboundedSender<Event>) {
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    let mut greeted = false;
    while matches!(read.read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
        let message = if greeted { serde_json::from_slice::<QmpMessageAny>(&line).ok() } else { None };
        let told = match message {
            None if !greeted => None,
            None => Some(other(&line)),
            Some(QmpMessage::Event(event)) => Some(told(&event, &line)),
            Some(QmpMessage::Response(_)) => None,
        };
        greeted = true;
        match told {
            // Nobody listens any more: the machine is being taken down.
            Some(event) => drop(events.send(event)),
            None if replies.write_all(&line).await.is_err() => break,
            None => {}
        }
        line.clear();
    }
}

fn told(event: &qmp::Event, line: &[u8]) -> Event {
    let spelled = |cause: &ShutdownCause| serde_json::to_value(cause).ok().and_then(|v| v.as_str().map(str::to_owned));
    match event {
        qmp::Event::SHUTDOWN { data, .. } => Event::Shutdown {
            by_guest: data.guest,
            reason: spelled(&data.reason).unwrap_or_default(),
            cause: match data.reason {
                ShutdownCause::guest_shutdown => Cause::GuestShutdown,
                ShutdownCause::guest_reset => Cause::GuestReset,
                ShutdownCause::guest_panic => Cause::GuestPanic,
                _ => Cause::Host,
            },
        },
        qmp::Event::RESET { data, .. } => {
            Event::Reset { by_guest: data.guest, reason: spelled(&data.reason).unwrap_or_default() }
        }
        qmp::Event::GUEST_PANICKED { .. } => Event::Panicked,
        _ => other(line),
    }
}

fn other(line: &[u8]) -> Event {
    Event::Other(String::from_utf8_lossy(line).trim().to_owned())
}

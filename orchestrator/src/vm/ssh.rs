//! Sessions in a guest over SSH.
//!
//! The `ssh2` library blocks and is not to be shared between threads at work, so each session has a thread of its own that
//! waits in poll(2) for the guest and for requests. Files are uploaded through `cat > path` with standard input: guests
//! need not have scp or SFTP.

mod input;
mod lines;
mod relay;
mod types;
mod wake;

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

pub use self::input::Input;
use self::input::{Sink, Stdin};
use self::lines::Lines;
use self::relay::{Link, Relay};
pub use self::types::{Error, Event, Exit, Login, Output};
use self::wake::{Wakeable, Waker};

/// Between two tries to reach a guest whose SSH server is not up yet.
const RETRY: Duration = Duration::from_millis(30);

/// How long opening a channel and starting a command may take.
const EXEC_DEADLINE: Duration = Duration::from_secs(10);

/// How often a silent guest is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Silence after which a guest counts as lost although its connection stands: a hung kernel closes nothing. Six
/// unanswered signs of life; a test that keeps every CPU busy with real-time threads delays them by a second or so.
const SILENCE: Duration = Duration::from_secs(30);

/// Events a reader may be behind before the guest's output is held back.
const BACKLOG: usize = 1024;

/// A logged-in session. Dropping it closes the connection and ends its thread.
pub struct Session {
    requests: mpsc::UnboundedSender<Request>,
    waker: Waker,
    _relay: Relay,
}

/// A command running in the guest. Dropping it closes its channel.
pub struct Exec {
    command: String,
    events: Option<mpsc::Receiver<Event>>,
    waker: Waker,
}

struct Request {
    command: String,
    stdin: Stdin,
    started: oneshot::Sender<Result<mpsc::Receiver<Event>, Error>>,
}

/// Connects to the guest behind loopback port `port`, trying again until `deadline` has passed: QEMU accepts on the
/// forwarded port before anyone in the guest does. A wrong host key and a refused login end the tries at once.
pub async fn connect(port: u16, login: &Login, deadline: Duration) -> Result<Session, Error> {
    let until = Instant::now() + deadline;
    let mut last = "no try was made".to_owned();
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        match tokio::time::timeout(left, attempt(port, login, left)).await {
            Ok(Ok(session)) => return Ok(session),
            Ok(Err(Try::Again(reason))) => last = reason,
            Ok(Err(Try::Never(error))) => return Err(error),
            Err(_) => "it accepted the connection and then said nothing".clone_into(&mut last),
        }
        tokio::time::sleep(RETRY.min(until.saturating_duration_since(Instant::now()))).await;
    }
    Err(Error::Deadline { port, after: deadline, last })
}

enum Try {
    Again(String),
    Never(Error),
}

async fn attempt(port: u16, login: &Login, left: Duration) -> Result<Session, Try> {
    let guest = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| Try::Again(error.to_string()))?;
    let setup = |error: io::Error| Try::Never(Error::Io(error));
    guest.set_nodelay(true).map_err(setup)?;
    let (waker, wakeable) = wake::pair().map_err(setup)?;
    let (relay, link, stream) = Relay::start(guest, waker.clone()).map_err(setup)?;
    let (requests, inbox) = mpsc::unbounded_channel();
    let (report, logged_in) = oneshot::channel();
    let (login, thread_link) = (login.clone(), link.clone());
    std::thread::Builder::new()
        .name(format!("ssh-{port}"))
        .spawn(move || match log_in(port, &login, &stream, left) {
            Ok(session) => {
                if report.send(Ok(())).is_ok() {
                    Worker { session, stream, link: thread_link, wakeable, inbox, running: Vec::new() }.work();
                }
            }
            Err(error) => drop(report.send(Err(error))),
        })
        .map_err(setup)?;
    let told = tokio::select! {
        biased;
        told = logged_in => told.unwrap_or_else(|_| Err(Try::Again("the session's thread ended".to_owned()))),
        // The library would wait for a banner that can no longer come: the pair stays open on purpose.
        reason = link.until_lost() => Err(Try::Again(reason)),
    };
    told.map(|()| Session { requests, waker, _relay: relay })
}

fn log_in(port: u16, login: &Login, stream: &UnixStream, left: Duration) -> Result<ssh2::Session, Try> {
    let again = |error: ssh2::Error| Try::Again(error.message().to_owned());
    let mut session = ssh2::Session::new().map_err(again)?;
    session.set_timeout(millis(left));
    session.method_pref(ssh2::MethodType::HostKey, "ssh-ed25519").map_err(again)?;
    session.set_tcp_stream(stream.try_clone().map_err(|error| Try::Never(error.into()))?);
    session.handshake().map_err(again)?;
    let found = session.host_key().map(|(key, _)| key.to_vec()).unwrap_or_default();
    if found != login.host_key {
        let (expected, found) = (crate::cache::sha256(&login.host_key), crate::cache::sha256(&found));
        return Err(Try::Never(Error::HostKey { port, expected, found }));
    }
    let public_key = login.public_key.as_deref();
    session.userauth_pubkey_memory(&login.user, public_key, &login.private_key, None).map_err(|error| {
        // A guest that dies here is no refusal.
        match error.code() {
            ssh2::ErrorCode::Session(AUTHENTICATION_FAILED | PUBLICKEY_UNVERIFIED | KEY_FILE) => {
                Try::Never(Error::Login { user: login.user.clone(), reason: error.message().to_owned() })
            }
            _ => again(error),
        }
    })?;
    session.set_keepalive(true, u32::try_from(KEEPALIVE.as_secs()).unwrap_or(u32::MAX));
    Ok(session)
}

/// `LIBSSH2_ERROR_EAGAIN` (libssh2.h).
const WOULD_BLOCK: i32 = -37;
/// `LIBSSH2_ERROR_FILE`: the private key cannot be read (libssh2.h).
const KEY_FILE: i32 = -16;
/// `LIBSSH2_ERROR_AUTHENTICATION_FAILED` (libssh2.h).
const AUTHENTICATION_FAILED: i32 = -18;
/// `LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED` (libssh2.h).
const PUBLICKEY_UNVERIFIED: i32 = -19;

fn millis(time: Duration) -> u32 {
    // 0 would mean no deadline at all.
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX).max(1)
}

impl Session {
    /// Starts `command` through the user's shell in the guest; `stdin` is sent and then closed.
    pub async fn exec(&self, command: &str, stdin: Option<Vec<u8>>) -> Result<Exec, Error> {
        self.begin(command, Stdin::fixed(stdin.unwrap_or_default())).await
    }

    /// Starts `command` through the user's shell in the guest; its standard input stays open until the [`Input`] is dropped.
    pub async fn exec_interactive(&self, command: &str) -> Result<(Exec, Input), Error> {
        let (input, stdin) = input::pair(self.waker.clone());
        Ok((self.begin(command, stdin).await?, input))
    }

    async fn begin(&self, command: &str, stdin: Stdin) -> Result<Exec, Error> {
        let gone = || Error::Exec { command: command.to_owned(), reason: "the session has ended".to_owned() };
        let (started, answer) = oneshot::channel();
        let request = Request { command: command.to_owned(), stdin, started };
        self.requests.send(request).map_err(|_| gone())?;
        self.waker.wake();
        let events = answer.await.map_err(|_| gone())??;
        Ok(Exec { command: command.to_owned(), events: Some(events), waker: self.waker.clone() })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Closes the request channel before the thread looks at it.
        let (closed, _) = mpsc::unbounded_channel();
        self.requests = closed;
        self.waker.wake();
    }
}

impl Exec {
    /// The next event; none after the last one. Safe to cancel.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.as_mut()?.recv().await
    }

    /// Waits for the end and keeps everything in memory; for commands that say little.
    pub async fn output(mut self) -> Result<Output, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let lost = |reason| Error::Lost { command: self.command.clone(), reason };
        while let Some(event) = match self.events.as_mut() {
            Some(events) => events.recv().await,
            None => None,
        } {
            match event {
                Event::Out(line) => stdout.extend(line.into_iter().chain([b'\n'])),
                Event::Err(line) => stderr.extend(line.into_iter().chain([b'\n'])),
                Event::Exit(exit) => return Ok(Output { stdout, stderr, exit }),
                Event::Lost(reason) => return Err(lost(reason)),
            }
        }
        Err(lost("the session ended".to_owned()))
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.events = None;
        self.waker.wake();
    }
}

/// The session's thread.
struct Worker {
    session: ssh2::Session,
    stream: UnixStream,
    link: Arc<Link>,
    wakeable: Wakeable,
    inbox: mpsc::UnboundedReceiver<Request>,
    running: Vec<Running>,
}

struct Running {
    channel: ssh2::Channel,
    events: mpsc::Sender<Event>,
    stdin: Stdin,
    out: Lines,
    err: Lines,
}

/// What one look at a channel came to.
enum Turn {
    /// Something moved; look again.
    Moved,
    /// Nothing to do until the guest or the library is ready.
    Idle,
    /// It is over.
    Over,
}

impl Worker {
    fn work(mut self) {
        self.session.set_blocking(false);
        loop {
            loop {
                match self.inbox.try_recv() {
                    Ok(request) => self.start(request),
                    Err(mpsc::error::TryRecvError::Disconnected) if self.running.is_empty() => return,
                    Err(_) => break,
                }
            }
            // Looked at before the channels are read: all that came before the loss is then in the pair.
            let lost = self.link.lost().or_else(|| {
                let silence = self.link.silence();
                (silence > SILENCE).then(|| format!("no sign of life for {} s", silence.as_secs()))
            });
            let mut moved = false;
            self.running.retain_mut(|running| match running.turn() {
                Turn::Moved => {
                    moved = true;
                    true
                }
                Turn::Idle => true,
                Turn::Over => false,
            });
            if moved {
                continue;
            }
            if let Some(reason) = lost {
                for mut running in self.running.drain(..) {
                    running.lose(&reason);
                }
                return;
            }
            if self.wait(Instant::now() + KEEPALIVE).is_err() {
                return;
            }
        }
    }

    /// Opens a channel and starts the command on it.
    fn start(&mut self, request: Request) {
        let Request { command, stdin, started } = request;
        let until = Instant::now() + EXEC_DEADLINE;
        let opened = self.soon(until, || self.session.channel_session()).and_then(|mut channel| {
            self.soon(until, || channel.exec(&command))?;
            Ok(channel)
        });
        let answer = opened.map_err(|reason| Error::Exec { command, reason }).map(|channel| {
            let (events, receiver) = mpsc::channel(BACKLOG);
            let (out, err) = (Lines::default(), Lines::default());
            self.running.push(Running { channel, events, stdin, out, err });
            receiver
        });
        // An asker that went away has dropped the receiver, which the next turn notices.
        let _ = started.send(answer);
    }

    /// Tries `step` until it no longer would block. Other channels' output waits in the library meanwhile.
    fn soon<T>(&self, until: Instant, mut step: impl FnMut() -> Result<T, ssh2::Error>) -> Result<T, String> {
        loop {
            let lost = self.link.lost();
            match step() {
                Ok(done) => return Ok(done),
                Err(error) if error.code() == ssh2::ErrorCode::Session(WOULD_BLOCK) => {}
                Err(error) => return Err(error.message().to_owned()),
            }
            if let Some(reason) = lost {
                return Err(reason);
            }
            if Instant::now() >= until {
                return Err(format!("the guest did not answer within {} s", EXEC_DEADLINE.as_secs()));
            }
            self.wait(until).map_err(|error| error.to_string())?;
        }
    }

    /// Sleeps until the guest sends, the library can write, a request comes or a sign of life is due.
    fn wait(&self, until: Instant) -> io::Result<()> {
        let due = match self.session.keepalive_send() {
            Ok(seconds) => Duration::from_secs(seconds.into()),
            // Would block or has failed: the channels will tell.
            Err(_) => KEEPALIVE,
        };
        let mut flags = PollFlags::POLLIN;
        if matches!(self.session.block_directions(), ssh2::BlockDirections::Outbound | ssh2::BlockDirections::Both) {
            flags |= PollFlags::POLLOUT;
        }
        let mut fds =
            [PollFd::new(self.stream.as_fd(), flags), PollFd::new(self.wakeable.0.as_fd(), PollFlags::POLLIN)];
        let due = due.min(until.saturating_duration_since(Instant::now())).max(Duration::from_millis(10));
        let polled = poll(&mut fds, PollTimeout::try_from(due).unwrap_or(PollTimeout::MAX));
        self.wakeable.clear();
        match polled {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Running {
    fn turn(&mut self) -> Turn {
        if self.events.is_closed() {
            // Nobody listens: tell the guest, without waiting for its answer.
            let _ = self.channel.close();
            return Turn::Over;
        }
        match self.pump() {
            Ok(turn) => turn,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Turn::Idle,
            Err(error) => {
                self.lose(&error.to_string());
                Turn::Over
            }
        }
    }

    fn pump(&mut self) -> io::Result<Turn> {
        let mut moved = self.stdin.feed(&mut self.channel);
        let mut buffer = [0; 16 << 10];
        let events = &self.events;
        let read = ready(self.channel.read(&mut buffer))?;
        moved |= read > 0;
        self.out.push(&buffer[..read], |line| events.blocking_send(Event::Out(line)).is_ok());
        let read = ready(self.channel.stderr().read(&mut buffer))?;
        moved |= read > 0;
        self.err.push(&buffer[..read], |line| events.blocking_send(Event::Err(line)).is_ok());
        if moved {
            return Ok(Turn::Moved);
        }
        if !self.channel.eof() {
            return Ok(Turn::Idle);
        }
        // The exit status comes before the guest's close (RFC 4254, section 6.10), and may come after its end of file.
        self.channel.wait_close()?;
        self.flush();
        let signal = self.channel.exit_signal()?.exit_signal;
        let exit = match signal {
            Some(signal) => Exit::Signal(signal),
            None => Exit::Code(self.channel.exit_status()?),
        };
        let _ = self.events.blocking_send(Event::Exit(exit));
        Ok(Turn::Over)
    }

    fn flush(&mut self) {
        if let Some(rest) = self.out.rest() {
            let _ = self.events.blocking_send(Event::Out(rest));
        }
        if let Some(rest) = self.err.rest() {
            let _ = self.events.blocking_send(Event::Err(rest));
        }
    }

    fn lose(&mut self, reason: &str) {
        self.flush();
        let _ = self.events.blocking_send(Event::Lost(reason.to_owned()));
    }
}

impl Sink for ssh2::Channel {
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(self, bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        self.send_eof().map_err(io::Error::from)
    }
}

/// "Would block" is nothing moved, not an error.
fn ready<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(T::default()),
        other => other,
    }
}

//! The guest's serial console: kept in a file, all but the middle of a flood to the byte, and read line by line as it comes.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use twinboot_protocol::{INIT_FATAL, INIT_PAUSED, INIT_PREFIX, INIT_READY};

use super::bounded::Bounded;
use crate::crash::CrashReport;
use crate::crash::{self, Scanner};

/// Lines kept for error messages.
const TAIL: usize = 20;

/// Longest line that is looked at; a guest that prints more without a newline is cut here.
const LONGEST_LINE: usize = 8 << 10;

/// Most stage lines an init may print before they are no longer noted.
const MOST_STAGES: usize = 256;

/// A console being read by a task of its own until the other side closes it.
pub(super) struct Console {
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<bool>,
    task: JoinHandle<()>,
    keyboard: Box<dyn AsyncWrite + Unpin + Send + Sync>,
}

/// What the console has shown so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    tail: VecDeque<String>,
    scanner: Scanner,
    /// The first line from the kernel and since when.
    pub(super) first_line: Option<Duration>,
    /// The kernel introduced itself, so it really runs.
    pub(super) kernel_runs: bool,
    /// What the init said, with the time since the machine's start.
    pub(super) stages: Vec<(String, Duration)>,
    /// The init's `paused` line came.
    pub(super) paused: Option<Duration>,
    /// The init's `ready` line came.
    pub(super) ready: Option<Duration>,
    /// The init's reason to give up.
    pub(super) fatal: Option<String>,
    /// The log could no longer be written.
    pub(super) log_error: Option<String>,
    /// Bytes that were too many for the log.
    pub(super) left_out: u64,
}

impl Console {
    /// Reads `line` to its end, copying it to `log`; times count from `started`.
    pub(super) fn read(
        line: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
        log: File,
        started: Instant,
    ) -> Self {
        let (source, keyboard) = tokio::io::split(line);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (ended, changed) = watch::channel(false);
        let task = tokio::spawn(pump(source, Bounded::new(log), started, seen.clone(), ended));
        Self { seen, changed, task, keyboard: Box::new(keyboard) }
    }

    /// Types `text` at the guest's console.
    pub(super) async fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.keyboard.write_all(text.as_bytes()).await
    }

    /// A look at what was seen so far.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `found` finds something, or the console is closed (`None`). Cancel-safe.
    pub(super) async fn until<T>(&mut self, mut found: impl FnMut(&Seen) -> Option<T>) -> Option<T> {
        loop {
            let ended = *self.changed.borrow_and_update();
            if let Some(it) = self.look(&mut found) {
                return Some(it);
            }
            if ended || self.changed.changed().await.is_err() {
                return self.look(found);
            }
        }
    }

    /// The last lines, at most 20.
    pub(super) fn tail(&self) -> Vec<String> {
        self.look(|seen| seen.tail.iter().cloned().collect())
    }

    /// Kernel trouble so far.
    pub(super) fn problems(&self) -> Vec<CrashReport> {
        self.look(|seen| seen.scanner.reports())
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pump(
    mut source: impl AsyncRead + Unpin,
    mut log: Bounded,
    started: Instant,
    seen: Arc<Mutex<Seen>>,
    ended: watch::Sender<bool>,
) {
    let mut line = Vec::new();
    let mut overlong = false;
    let mut buffer = vec![0; 16 << 10];
    loop {
        // A console that breaks off has ended like any other; the machine's end is reported elsewhere.
        let read = source.read(&mut buffer).await.unwrap_or(0);
        let bytes = &buffer[..read];
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            log.write(bytes);
            if read == 0 {
                log.finish();
            }
            seen.left_out = log.left_out();
            if seen.log_error.is_none() {
                seen.log_error = log.error().map(str::to_owned);
            }
            for &byte in bytes {
                // The rest of a line that is too long is no line of its own.
                if byte == b'\n' || (line.len() == LONGEST_LINE && !overlong) {
                    if !overlong {
                        seen.line(&line, started.elapsed());
                    }
                    overlong = byte != b'\n';
                    line.clear();
                }
                if byte != b'\n' && !overlong {
                    line.push(byte);
                }
            }
            if read == 0 && !line.is_empty() {
                seen.line(&line, started.elapsed());
            }
        }
        ended.send_replace(read == 0);
        if read == 0 {
            return;
        }
    }
}

impl Seen {
    fn line(&mut self, bytes: &[u8], at: Duration) {
        self.scanner.push(bytes);
        for line in crash::kernel_lines(bytes) {
            if line.text.is_empty() {
                continue;
            }
            self.first_line.get_or_insert(at);
            self.kernel_runs |= line.text.starts_with("Linux version ");
            if let Some(said) = line.text.strip_prefix(INIT_PREFIX) {
                self.init(said, at);
            }
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(line.shown);
        }
    }

    fn init(&mut self, said: &str, at: Duration) {
        if said == INIT_PAUSED {
            self.paused.get_or_insert(at);
        } else if said == INIT_READY {
            self.ready.get_or_insert(at);
        } else if let Some(reason) = said.strip_prefix(INIT_FATAL) {
            self.fatal.get_or_insert_with(|| reason.to_owned());
        }
        if self.stages.len() < MOST_STAGES {
            self.stages.push((said.to_owned(), at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    async fn fed(pieces: &[&[u8]]) -> (Console, Vec<u8>) {
        let (mut guest, host) = tokio::io::duplex(64);
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        let mut console = Console::read(host, file.reopen().expect("opens"), Instant::now());
        for piece in pieces {
            guest.write_all(piece).await.expect("the reader reads");
        }
        drop(guest);
        assert!(console.until(|_| None::<()>).await.is_none());
        (console, std::fs::read(file.path()).expect("is there"))
    }

    #[tokio::test]
    async fn lines_cut_anywhere_are_put_together_and_every_byte_is_kept() {
        let (console, log) = fed(&[
            b"[    0.000000] Linux ver",
            b"sion 6.1\r\ntwinboot-init: swa",
            b"p on\r\ntwinboot-init: ready\r\n\xff",
        ])
        .await;
        assert_eq!(log, b"[    0.000000] Linux version 6.1\r\ntwinboot-init: swap on\r\ntwinboot-init: ready\r\n\xff");
        console.look(|seen| {
            assert!(seen.kernel_runs);
            assert!(seen.ready.is_some());
            let said: Vec<_> = seen.stages.iter().map(|(said, _)| said.as_str()).collect();
            assert_eq!(said, ["swap on", "ready"]);
        });
    }

    #[tokio::test]
    async fn a_kernel_line_in_the_middle_of_the_inits_is_told_apart() {
        let (console, _) = fed(&[b"twinboot-init: fatal: no /dev/zram0[    1.523456] swap: x\n"]).await;
        console.look(|seen| assert_eq!(seen.fatal.as_deref(), Some("no /dev/zram0")));
        assert_eq!(console.tail().len(), 2);
    }

    #[tokio::test]
    async fn a_line_without_an_end_does_not_grow_without_bound() {
        let (console, log) = fed(&[&vec![b'x'; 3 * LONGEST_LINE]]).await;
        assert_eq!(log.len(), 3 * LONGEST_LINE);
        assert!(console.tail().iter().all(|line| line.len() <= LONGEST_LINE));
    }
}

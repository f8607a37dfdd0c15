//! `qemu.log`: what a person wants to read when a machine did not do as it should.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdout};

/// Lines of QEMU's own output kept for error messages.
const TAIL: usize = 12;

/// Most bytes of a machine's `qemu.log`: a QEMU that cannot read its disk any more complains thousands of times a second.
const LONGEST: usize = 1 << 20;

/// `qemu.log`: the command line, QEMU's own output and what its monitor said.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<LogState>>);

struct LogState {
    file: File,
    written: usize,
    tail: Vec<String>,
}

impl Log {
    pub(super) fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(LogState { file, written: 0, tail: Vec::new() })))
    }

    /// A note of twinboot's. The log is for people; a full disk must not end a round.
    pub(super) fn line(&self, text: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.written;
        state.written = before.saturating_add(text.len() + 1);
        if state.written <= LONGEST {
            let _ = writeln!(state.file, "{text}");
        } else if before <= LONGEST {
            let _ =
                writeln!(state.file, "==== twinboot: whatever came after the first {LONGEST} bytes is left out ====");
        }
    }

    fn output(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        self.line(&text);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.tail.len() == TAIL {
            state.tail.remove(0);
        }
        state.tail.push(text);
    }

    /// The last lines QEMU printed.
    pub(super) fn tail(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).tail.clone()
    }
}

/// Copies what QEMU prints until it ends.
pub(super) async fn copy_output(stdout: Option<ChildStdout>, stderr: Option<ChildStderr>, log: Log) {
    async fn copy(from: Option<impl tokio::io::AsyncRead + Unpin>, log: &Log) {
        let Some(mut from) = from else { return };
        let (mut buffer, mut line) = (vec![0; 4096], Vec::new());
        while let Ok(read) = from.read(&mut buffer).await {
            for &byte in &buffer[..read] {
                if byte == b'\n' || line.len() == buffer.len() {
                    log.output(&line);
                    line.clear();
                }
                if byte != b'\n' {
                    line.push(byte);
                }
            }
            if read == 0 {
                break;
            }
        }
        if !line.is_empty() {
            log.output(&line);
        }
    }
    tokio::join!(copy(stdout, &log), copy(stderr, &log));
}

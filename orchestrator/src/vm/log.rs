//! `qemu.log`: what a person wants to read when a machine did not do as it should.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::process::{ChildStderr, ChildStdout};

/// Lines of QEMU's own output kept for error messages.
const TAIL: usize = 12;

/// `qemu.log`: the command line, QEMU's own output and what its monitor said.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<LogState>>);

struct LogState {
    file: File,
    tail: Vec<String>,
}

impl Log {
    pub(super) fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(LogState { file, tail: Vec::new() })))
    }

    /// A note of twinboot's. The log is for people; a full disk must not end a round.
    pub(super) fn line(&self, text: &str) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(state.file, "{text}");
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

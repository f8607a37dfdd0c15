//! Running a command to its end, with its output line by line or whole.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::group::{Group, exit_text};

/// How long an interrupted command may take to end by itself.
const GRACE: Duration = Duration::from_secs(3);

/// Why a command did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started.
    #[error("cannot start `{program}`")]
    Spawn {
        /// Program as it was named.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Reading its output or waiting for it failed.
    #[error("lost track of `{program}`")]
    Wait {
        /// Program as it was named.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended with a failure.
    #[error("`{command}` ended with {status}{}", tail(.stderr))]
    Failed {
        /// The whole command line.
        command: String,
        /// How it ended, in words.
        status: String,
        /// Its standard error.
        stderr: String,
    },
    /// twinboot was interrupted and ended the command.
    #[error("interrupted while `{program}` ran")]
    Interrupted {
        /// Program as it was named.
        program: String,
    },
}

fn tail(stderr: &str) -> String {
    let lines: Vec<&str> = stderr.trim_end().lines().collect();
    let from = lines.len().saturating_sub(12);
    lines[from..].iter().fold(String::new(), |text, line| text + "\n  " + line)
}

/// One line of a running command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// From standard output.
    Out(&'a str),
    /// From standard error.
    Err(&'a str),
}

/// Runs `command` and hands each line of its output to `each` as it comes; bytes that are not UTF-8 are replaced.
/// Returns how the command ended, whether well or not.
pub async fn stream(
    command: Command,
    cancel: &CancellationToken,
    mut each: impl FnMut(Line<'_>),
) -> Result<ExitStatus, Error> {
    // Boxed: the buffers of a running command would make every future that runs one large.
    Box::pin(pump(command, cancel, |pipe, line| match pipe {
        Pipe::Out => each(Line::Out(&text(line))),
        Pipe::Err => each(Line::Err(&text(line))),
    }))
    .await
}

/// Which stream a line came from.
#[derive(Clone, Copy)]
enum Pipe {
    Out,
    Err,
}

/// Runs `command` and hands on each line as its bytes are, newline included.
async fn pump(
    mut command: Command,
    cancel: &CancellationToken,
    mut each: impl FnMut(Pipe, &[u8]),
) -> Result<ExitStatus, Error> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command).map_err(|source| Error::Spawn { program: program.clone(), source })?;
    let lost = |source| Error::Wait { program: program.clone(), source };
    let (Some(stdout), Some(stderr)) = (group.take_stdout(), group.take_stderr()) else {
        return Err(lost(io::ErrorKind::BrokenPipe.into()));
    };
    let (mut stdout, mut stderr) = (BufReader::new(stdout), BufReader::new(stderr));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (mut out_open, mut err_open) = (true, true);
    while out_open || err_open {
        tokio::select! {
            more = read_line(&mut stdout, &mut out), if out_open => {
                out_open = more.map_err(lost)?;
                if out_open {
                    each(Pipe::Out, &out);
                    out.clear();
                }
            }
            more = read_line(&mut stderr, &mut err), if err_open => {
                err_open = more.map_err(lost)?;
                if err_open {
                    each(Pipe::Err, &err);
                    err.clear();
                }
            }
            () = cancel.cancelled() => {
                let _ = group.terminate(GRACE).await;
                return Err(Error::Interrupted { program });
            }
        }
    }
    tokio::select! {
        status = group.wait() => status.map_err(lost),
        () = cancel.cancelled() => {
            let _ = group.terminate(GRACE).await;
            Err(Error::Interrupted { program })
        }
    }
}

/// Reads up to and with the next newline into `line`; false at the end of the stream. Cancel-safe: what was read stays
/// in `line` and the next call goes on from there.
async fn read_line<R: AsyncRead + Unpin>(from: &mut BufReader<R>, line: &mut Vec<u8>) -> io::Result<bool> {
    Ok(from.read_until(b'\n', line).await? > 0 || !line.is_empty())
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned()
}

/// Runs `command` and returns its standard output as text; anything but a clean exit is an error that carries its standard
/// error.
pub async fn capture(command: Command, cancel: &CancellationToken) -> Result<String, Error> {
    Ok(text_lines(&capture_bytes(command, cancel).await?))
}

/// As [`capture`], with the bytes as they are.
pub async fn capture_bytes(command: Command, cancel: &CancellationToken) -> Result<Vec<u8>, Error> {
    let std = command.as_std();
    let line: Vec<_> =
        std::iter::once(std.get_program()).chain(std.get_args()).map(|arg| arg.to_string_lossy()).collect();
    let line = line.join(" ");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = Box::pin(pump(command, cancel, |pipe, line| match pipe {
        Pipe::Out => out.extend_from_slice(line),
        Pipe::Err => err.extend_from_slice(line),
    }))
    .await?;
    if status.success() {
        return Ok(out);
    }
    Err(Error::Failed { command: line, status: exit_text(status), stderr: text_lines(&err) })
}

/// Lines with one newline each, bytes that are not UTF-8 replaced.
fn text_lines(bytes: &[u8]) -> String {
    bytes.split_inclusive(|&byte| byte == b'\n').fold(String::new(), |all, line| all + &text(line) + "\n")
}

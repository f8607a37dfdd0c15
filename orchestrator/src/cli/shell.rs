//! `twinboot shell`

use std::ffi::OsStr;
use std::io::{self, Write};
use std::process::ExitStatus;
use std::str::FromStr as _;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::args::{Places, ShellArgs};
use super::boot::{artifacts, choose};
use super::exit::{Failure, INFRASTRUCTURE, INTERRUPTED};
use super::{doctor, setup};
use crate::process;
use crate::run::{DebugGuest, test_command};
use crate::vm::ssh::{Event, Exec, Exit};

/// The SSH client of interactive logins.
const CLIENT: &str = "ssh";

/// How long the client may take to put the terminal in order.
const GRACE: Duration = Duration::from_secs(3);

/// Boots a guest, logs in or runs a command in it, ends it, and exits as the login or the command did.
pub fn run(places: &Places, args: &ShellArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    if args.command.is_empty() && doctor::find(OsStr::new(CLIENT)).is_none() {
        return Err(Failure::say(INFRASTRUCTURE, format!("cannot find `{CLIENT}`, which interactive logins take"))
            .hint("install it (Debian and Ubuntu: package openssh-client), or give a command: -- COMMAND"));
    }
    let (plan, cell) = choose(places, &args.guest)?;
    setup::block_on(async {
        let cancel = process::interrupts()?;
        let artifacts = artifacts(places, &args.guest, &plan, &cancel).await?;
        let mut guest = DebugGuest::start(&plan, &cell, &artifacts, "", &cancel).await?;
        let done = inside(&mut guest, &args.command, out, &cancel).await;
        guest.end().await?;
        done
    })?
}

async fn inside(
    guest: &mut DebugGuest,
    command: &[String],
    out: &mut dyn Write,
    cancel: &CancellationToken,
) -> Result<u8, Failure> {
    tokio::select! {
        ready = guest.ready() => ready.map(drop)?,
        () = cancel.cancelled() => return Ok(INTERRUPTED),
    }
    if command.is_empty() {
        return interactive(guest, cancel).await;
    }
    let session = tokio::select! {
        session = guest.log_in() => session?,
        () = cancel.cancelled() => return Ok(INTERRUPTED),
    };
    let line = command.iter().map(|word| test_command::quote(word)).collect::<Vec<_>>().join(" ");
    let started = session.exec(&line, None).await;
    let mut exec = started.map_err(|error| Failure::new(INFRASTRUCTURE, &error))?;
    tokio::select! {
        exit = output(&mut exec, &line, out) => Ok(code(&exit?)),
        () = cancel.cancelled() => Ok(INTERRUPTED),
    }
}

/// Passes on what the command says, until it ends.
async fn output(exec: &mut Exec, line: &str, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut err = io::stderr();
    let lost = |reason: &str| Failure::say(INFRASTRUCTURE, format!("lost the guest while `{line}` ran: {reason}"));
    loop {
        let (to, text): (&mut dyn Write, _) = match exec.next().await {
            Some(Event::Out(text)) => (out, text),
            Some(Event::Err(text)) => (&mut err, text),
            Some(Event::Exit(exit)) => return Ok(exit),
            Some(Event::Lost(reason)) => return Err(lost(&reason)),
            None => return Err(lost("the session ended")),
        };
        to.write_all(&text)?;
        to.write_all(b"\n")?;
        to.flush()?;
    }
}

/// Gives the terminal to the SSH client. It makes the guest's terminal, follows its size, and puts this one in order again.
async fn interactive(guest: &DebugGuest, cancel: &CancellationToken) -> Result<u8, Failure> {
    let mut command = Command::new(CLIENT);
    command.args(guest.ssh_arguments()?).kill_on_drop(true);
    let mut client = command.spawn().map_err(|error| {
        Failure::say(INFRASTRUCTURE, format!("cannot start `{CLIENT}`: {error}"))
            .hint("is it there and executable? (Debian and Ubuntu: package openssh-client)")
    })?;
    let ended = tokio::select! {
        ended = client.wait() => ended?,
        () = cancel.cancelled() => {
            dismiss(&mut client).await;
            return Ok(INTERRUPTED);
        }
    };
    Ok(client_code(ended))
}

/// Asks the client to end, and gives it time to put the terminal in order; dropping it kills it.
async fn dismiss(client: &mut Child) {
    if let Some(pid) = client.id().and_then(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let _ = tokio::time::timeout(GRACE, client.wait()).await;
}

/// A status as shells have it: 128 and the signal's number for one that a signal ended.
fn code(exit: &Exit) -> u8 {
    match exit {
        Exit::Code(code) => u8::try_from(*code).unwrap_or(u8::MAX),
        Exit::Signal(name) => by_signal(Signal::from_str(&format!("SIG{name}")).map_or(0, |signal| signal as i32)),
    }
}

fn client_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    match status.code() {
        Some(code) => u8::try_from(code).unwrap_or(u8::MAX),
        None => by_signal(status.signal().unwrap_or(0)),
    }
}

fn by_signal(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_numbered_as_shells_do() {
        assert_eq!(code(&Exit::Code(0)), 0);
        assert_eq!(code(&Exit::Code(7)), 7);
        assert_eq!(code(&Exit::Signal("KILL".to_owned())), 137);
        assert_eq!(code(&Exit::Signal("NOVELTY".to_owned())), 128);
    }
}

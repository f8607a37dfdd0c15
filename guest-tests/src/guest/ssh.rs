//! The SSH server: dropbear(8).

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::SetupError;
use crate::sys::signals::Blocked;
use crate::sys::{self, SysError, clock};

/// The server's program.
pub const PROGRAM: &str = "/usr/sbin/dropbear";

/// What the server is told that it is called, and is no path on purpose. Since 2022.83 it opens the file of its name and executes
/// it anew for each connection, to be laid out elsewhere in memory: in software emulation, linking it anew to its libraries takes
/// longer than the rest of a login.
const NAME: &str = "dropbear";

const HOST_KEY: &str = "/etc/dropbear/host_ed25519";
const PORT: u16 = 22;

/// What sessions find their programs in.
const PATH: &str = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin";

/// How long the server may take until it listens.
const PATIENCE: u64 = 10;

/// `TCP_LISTEN` of `include/net/tcp_states.h`, as procfs prints it.
const LISTEN: &str = "0A";

/// Starts the server in the foreground: only keys log in (`-s`), nothing is forwarded (`-j -k`), no message of the day (`-m`),
/// one line on the console for each connection (`-E`).
pub fn start(init_signals: Blocked) -> Result<Child, SysError> {
    let mut command = Command::new(PROGRAM);
    command.arg0(NAME);
    command.args(["-F", "-E", "-s", "-j", "-k", "-m", "-r", HOST_KEY, "-p", "22", "-P", "/run/dropbear.pid"]);
    command.env_clear().env("PATH", PATH).env("HOME", "/root").stdin(Stdio::null());
    init_signals.unblock_in(&mut command);
    command.spawn().map_err(|source| SysError::new("execve", PROGRAM, source))
}

/// Goes once the way of a session to its test, with the init itself for a test: a shell that executes a program, which ends at
/// once as it is not process 1. In software emulation each new guest has all that code translated anew; the login takes about as
/// long, and leaves a CPU free for it. Nothing depends on it.
pub fn rehearse(init_signals: Blocked) {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec /init"]).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    init_signals.unblock_in(&mut command);
    // Reaped with whatever else ends.
    drop(command.spawn());
}

/// Waits until it listens.
pub fn await_listening(server: &mut Child) -> Result<(), SetupError> {
    let deadline = clock::now() + PATIENCE * 1_000_000_000;
    while !listening()? {
        if let Ok(Some(status)) = server.try_wait() {
            return Err(SetupError::SshEnded { program: PROGRAM, status: status.to_string() });
        }
        if clock::now() > deadline {
            return Err(SetupError::SshSilent { program: PROGRAM, port: PORT, seconds: PATIENCE });
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

fn listening() -> Result<bool, SysError> {
    let tcp6 = sys::read("/proc/net/tcp6").unwrap_or_default();
    Ok(listens(&sys::read("/proc/net/tcp")?, PORT) || listens(&tcp6, PORT))
}

/// Whether a table as in `/proc/net/tcp` (`proc_net_tcp.rst`) has a listening socket on `port`.
fn listens(table: &str, port: u16) -> bool {
    let ending = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&ending)) && fields.nth(1) == Some(LISTEN)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

    #[test]
    fn only_a_listening_socket_on_the_port_counts() {
        let line =
            |local: &str, state: &str| format!("{HEAD}   0: {local} 00000000:0000 {state} 00000000:00000000 00\n");
        assert!(listens(&line("00000000:0016", "0A"), 22));
        assert!(!listens(&line("00000000:0016", "01"), 22));
        assert!(!listens(&line("00000000:0017", "0A"), 22));
        assert!(!listens(HEAD, 22));
        assert!(listens(&line("00000000000000000000000000000000:0016", "0A"), 22));
    }
}

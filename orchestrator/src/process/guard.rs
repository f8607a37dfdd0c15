//! A small process between twinboot and a command, so that all that the command starts ends with twinboot, even with one
//! that is killed outright.
//!
//! ```text
//! twinboot ──▶ guard ──▶ make ──▶ sh ──▶ gcc …
//!     └─ lifeline ─┘
//! ```
//!
//! `PR_SET_PDEATHSIG` reaches a child and not what the child starts, and whoever leaves its process group is out of reach of
//! killpg(2). The guard is a child subreaper (`PR_SET_CHILD_SUBREAPER`, prctl(2)): whatever loses its parent below it becomes
//! its child. It holds the read end of a pipe, the lifeline, whose write end twinboot alone has. When that closes, or the
//! command has ended, the guard kills its children until there are none, and ends as the command did. Signals that are sent
//! to the guard go on to the command's process group. None of this needs privileges.
//!
//! The guard is forked and not executed: it runs with the memory of a process that had several threads, so it does nothing
//! that is not async-signal-safe (signal-safety(7)), and allocates nothing.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use libc::{c_int, pid_t};
use nix::fcntl::OFlag;
use tokio::process::Command;

/// Signals that go on to the command.
const FORWARDED: [c_int; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT];

/// Rounds of killing children, each after a millisecond, before the guard gives up: a process in an uninterruptible sleep
/// (an unreachable file server) ends when the kernel lets it.
const ROUNDS: u32 = 5000;

/// Descriptors that are closed one by one where `close_range(2)` is missing.
const MOST_FILES: c_int = 65_536;

/// The command's end of life: it is killed with all it has started when this is dropped, or twinboot ends.
#[derive(Debug)]
pub(super) struct Lifeline {
    #[expect(dead_code, reason = "closing it is its use")]
    pipe: OwnedFd,
}

/// Has `command` run under a guard. The process that is spawned is the guard; `command` leads a process group of its own.
///
/// Call it last: what was set to happen before exec(2) until now happens to the guard too.
pub(super) fn watch(command: &mut Command) -> io::Result<Lifeline> {
    let (watched, pipe) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the closure runs between fork and exec, where it only makes system calls; see `split`. The read end is moved
    // into it, and so is open for as long as the command may be spawned.
    unsafe {
        command.pre_exec(move || split(watched.as_raw_fd()));
    }
    Ok(Lifeline { pipe })
}

/// Becomes two processes: the guard, which never returns from here, and its child, which goes on to exec(2).
fn split(lifeline: RawFd) -> io::Result<()> {
    // SAFETY: all of these are plain system calls on values of this stack frame.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        // From here on nothing is handled in the guard, so no handler of twinboot's runs in it.
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before))?;
        check(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))?;
        match check(libc::fork())? {
            0 => {
                check(libc::setpgid(0, 0))?;
                check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
                check(libc::sigprocmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()))?;
                Ok(())
            }
            child => guard(child, lifeline),
        }
    }
}

fn check(returned: c_int) -> io::Result<c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

/// The guard's life.
///
/// # Safety
///
/// To be called in a process that has one thread and nothing else to do.
unsafe fn guard(child: pid_t, lifeline: RawFd) -> ! {
    // SAFETY: system calls on values of this stack frame; errors leave the guard with less to go by, never undefined.
    unsafe {
        // Twice, here and in the child: whichever comes first.
        libc::setpgid(child, child);
        libc::prctl(libc::PR_SET_NAME, c"twinboot-guard".as_ptr(), 0, 0, 0);
        // Nothing of twinboot's is to stay open here: pipes whose end others wait for, locks, other lifelines.
        libc::dup2(lifeline, 0);
        if libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0) < 0 {
            // Before Linux 5.9.
            (1..MOST_FILES).for_each(|fd| {
                libc::close(fd);
            });
        }
        let mut awaited: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut awaited);
        libc::sigaddset(&raw mut awaited, libc::SIGCHLD);
        for signal in FORWARDED {
            libc::sigaddset(&raw mut awaited, signal);
        }
        let signals = libc::signalfd(-1, &raw const awaited, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        let mut status = None;
        while status.is_none() {
            let event = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
            let mut events = [event(0), event(signals)];
            // Without signals to wait for it looks every 10 ms.
            libc::poll(events.as_mut_ptr(), 2, if signals < 0 { 10 } else { -1 });
            if events[0].revents != 0 {
                break;
            }
            let mut info: libc::signalfd_siginfo = std::mem::zeroed();
            let size = size_of::<libc::signalfd_siginfo>();
            while signals >= 0 && libc::read(signals, (&raw mut info).cast(), size) == size.cast_signed() {
                if let Ok(signal) = c_int::try_from(info.ssi_signo)
                    && FORWARDED.contains(&signal)
                {
                    libc::kill(-child, signal);
                }
            }
            status = reap(child);
        }
        // The group at once, then whoever has left it.
        libc::kill(-child, libc::SIGKILL);
        for _ in 0..ROUNDS {
            kill_children();
            let mut ended = 0;
            let reaped = libc::waitpid(-1, &raw mut ended, libc::WNOHANG);
            if reaped < 0 {
                break;
            }
            if reaped == child {
                status = Some(ended);
            }
            if reaped == 0 {
                let millisecond = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
                libc::nanosleep(&raw const millisecond, std::ptr::null_mut());
            }
        }
        end(status.unwrap_or(libc::SIGKILL))
    }
}

/// Reaps whatever has ended; the status of `child` when that has.
unsafe fn reap(child: pid_t) -> Option<c_int> {
    loop {
        let mut status = 0;
        // SAFETY: writes the status to this stack frame.
        let reaped = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if reaped == child {
            return Some(status);
        }
        if reaped <= 0 {
            return None;
        }
    }
}

/// Kills all children of this process, which has one thread. The list (`/proc/PID/task/TID/children`, proc(5)) may miss one that comes or
/// goes meanwhile, so it is read again until there is none. Kernels without it have the process group alone.
unsafe fn kill_children() {
    let mut bytes = [0_u8; 4096];
    // SAFETY: a constant path, and a read into this stack frame.
    let read = unsafe {
        let list = libc::open(c"/proc/thread-self/children".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        if list < 0 {
            return;
        }
        let read = libc::read(list, bytes.as_mut_ptr().cast(), bytes.len());
        libc::close(list);
        read
    };
    let mut pid: pid_t = 0;
    for byte in bytes.iter().take(usize::try_from(read).unwrap_or(0)) {
        if byte.is_ascii_digit() {
            pid = pid.wrapping_mul(10).wrapping_add(pid_t::from(byte - b'0'));
            continue;
        }
        if pid > 1 {
            // SAFETY: a child that has not been reaped keeps its process id.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        pid = 0;
    }
}

/// Ends as a process with this wait(2) status did.
unsafe fn end(status: c_int) -> ! {
    // SAFETY: system calls that end this process.
    unsafe {
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            // The command has left its core file, if any; the guard's would be twinboot's own memory.
            libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
            libc::signal(signal, libc::SIG_DFL);
            let mut none: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut none);
            libc::kill(libc::getpid(), signal);
            libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
            libc::_exit(128 + signal);
        }
        libc::_exit(libc::WEXITSTATUS(status))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::process::{self, Group, exit_text};

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// Starts `script`, which prints process ids, one a line.
    async fn started<const N: usize>(script: &str) -> (Group, [i32; N]) {
        let mut command = shell(script);
        command.stdout(std::process::Stdio::piped());
        let mut group = Group::spawn(command).expect("starts");
        let mut lines = BufReader::new(group.take_stdout().expect("is piped")).lines();
        let mut pids = [0; N];
        for pid in &mut pids {
            let line = lines.next_line().await.expect("reads").expect("a line");
            *pid = line.trim().parse().expect("a process id");
        }
        (group, pids)
    }

    async fn assert_gone(pids: &[i32]) {
        for _ in 0..400 {
            if pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("still there: {pids:?}");
    }

    /// A grandchild in the group, one in a session of its own, and one whose parent has ended.
    const FAMILY: &str = "sleep 1000 & echo $!; setsid sh -c 'echo $$; exec sleep 1000' & \
                          sh -c 'setsid sh -c \"echo \\$\\$; exec sleep 1000\" &'; ";

    #[tokio::test]
    async fn whatever_a_dropped_command_has_started_ends_with_it() {
        let (group, pids) = started::<3>(&format!("{FAMILY} wait")).await;
        drop(group);
        assert_gone(&pids).await;
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_ends_with_it() {
        let (mut group, pids) = started::<3>(&format!("{FAMILY} sleep 0.2; exit 7")).await;
        assert_eq!(exit_text(group.wait().await.expect("ends")), "exit status 7");
        assert_gone(&pids).await;
    }

    #[tokio::test]
    async fn a_command_is_asked_to_end_before_it_is_killed() {
        let (mut group, _) = started::<1>("trap 'exit 9' TERM; echo $$; while :; do sleep 0.05; done").await;
        let status = group.terminate(Duration::from_secs(20)).await.expect("ends");
        assert_eq!(exit_text(status), "exit status 9");

        let (mut group, pids) = started::<1>("trap '' TERM; echo $$; while :; do sleep 0.05; done").await;
        let status = group.terminate(Duration::from_millis(100)).await.expect("ends");
        assert!(exit_text(status).starts_with("signal 9"), "{}", exit_text(status));
        assert_gone(&pids).await;
    }

    #[tokio::test]
    async fn a_guard_ends_as_its_command_did() {
        let cancel = CancellationToken::new();
        for (script, end) in [("exit 0", "exit status 0"), ("exit 3", "exit status 3"), ("kill -TERM $$", "signal 15")]
        {
            let status = process::stream(shell(script), &cancel, |_| {}).await.expect("runs");
            assert!(exit_text(status).starts_with(end), "{script}: {}", exit_text(status));
        }
        let missing = Group::spawn(Command::new("no-such-program-anywhere")).expect_err("is not there");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}

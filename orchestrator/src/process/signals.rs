//! Dispositions of signals: which ones whoever started twinboot had it ignore, and an end by a closed pipe.

use std::io;

use nix::sys::signal::{SigHandler, Signal, raise, signal};
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;

/// Whether `signal` is ignored now. Before a handler is installed that is what was inherited: nohup(1) has SIGHUP ignored, a
/// shell without job control has SIGINT and SIGQUIT ignored in what it runs in the background.
pub fn is_ignored(signal: Signal) -> io::Result<bool> {
    // SAFETY: a sigaction is plain data, for which zeros are a valid value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action sigaction(2) only writes the present one, to where there is room for it.
    let done = unsafe { libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut now) };
    if done == 0 { Ok(now.sa_sigaction == libc::SIG_IGN) } else { Err(io::Error::last_os_error()) }
}

/// Ends the process as a write to a closed pipe ends other programs: by SIGPIPE, which Rust's runtime has ignored, so that a
/// shell sees the usual status. Returns that status where the signal does not end it.
pub fn end_by_closed_pipe() -> u8 {
    // SAFETY: the default action runs no code of this process.
    let restored = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
    let _ = restored.and_then(|_| raise(Signal::SIGPIPE));
    128 + Signal::SIGPIPE as u8
}

/// A token that is cancelled at the first SIGINT, SIGTERM or SIGHUP. At the second one the process ends at once with
/// status 130; its children die with it (see [`super::Group`]).
///
/// A signal that twinboot was started with ignored stays ignored, as nohup(1) and shells mean it to.
pub fn interrupts() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = heed(Signal::SIGINT, SignalKind::interrupt())?;
    let mut terminate = heed(Signal::SIGTERM, SignalKind::terminate())?;
    let mut hangup = heed(Signal::SIGHUP, SignalKind::hangup())?;
    let cancel = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = next(&mut interrupt) => {}
                () = next(&mut terminate) => {}
                () = next(&mut hangup) => {}
            }
            if cancel.is_cancelled() {
                #[expect(clippy::exit, reason = "the user asked twice; PDEATHSIG takes the children along")]
                std::process::exit(130);
            }
            cancel.cancel();
        }
    });
    Ok(token)
}

/// Listens for a signal unless it is ignored.
fn heed(number: Signal, kind: SignalKind) -> io::Result<Option<tokio::signal::unix::Signal>> {
    if is_ignored(number)? { Ok(None) } else { tokio::signal::unix::signal(kind).map(Some) }
}

/// The next such signal; never where it is not listened for.
async fn next(listened: &mut Option<tokio::signal::unix::Signal>) {
    match listened {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

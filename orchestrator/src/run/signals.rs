//! Ctrl-C, TERM and HUP: the first asks the run to end and keep what it has, the next is for impatient people.

use std::io;

use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::process::is_ignored;

/// A token that is cancelled at the first SIGINT, SIGTERM or SIGHUP. At the second one the process ends at once with
/// status 130; its children die with it (see [`crate::process::Group`]).
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
    if is_ignored(number)? { Ok(None) } else { signal(kind).map(Some) }
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

//! Ctrl-C, TERM and HUP: the first asks the run to end and keep what it has, the next is for impatient people.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled at the first SIGINT, SIGTERM or SIGHUP. At the second one the process ends at once with
/// status 130; its children die with it (see [`crate::process::Group`]).
pub fn interrupts() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate, mut hangup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let cancel = token.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
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

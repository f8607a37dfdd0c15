//! Between the guest's TCP connection and the SSH library.
//!
//! libssh2 reads the socket before it hands out what it has already received, and hands out nothing once the socket has
//! failed. A guest that dies would take its last lines with it. So the library talks to one end of a socket pair; this
//! relay copies bytes between the other end and the guest, and when the guest is gone it says so beside the stream and keeps
//! the pair open, so that everything received can still be read.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::wake::Waker;

/// What the relay knows about the guest's side, shared with the session's thread.
pub(super) struct Link {
    since: Instant,
    /// Milliseconds from `since` to the last byte from the guest.
    heard: AtomicU64,
    lost: watch::Sender<Option<String>>,
}

impl Link {
    /// Why nothing more will come, once that is so. Everything that did come is in the pair by then.
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.borrow().clone()
    }

    /// Waits for the loss.
    pub(super) async fn until_lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        // Cannot fail: `self` holds the sender.
        let reason = lost.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }

    /// How long the guest has been silent.
    pub(super) fn silence(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed)))
    }

    fn hear(&self) {
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(millis, Ordering::Relaxed);
    }
}

/// A running relay; dropping it closes both sides.
pub(super) struct Relay {
    task: JoinHandle<()>,
}

impl Relay {
    /// Starts to relay; returns the library's end of the pair.
    pub(super) fn start(guest: TcpStream, waker: Waker) -> io::Result<(Self, Arc<Link>, StdUnixStream)> {
        let (library, ours) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let link = Arc::new(Link { since: Instant::now(), heard: AtomicU64::new(0), lost: watch::Sender::new(None) });
        let task = tokio::spawn(relay(guest, ours, link.clone(), waker));
        Ok((Self { task }, link, library))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(guest: TcpStream, ours: UnixStream, link: Arc<Link>, waker: Waker) {
    let (mut from_guest, mut to_guest) = guest.into_split();
    let (mut from_library, mut to_library) = ours.into_split();
    let inwards = async {
        let mut buffer = vec![0; 32 << 10];
        loop {
            match from_guest.read(&mut buffer).await {
                Ok(0) => return "the guest closed the connection".to_owned(),
                Ok(read) => {
                    link.hear();
                    if to_library.write_all(&buffer[..read]).await.is_err() {
                        return "the session was closed".to_owned();
                    }
                }
                Err(error) => return format!("the connection to the guest broke: {error}"),
            }
        }
    };
    let outwards = async {
        // A guest that no longer takes anything may still have sent something: only the inward side decides about the end.
        let _ = tokio::io::copy(&mut from_library, &mut to_guest).await;
        std::future::pending::<()>().await;
    };
    let reason = tokio::select! {
        reason = inwards => reason,
        () = outwards => return,
    };
    link.lost.send_replace(Some(reason));
    waker.wake();
    // The pair stays open until the session is done with it and drops the relay.
    std::future::pending::<()>().await;
}

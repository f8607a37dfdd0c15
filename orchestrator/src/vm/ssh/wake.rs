//! Waking a thread that waits in poll(2).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// The end that wakes; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Waker(Arc<UnixStream>);

/// The end that is polled; readable once woken.
pub(super) struct Wakeable(pub(super) UnixStream);

/// A connected pair.
pub(super) fn pair() -> io::Result<(Waker, Wakeable)> {
    let (waker, woken) = UnixStream::pair()?;
    waker.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    Ok((Waker(Arc::new(waker)), Wakeable(woken)))
}

impl Waker {
    /// Wakes the thread. A full pipe means that it has been woken already; a closed one that it is gone.
    pub(super) fn wake(&self) {
        let _ = (&*self.0).write(&[0]);
    }
}

impl Wakeable {
    /// Takes all wake-ups so far.
    pub(super) fn clear(&self) {
        let mut sink = [0; 64];
        while matches!((&self.0).read(&mut sink), Ok(read) if read > 0) {}
    }
}

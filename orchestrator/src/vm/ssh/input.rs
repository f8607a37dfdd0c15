//! A command's standard input: bytes known beforehand, or fed while it runs.

use std::io;

use tokio::sync::mpsc;

use super::wake::Waker;

/// The host's end of a running command's standard input. Dropping it sends what is queued and then its end.
#[derive(Debug)]
pub struct Input {
    /// Taken on drop, before the session's thread is woken to see the end.
    bytes: Option<mpsc::UnboundedSender<Vec<u8>>>,
    waker: Waker,
}

/// The session thread's end.
pub(super) struct Stdin {
    /// Where more comes from; none where all is known.
    more: Option<mpsc::UnboundedReceiver<Vec<u8>>>,
    bytes: Vec<u8>,
    sent: usize,
    closed: bool,
}

/// Both ends of an input that is fed while the command runs.
pub(super) fn pair(waker: Waker) -> (Input, Stdin) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let stdin = Stdin { more: Some(receiver), bytes: Vec::new(), sent: 0, closed: false };
    (Input { bytes: Some(sender), waker }, stdin)
}

impl Input {
    /// Queues `line` and a newline and returns at once; false where the command or the session has ended. That it was queued
    /// does not say that the command read it.
    pub fn send(&self, line: &str) -> bool {
        let bytes = [line.as_bytes(), b"\n"].concat();
        let queued = self.bytes.as_ref().is_some_and(|queue| queue.send(bytes).is_ok());
        self.waker.wake();
        queued
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.bytes = None;
        self.waker.wake();
    }
}

/// Where the bytes go.
pub(super) trait Sink {
    /// Takes some of `bytes`.
    fn take(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Takes the end.
    fn end(&mut self) -> io::Result<()>;
}

impl Stdin {
    /// `bytes` and then the end.
    pub(super) fn fixed(bytes: Vec<u8>) -> Self {
        Self { more: None, bytes, sent: 0, closed: false }
    }

    /// Hands on what there is, then the end where it has come; true where something moved. A command that does not take it
    /// all may do so.
    pub(super) fn feed(&mut self, sink: &mut impl Sink) -> bool {
        let mut moved = false;
        while !self.closed {
            if self.sent == self.bytes.len() && !self.refill() {
                break;
            }
            let left = &self.bytes[self.sent..];
            let step = if left.is_empty() { sink.end().map(|()| 0) } else { sink.take(left) };
            match step {
                Ok(0) if !left.is_empty() => break,
                Ok(written) => {
                    self.closed = left.is_empty();
                    self.sent += written;
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.closed = true,
            }
        }
        moved
    }

    /// Takes all that is queued; false where more may come and nothing has.
    fn refill(&mut self) -> bool {
        let Some(more) = &mut self.more else { return true };
        self.bytes.clear();
        self.sent = 0;
        loop {
            match more.try_recv() {
                Ok(bytes) => self.bytes.extend(bytes),
                Err(mpsc::error::TryRecvError::Empty) => return !self.bytes.is_empty(),
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.more = None;
                    return true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wake;
    use super::*;

    /// Takes `room` bytes a turn.
    #[derive(Default)]
    struct Guest {
        got: Vec<u8>,
        room: usize,
        ended: bool,
    }

    impl Sink for Guest {
        fn take(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= taken;
            self.got.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn end(&mut self) -> io::Result<()> {
            assert!(!std::mem::replace(&mut self.ended, true), "ended twice");
            Ok(())
        }
    }

    #[test]
    fn lines_go_out_as_they_come_and_the_end_only_after_the_input_is_dropped() {
        let (waker, _woken) = wake::pair().expect("a pair");
        let (input, mut stdin) = pair(waker);
        let mut guest = Guest { room: 3, ..Guest::default() };
        assert!(!stdin.feed(&mut guest));
        assert!(input.send("one") && input.send("two"));
        assert!(stdin.feed(&mut guest));
        assert_eq!(guest.got, b"one");
        guest.room = 100;
        assert!(stdin.feed(&mut guest));
        assert!(!stdin.feed(&mut guest) && !guest.ended);
        assert!(input.send("three"));
        drop(input);
        assert!(stdin.feed(&mut guest));
        assert_eq!((&guest.got[..], guest.ended), (&b"one\ntwo\nthree\n"[..], true));
        assert!(!stdin.feed(&mut guest));
    }

    #[test]
    fn an_input_whose_command_is_gone_says_so() {
        let (waker, _woken) = wake::pair().expect("a pair");
        let (input, stdin) = pair(waker);
        drop(stdin);
        assert!(!input.send("anyone?"));
    }
}

//! A timer interrupt that lasts as long as one likes.
//!
//! Expiry of a timerfd walks its wait queue with interrupts off, and every epoll entry on it costs a callback
//! (fs/timerfd.c `timerfd_triggered`, fs/eventpoll.c `ep_poll_callback`). Published by Jann Horn, "Racing against the
//! clock" (Project Zero, 2022).

use std::os::fd::AsFd;

use crate::sys::epoll::{self, Epoll};
use crate::sys::timerfd::TimerFd;
use crate::sys::{SysError, clock};

/// How long the interrupt should last, in nanoseconds: the other CPU has to wake up, fault the page in and swap it out.
const ENOUGH: u64 = 700_000;

/// Entries on the wait queue that are added between two measurements.
const STEP: usize = 512;

/// Entries that are not exceeded however short the interrupt stays.
const MOST: usize = 16 * STEP;

/// Descriptors the rest of the test needs.
const OTHERS: usize = 64;

/// Measurements, of which the shortest counts: the host can only make them longer.
const MEASUREMENTS: u32 = 3;

/// A timer with a crowd behind it.
#[derive(Debug)]
pub(super) struct Stretch {
    timer: TimerFd,
    crowd: Vec<Epoll>,
    lasts: u64,
}

impl Stretch {
    /// Gathers a crowd that is large enough on this machine.
    pub fn new() -> Result<Self, SysError> {
        epoll::allow_descriptors((MOST + MOST / STEP + OTHERS) as u64)?;
        let mut stretch = Self { timer: TimerFd::new()?, crowd: Vec::new(), lasts: 0 };
        while stretch.lasts < ENOUGH && stretch.entries() < MOST {
            let mut instance = Epoll::new()?;
            for _ in 0..STEP {
                instance.watch_duplicate(stretch.timer.as_fd())?;
            }
            stretch.crowd.push(instance);
            stretch.lasts = stretch.measure()?;
        }
        Ok(stretch)
    }

    /// The longest time that the calling thread misses around an expiry.
    fn measure(&self) -> Result<u64, SysError> {
        let mut shortest = u64::MAX;
        for _ in 0..MEASUREMENTS {
            let begin = clock::now();
            self.set(begin + 100_000)?;
            let (mut last, mut gap) = (begin, 0);
            while last < begin + 200_000 {
                let now = clock::now();
                gap = gap.max(now - last);
                last = now;
            }
            shortest = shortest.min(gap);
        }
        Ok(shortest)
    }

    fn entries(&self) -> usize {
        self.crowd.iter().map(Epoll::entries).sum()
    }

    /// Lets the interrupt come to the calling thread's CPU at `at` nanoseconds of `CLOCK_MONOTONIC`.
    pub fn set(&self, at: u64) -> Result<(), SysError> {
        self.timer.set(at)
    }

    /// How long the interrupt lasts, in nanoseconds.
    pub fn lasts(&self) -> u64 {
        self.lasts
    }

    /// Figures for people.
    pub fn details(&self) -> Vec<(String, String)> {
        vec![
            ("wait queue entries".to_owned(), self.entries().to_string()),
            ("interrupt lasts".to_owned(), format!("{} us", self.lasts / 1000)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crowd_stands_on_one_wait_queue_within_its_bounds() {
        // Without the right to raise the hard limit there is nothing to try.
        let Ok(stretch) = Stretch::new() else { return };
        assert!(stretch.entries() >= STEP && stretch.entries() <= MOST);
        assert!(stretch.lasts >= ENOUGH || stretch.entries() == MOST, "{stretch:?}");
    }
}

//! A timer interrupt that lasts as long as one likes.
//!
//! Expiry of a timerfd walks its wait queue with interrupts off, and every epoll entry on it costs a callback
//! (fs/timerfd.c `timerfd_triggered`, fs/eventpoll.c `ep_poll_callback`). Published by Jann Horn, "Racing against the
//! clock" (Project Zero, 2022).

use std::os::fd::AsFd;

use crate::sys::SysError;
use crate::sys::epoll::{self, Epoll};
use crate::sys::timerfd::TimerFd;

/// Entries on the wait queue.
const ENTRIES: usize = 4096;

/// Entries of one epoll instance.
const PER_INSTANCE: usize = 512;

/// Descriptors the rest of the test needs.
const OTHERS: usize = 64;

/// A timer with a crowd behind it.
#[derive(Debug)]
pub(super) struct Stretch {
    timer: TimerFd,
    crowd: Vec<Epoll>,
    longest: u64,
}

impl Stretch {
    /// Gathers the crowd.
    pub fn new() -> Result<Self, SysError> {
        epoll::allow_descriptors((ENTRIES + ENTRIES / PER_INSTANCE + OTHERS) as u64)?;
        let timer = TimerFd::new()?;
        let mut crowd = Vec::new();
        for _ in 0..ENTRIES / PER_INSTANCE {
            let mut instance = Epoll::new()?;
            for _ in 0..PER_INSTANCE {
                instance.watch_duplicate(timer.as_fd())?;
            }
            crowd.push(instance);
        }
        Ok(Self { timer, crowd, longest: 0 })
    }

    /// Lets the interrupt come to the calling thread's CPU at `at` nanoseconds of `CLOCK_MONOTONIC`.
    pub fn set(&self, at: u64) -> Result<(), SysError> {
        self.timer.set(at)
    }

    /// Takes it back if it hasn't come.
    pub fn clear(&self) -> Result<(), SysError> {
        self.timer.set(0)
    }

    /// Notes how long a held operation took.
    pub fn learn(&mut self, length: u64) {
        self.longest = self.longest.max(length);
    }

    /// Figures for people.
    pub fn details(&self) -> Vec<(String, String)> {
        let entries: usize = self.crowd.iter().map(Epoll::entries).sum();
        vec![
            ("wait queue entries".to_owned(), entries.to_string()),
            ("longest held operation".to_owned(), format!("{} us", self.longest / 1000)),
        ]
    }
}

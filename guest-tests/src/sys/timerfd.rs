//! A timer whose expiry wakes a wait queue: [timerfd_create(2)](https://man7.org/linux/man-pages/man2/timerfd_create.2.html).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::clock::timespec;
use super::{SysError, check};

/// A one-shot timer on `CLOCK_MONOTONIC`. It expires in the hard interrupt of the CPU that set it.
#[derive(Debug)]
pub struct TimerFd(OwnedFd);

impl TimerFd {
    /// A timer that is not set.
    pub fn new() -> Result<Self, SysError> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        let fd = check(fd, "timerfd_create", "CLOCK_MONOTONIC")?;
        // SAFETY: the kernel just made this descriptor for us alone.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Lets it expire when the clock shows `at` nanoseconds; 0 takes it back.
    pub fn set(&self, at: u64) -> Result<(), SysError> {
        let setting = libc::itimerspec { it_interval: timespec(0), it_value: timespec(at) };
        // SAFETY: `setting` is a valid itimerspec; the old setting is not asked for.
        let result = unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &raw const setting, std::ptr::null_mut())
        };
        check(result, "timerfd_settime", format!("{at} ns")).map(|_| ())
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    #[test]
    fn an_expired_timer_can_be_read_and_a_cleared_one_not() {
        let timer = TimerFd::new().expect("a timer");
        let mut expirations = [0_u8; 8];
        let mut read = || {
            // SAFETY: the buffer holds the 8 bytes a timerfd answers with.
            unsafe { libc::read(timer.0.as_raw_fd(), expirations.as_mut_ptr().cast(), 8) }
        };
        timer.set(1).expect("set");
        clock::sleep_until(clock::now() + 1_000_000);
        assert_eq!(read(), 8);
        timer.set(clock::now() + 60_000_000_000).expect("set");
        timer.set(0).expect("clear");
        assert_eq!(read(), -1);
    }
}

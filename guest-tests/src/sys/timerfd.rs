//! A timer whose expiry wakes a wait queue: [timerfd_create(2)](https://man7.org/linux/man-pages/man2/timerfd_create.2.html).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::clock::timespec;
use super::{SysError, check};

/// A one-shot timer on `CLOCK_MONOTONIC`. It expires in the hard interrupt of the CPU that set it.
#[derive(Debug)]
pub struct TimerFd(OwnedFd);

impl TimerFd {
    /// A timer that is not set and that nobody waits for.
    pub fn new() -> Result<Self, SysError> {
        Self::create(libc::TFD_NONBLOCK)
    }

    /// A timer that is not set, for [`TimerFd::wait`].
    pub fn alarm() -> Result<Self, SysError> {
        Self::create(0)
    }

    fn create(flags: libc::c_int) -> Result<Self, SysError> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC | flags) };
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
        // The text is only made for an error: races come through here in every try.
        if result < 0 { Err(SysError::last("timerfd_settime", format!("{at} ns"))) } else { Ok(()) }
    }

    /// Sleeps until it expires. Of a timer that is not an [`alarm`](TimerFd::alarm) this is an error.
    pub fn wait(&self) -> Result<(), SysError> {
        let mut expirations = 0_u64;
        // SAFETY: the buffer holds the 8 bytes a timerfd answers with.
        let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut expirations).cast(), size_of::<u64>()) };
        if read < 0 { Err(SysError::last("read", "a timerfd")) } else { Ok(()) }
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

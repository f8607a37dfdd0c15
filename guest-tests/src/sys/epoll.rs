//! Entries on a file's wait queue: [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html),
//! [dup(2)](https://man7.org/linux/man-pages/man2/dup.2.html),
//! [setrlimit(2)](https://man7.org/linux/man-pages/man2/setrlimit.2.html).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::{SysError, check};

/// An epoll instance that watches descriptors it owns.
#[derive(Debug)]
pub struct Epoll {
    instance: OwnedFd,
    watched: Vec<OwnedFd>,
}

impl Epoll {
    /// An instance that watches nothing.
    pub fn new() -> Result<Self, SysError> {
        // SAFETY: takes no pointers.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }, "epoll_create1", "a new instance")?;
        // SAFETY: the kernel just made this descriptor for us alone.
        Ok(Self { instance: unsafe { OwnedFd::from_raw_fd(fd) }, watched: Vec::new() })
    }

    /// Adds one more entry to the wait queue of `file`, by way of a duplicate of its descriptor: an instance takes
    /// each descriptor once, but any number of descriptors of the same file.
    pub fn watch_duplicate(&mut self, file: BorrowedFd<'_>) -> Result<(), SysError> {
        let fd = file.try_clone_to_owned().map_err(|source| SysError::new("dup", "a watched file", source))?;
        let mut event = libc::epoll_event { events: libc::EPOLLIN.cast_unsigned(), u64: 0 };
        // SAFETY: both descriptors are open, `event` is a valid epoll_event.
        let result =
            unsafe { libc::epoll_ctl(self.instance.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) };
        check(result, "epoll_ctl(EPOLL_CTL_ADD)", "a watched file")?;
        self.watched.push(fd);
        Ok(())
    }

    /// How many entries it added.
    pub fn entries(&self) -> usize {
        self.watched.len()
    }
}

/// Allows the process `count` open descriptors; beyond the hard limit that takes `CAP_SYS_RESOURCE`.
pub fn allow_descriptors(count: u64) -> Result<(), SysError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit to fill.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, "getrlimit", "RLIMIT_NOFILE")?;
    if limit.rlim_cur >= count {
        return Ok(());
    }
    limit.rlim_cur = count;
    limit.rlim_max = limit.rlim_max.max(count);
    // SAFETY: `limit` is a valid rlimit.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    check(result, "setrlimit", format!("RLIMIT_NOFILE to {count}")).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::timerfd::TimerFd;

    #[test]
    fn one_instance_takes_a_file_many_times() {
        let timer = TimerFd::new().expect("a timer");
        let mut epoll = Epoll::new().expect("an instance");
        for _ in 0..20 {
            epoll.watch_duplicate(timer.as_fd()).expect("one more entry");
        }
        assert_eq!(epoll.entries(), 20);
    }
}

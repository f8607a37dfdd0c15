//! Clocks and absolute sleeps: [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html),
//! [clock_nanosleep(2)](https://man7.org/linux/man-pages/man2/clock_nanosleep.2.html).

const NANOS: u64 = 1_000_000_000;

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the kernel to fill; both clocks used here always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    u64::try_from(time.tv_sec).unwrap_or(0) * NANOS + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds since the kernel booted (`CLOCK_BOOTTIME`).
pub fn uptime() -> u64 {
    read(libc::CLOCK_BOOTTIME)
}

/// `nanos` as the kernel takes it.
pub(super) fn timespec(nanos: u64) -> libc::timespec {
    let seconds = libc::time_t::try_from(nanos / NANOS).unwrap_or(libc::time_t::MAX);
    libc::timespec { tv_sec: seconds, tv_nsec: libc::c_long::try_from(nanos % NANOS).unwrap_or(0) }
}

/// Sleeps until `CLOCK_MONOTONIC` shows `deadline` nanoseconds; signals don't cut it short.
pub fn sleep_until(deadline: u64) {
    let time = timespec(deadline);
    loop {
        // SAFETY: `time` is a valid timespec; an absolute sleep has no remainder to write.
        let result = unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const time, std::ptr::null_mut())
        };
        if result != libc::EINTR {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_ends_after_its_deadline_and_the_past_is_over() {
        let deadline = now() + 1_000_000;
        sleep_until(deadline);
        assert!(now() >= deadline);
        sleep_until(1);
    }

    #[test]
    fn nanoseconds_split_at_the_second() {
        let time = timespec(3 * NANOS + 5);
        assert_eq!((time.tv_sec, time.tv_nsec), (3, 5));
    }
}

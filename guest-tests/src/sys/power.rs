//! Switching the machine off: [reboot(2)](https://man7.org/linux/man-pages/man2/reboot.2.html).

/// Powers the machine off at once; kernels that can't do that halt instead. Returns only if it isn't allowed to.
pub fn off() {
    // SAFETY: neither call takes pointers.
    unsafe {
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
}

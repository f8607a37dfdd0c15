//! Feeding the entropy pool: `RNDADDENTROPY` and `RNDRESEEDCRNG` of
//! [random(4)](https://man7.org/linux/man-pages/man4/random.4.html).

use std::fs::File;
use std::os::fd::AsRawFd;

use super::{SysError, check};

const POOL: &str = "/dev/urandom";

/// `_IOW('R', 0x03, int[2])`.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;

/// `_IO('R', 0x07)`, since Linux 4.17.
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// Bytes given at once: twice what the kernel's generator needs to be ready.
pub const SEED_BYTES: usize = 64;

/// `struct rand_pool_info` with its buffer.
#[repr(C)]
struct PoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; SEED_BYTES],
}

/// Mixes `seed` in and credits every bit of it, so that no reader waits for the kernel to collect its own. What is read from
/// now on depends on it: left to itself, a generator that is ready already takes up what was added minutes later.
pub fn credit(seed: [u8; SEED_BYTES]) -> Result<(), SysError> {
    let pool = File::open(POOL).map_err(|source| SysError::new("open", POOL, source))?;
    let bytes = libc::c_int::try_from(SEED_BYTES).unwrap_or(0);
    let info = PoolInfo { entropy_count: bytes * 8, buf_size: bytes, buf: seed };
    // SAFETY: `info` has the layout of rand_pool_info and `buf_size` is the length of its buffer.
    let result = unsafe { libc::ioctl(pool.as_raw_fd(), RNDADDENTROPY as _, &raw const info) };
    check(result, "ioctl(RNDADDENTROPY)", POOL)?;
    // SAFETY: this request takes no argument.
    let result = unsafe { libc::ioctl(pool.as_raw_fd(), RNDRESEEDCRNG as _) };
    check(result, "ioctl(RNDRESEEDCRNG)", POOL).map(|_| ())
}

//! Size of a block device: `BLKGETSIZE64` of [ioctl(2)](https://man7.org/linux/man-pages/man2/ioctl.2.html)
//! (include/uapi/linux/fs.h).

use std::fs::File;
use std::os::fd::AsRawFd;

use super::{SysError, check};

/// `_IOR(0x12, 114, size_t)`.
const BLKGETSIZE64: libc::c_ulong = 0x8008_1272;

/// Bytes of the open block device `node`, which is named `path` in errors.
pub fn size(node: &File, path: &str) -> Result<u64, SysError> {
    let mut bytes = 0_u64;
    // SAFETY: BLKGETSIZE64 writes one u64.
    let result = unsafe { libc::ioctl(node.as_raw_fd(), BLKGETSIZE64 as _, &raw mut bytes) };
    check(result, "ioctl(BLKGETSIZE64)", path)?;
    Ok(bytes)
}

//! Filesystems: [mount(2)](https://man7.org/linux/man-pages/man2/mount.2.html).

use super::{SysError, c_string, check};

/// Mounts the kernel filesystem `kind` on `target`, which is created if it isn't there. `data` are mount options.
pub fn mount(kind: &str, target: &str, data: &str) -> Result<(), SysError> {
    std::fs::create_dir_all(target).map_err(|source| SysError::new("mkdir", target, source))?;
    let (kind_c, target_c, data_c) = (c_string(kind, "mount")?, c_string(target, "mount")?, c_string(data, "mount")?);
    // SAFETY: all four pointers are C strings that outlive the call.
    let result = unsafe {
        libc::mount(kind_c.as_ptr(), target_c.as_ptr(), kind_c.as_ptr(), libc::MS_NOSUID, data_c.as_ptr().cast())
    };
    check(result, "mount", format!("{target} ({kind})")).map(|_| ())
}

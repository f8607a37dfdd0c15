//! Which kernel this is: [uname(2)](https://man7.org/linux/man-pages/man2/uname.2.html) and its preemption model.

use std::ffi::CStr;

use super::{SysError, check};

/// Where a kernel with `PREEMPT_DYNAMIC` shows the model in use, in brackets.
const DYNAMIC: &str = "/sys/kernel/debug/sched/preempt";

/// Release and version of the running kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
}

/// Asks the kernel for its name.
pub fn kernel() -> Result<Kernel, SysError> {
    // SAFETY: an all-zero utsname is a valid value for the kernel to overwrite.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: `name` is a valid utsname to fill.
    check(unsafe { libc::uname(&raw mut name) }, "uname", "this kernel")?;
    // SAFETY: uname(2) ends every field with a NUL inside its array.
    let text = |field: &[libc::c_char; 65]| unsafe { CStr::from_ptr(field.as_ptr()) }.to_string_lossy().into_owned();
    Ok(Kernel { release: text(&name.release), version: text(&name.version) })
}

/// How the kernel may be cut short, as far as user space can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preemption {
    /// Only where it gives way itself (`PREEMPT_NONE`).
    None,
    /// Also at `might_sleep` points (`PREEMPT_VOLUNTARY`).
    Voluntary,
    /// Anywhere outside critical sections (`PREEMPT`).
    Full,
    /// As full, with sleeping spinlocks (`PREEMPT_RT`).
    Rt,
    /// As full for real-time threads, at ticks for ordinary ones (`PREEMPT_LAZY`).
    Lazy,
    /// None or voluntary, built in: such kernels don't tell which.
    Unknown,
}

impl Preemption {
    /// The word the records use.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Voluntary => "voluntary",
            Self::Full => "full",
            Self::Rt => "rt",
            Self::Lazy => "lazy",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a real-time thread can cut into a system call or fault of an ordinary thread.
    pub fn lets_real_time_in(self) -> bool {
        matches!(self, Self::Full | Self::Rt | Self::Lazy)
    }

    /// Reads it off `uname -v` and, for `PREEMPT_DYNAMIC`, the scheduler's debugfs file.
    pub fn detect(version: &str, dynamic: Option<&str>) -> Self {
        let has = |flag: &str| version.split_whitespace().any(|word| word == flag);
        if has("PREEMPT_RT") {
            Self::Rt
        } else if has("PREEMPT_DYNAMIC") {
            match dynamic.and_then(|list| list.split_whitespace().find_map(|w| w.strip_prefix('(')?.strip_suffix(')')))
            {
                Some("none") => Self::None,
                Some("voluntary") => Self::Voluntary,
                Some("full") => Self::Full,
                Some("lazy") => Self::Lazy,
                _ => Self::Unknown,
            }
        } else if has("PREEMPT_LAZY") {
            Self::Lazy
        } else if has("PREEMPT") {
            Self::Full
        } else {
            Self::Unknown
        }
    }

    /// The running kernel's, given its `uname -v`.
    pub fn of_running(version: &str) -> Self {
        Self::detect(version, super::read(DYNAMIC).ok().as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_read_off_the_version() {
        let of = |version: &str, dynamic: Option<&str>| Preemption::detect(version, dynamic);
        assert_eq!(of("#1 SMP PREEMPT Sun Nov 22", None), Preemption::Full);
        assert_eq!(of("#1 SMP PREEMPT_RT Debian", None), Preemption::Rt);
        assert_eq!(of("#1 SMP Debian 6.1", None), Preemption::Unknown);
        assert_eq!(of("#1 SMP PREEMPT_DYNAMIC Debian", None), Preemption::Unknown);
        assert_eq!(of("#1 SMP PREEMPT_DYNAMIC Debian", Some("none (voluntary) full")), Preemption::Voluntary);
        assert_eq!(of("#1 SMP PREEMPT_DYNAMIC", Some("none voluntary (full)")), Preemption::Full);
    }

    #[test]
    fn only_preemptible_models_let_real_time_threads_in() {
        assert!(Preemption::Full.lets_real_time_in());
        assert!(!Preemption::Voluntary.lets_real_time_in());
        assert!(!Preemption::Unknown.lets_real_time_in());
    }
}

//! The ground a test stands on.

use twinboot_protocol::{Preflight, VERSION};

use crate::error::Error;
use crate::sys::memory::PAGE_SIZE;
use crate::sys::uname::Preemption;
use crate::sys::{sched, swaps, uname};

/// Looks around for test `test` with strategy `strategy`. Of several swap devices the first is reported.
pub fn survey(test: &str, strategy: &str, seed: u64) -> Result<Preflight, Error> {
    let kernel = uname::kernel()?;
    let preemption = Preemption::of_running(&kernel.version).name().to_owned();
    Ok(Preflight {
        protocol: VERSION,
        test: test.to_owned(),
        strategy: strategy.to_owned(),
        kernel_release: kernel.release,
        kernel_version: kernel.version,
        cpus: u32::try_from(sched::allowed_cpus()?.len()).unwrap_or(u32::MAX),
        preemption,
        page_size: page_size(),
        swap: swaps::active().unwrap_or_default().first().map(swaps::describe),
        seed,
    })
}

/// The kernel's page size in bytes.
fn page_size() -> u64 {
    // SAFETY: takes no pointers.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(0)
}

/// Refuses pages that the oracle isn't made for.
pub fn require_known_page_size(preflight: &Preflight) -> Result<(), Error> {
    if preflight.page_size == PAGE_SIZE as u64 { Ok(()) } else { Err(Error::PageSize(preflight.page_size)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_survey_names_this_kernel_and_only_4k_pages_pass() {
        let mut preflight = survey("swap-race", "smp", 3).expect("any Linux");
        assert_eq!((preflight.protocol, preflight.seed, preflight.test.as_str()), (VERSION, 3, "swap-race"));
        assert!(preflight.cpus > 0 && !preflight.kernel_release.is_empty());
        preflight.page_size = 65536;
        assert!(matches!(require_known_page_size(&preflight), Err(Error::PageSize(65536))));
    }
}

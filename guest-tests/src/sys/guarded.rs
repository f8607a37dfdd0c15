//! A page that may be unmapped while others use it: whoever touches it then, or touches what the kernel can't bring back,
//! gets a page of zeroes and is told of the signal, instead of dying from it
//! ([sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html), `SA_SIGINFO`).

use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use super::memory::{PAGE_SIZE, Region};
use super::{SysError, check};

/// Most guarded pages of a process.
const MOST: usize = 64;

/// Where the first one is mapped. The kernel gives out addresses from the top of the address space downwards, so nobody else
/// gets the place of a page that is unmapped.
const BASE: usize = 64 << 30;

/// From one to the next.
const STRIDE: usize = 16 * PAGE_SIZE;

/// Addresses of guarded pages; 0 is a free place. The handler only reads.
static GUARDED: [AtomicUsize; MOST] = [const { AtomicUsize::new(0) }; MOST];

thread_local! {
    /// The last signal that the calling thread was saved from.
    static CAUGHT: Cell<libc::c_int> = const { Cell::new(0) };
}

/// One page of a region of its own.
#[derive(Debug)]
pub struct Guarded {
    region: Region,
    /// Dropped after the region: the place is another page's only when this one is gone.
    _place: Place,
}

/// An index into [`GUARDED`].
#[derive(Debug)]
struct Place(usize);

impl Drop for Place {
    fn drop(&mut self) {
        GUARDED[self.0].store(0, Release);
    }
}

impl Guarded {
    /// Maps a page and guards it. The handlers of SIGSEGV and SIGBUS become this module's.
    pub fn new() -> Result<Self, SysError> {
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: an all-zero sigaction is valid: no flags, empty mask.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = save as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
            // SAFETY: the handler makes system calls and touches atomics and a const thread-local without a destructor only.
            let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
            check(result, "sigaction", format!("signal {signal}"))?;
        }
        for (index, place) in GUARDED.iter().enumerate() {
            let address = BASE + index * STRIDE;
            if place.compare_exchange(0, address, AcqRel, Acquire).is_ok() {
                let place = Place(index);
                return Ok(Self { region: Region::anonymous_at(address, 1)?, _place: place });
            }
        }
        Err(SysError::new("mmap", "one more guarded page", std::io::ErrorKind::OutOfMemory.into()))
    }

    /// Takes the page away.
    pub fn unmap(&self) -> Result<(), SysError> {
        // SAFETY: the page is guarded: an access to it is given a new page by the handler.
        let result = unsafe { libc::munmap(self.region.address(0) as *mut libc::c_void, PAGE_SIZE) };
        check(result, "munmap", "one page").map(|_| ())
    }

    /// Maps a page of zeroes if there is none.
    pub fn restore(&self) -> Result<(), SysError> {
        match map_at(self.region.address(0), libc::MAP_FIXED_NOREPLACE) {
            Err(libc::EEXIST) | Ok(()) => Ok(()),
            Err(errno) => Err(SysError::new("mmap", "one page", std::io::Error::from_raw_os_error(errno))),
        }
    }
}

impl Deref for Guarded {
    type Target = Region;
    fn deref(&self) -> &Region {
        &self.region
    }
}

/// The signal that the calling thread was saved from since the last call, by name.
pub fn caught() -> Option<&'static str> {
    match CAUGHT.replace(0) {
        libc::SIGSEGV => Some("SIGSEGV"),
        libc::SIGBUS => Some("SIGBUS"),
        _ => None,
    }
}

/// A new page of zeroes at `address`; the reason is an errno.
fn map_at(address: usize, fixed: libc::c_int) -> Result<(), libc::c_int> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed);
    // SAFETY: `address` is a guarded page, whose content is atomics of any value; nothing else lies there.
    let mapped = unsafe { libc::mmap(address as *mut libc::c_void, PAGE_SIZE, prot, flags, -1, 0) };
    if mapped != libc::MAP_FAILED {
        return Ok(());
    }
    // SAFETY: the address of the calling thread's errno is always valid.
    Err(unsafe { *libc::__errno_location() })
}

/// Gives the thread a page where a guarded one is missing; any other fault gets the signal's default action.
extern "C" fn save(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo; both signals carry an address.
    let address = unsafe { (*info).si_addr() } as usize & !(PAGE_SIZE - 1);
    // The page of a SIGBUS is mapped and its content gone; that of a SIGSEGV may have been mapped by another thread meanwhile.
    let fixed = if signal == libc::SIGBUS { libc::MAP_FIXED } else { libc::MAP_FIXED_NOREPLACE };
    let guarded = address != 0 && GUARDED.iter().any(|place| place.load(Acquire) == address);
    if guarded && matches!(map_at(address, fixed), Ok(()) | Err(libc::EEXIST)) {
        CAUGHT.set(signal);
        return;
    }
    // SAFETY: SIG_DFL needs no handler; the instruction is run again and the process dies from it.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn touching_an_unmapped_page_gives_zeroes_and_the_signal_once() {
        let page = Guarded::new().expect("a page");
        page.words(0)[3].store(7, Relaxed);
        assert_eq!((page.words(0)[3].load(Relaxed), caught()), (7, None));
        page.unmap().expect("takes it away");
        assert_eq!((page.words(0)[3].load(Relaxed), caught(), caught()), (0, Some("SIGSEGV"), None));
        page.words(0)[3].store(8, Relaxed);
        page.restore().expect("is there");
        assert_eq!((page.words(0)[3].load(Relaxed), caught()), (8, None), "what is there stays");
        page.unmap().expect("takes it away");
        page.restore().expect("maps it");
        assert_eq!((page.words(0)[3].load(Relaxed), caught()), (0, None));
    }
}

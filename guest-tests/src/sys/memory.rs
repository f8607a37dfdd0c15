//! Anonymous memory and what to do with it: [mmap(2)](https://man7.org/linux/man-pages/man2/mmap.2.html),
//! [madvise(2)](https://man7.org/linux/man-pages/man2/madvise.2.html).

use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use super::{SysError, check};

/// Bytes of a page; the only page size the tests know.
pub const PAGE_SIZE: usize = 4096;

/// 64-bit words of a page.
pub const WORDS: usize = PAGE_SIZE / 8;

/// One page, read and written as atomics: threads race on it on purpose, so every access must be one that may race.
pub type Words = [AtomicU64; WORDS];

/// What madvise(2) is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// `MADV_PAGEOUT`: reclaim now. Drains only the calling CPU's lru-add batch, so it must run where the page was
    /// faulted in.
    PageOut,
    /// `MADV_DONTNEED`: drop the content and its swap slot.
    DontNeed,
    /// `MADV_FREE`: the content may be dropped until it is written again.
    Free,
}

/// A private anonymous mapping of whole pages, never part of a huge page.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    pages: usize,
}

// SAFETY: the memory is only ever reached through atomics, whichever thread holds the region.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `pages` zero pages that are not yet backed by memory.
    pub fn anonymous(pages: usize) -> Result<Self, SysError> {
        Self::map(pages, 0, 0)
    }

    /// The same at `address`, where nothing may be mapped yet.
    pub(super) fn anonymous_at(address: usize, pages: usize) -> Result<Self, SysError> {
        Self::map(pages, address, libc::MAP_FIXED_NOREPLACE)
    }

    fn map(pages: usize, address: usize, flags: libc::c_int) -> Result<Self, SysError> {
        let subject = || format!("{pages} anonymous pages");
        let bytes = pages * PAGE_SIZE;
        // SAFETY: a new mapping at an address of the kernel's choice, or one that may not replace any, overlaps nothing.
        let base = unsafe {
            libc::mmap(
                address as *mut libc::c_void,
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(SysError::last("mmap", subject()));
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| SysError::last("mmap", subject()))?;
        // SAFETY: advises on exactly the mapping made above. Kernels without huge pages answer EINVAL, which is fine.
        unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_NOHUGEPAGE) };
        Ok(Self { base, pages })
    }

    /// How many pages the region has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Virtual address of page `page`.
    ///
    /// # Panics
    /// If the region has no such page.
    pub fn address(&self, page: usize) -> usize {
        assert!(page < self.pages, "page {page} of a region of {}", self.pages);
        self.base.as_ptr() as usize + page * PAGE_SIZE
    }

    /// The words of page `page`.
    ///
    /// # Panics
    /// If the region has no such page.
    pub fn words(&self, page: usize) -> &Words {
        let address = self.address(page);
        // SAFETY: the page lies inside the mapping, which is readable, writable, aligned and lives as long as `self`;
        // any bit pattern is a valid u64, and atomics may be changed by other threads meanwhile.
        unsafe { &*(address as *const Words) }
    }

    /// Keeps page `page` in memory, or no longer ([mlock(2)](https://man7.org/linux/man-pages/man2/mlock.2.html)).
    ///
    /// # Panics
    /// If the region has no such page.
    pub fn keep_in_memory(&self, page: usize, keep: bool) -> Result<(), SysError> {
        let address = self.address(page) as *const libc::c_void;
        // SAFETY: the page lies inside the mapping; neither call changes its content.
        let (result, call) = unsafe {
            if keep {
                (libc::mlock(address, PAGE_SIZE), "mlock")
            } else {
                (libc::munlock(address, PAGE_SIZE), "munlock")
            }
        };
        check(result, call, "one page").map(|_| ())
    }

    /// Advises the kernel on `count` pages from `first`.
    ///
    /// # Panics
    /// If the region has no such pages.
    pub fn advise(&self, first: usize, count: usize, advice: Advice) -> Result<(), SysError> {
        assert!(count > 0 && first + count <= self.pages, "{count} pages from {first} of a region of {}", self.pages);
        let (code, call) = match advice {
            Advice::PageOut => (libc::MADV_PAGEOUT, "madvise(MADV_PAGEOUT)"),
            Advice::DontNeed => (libc::MADV_DONTNEED, "madvise(MADV_DONTNEED)"),
            Advice::Free => (libc::MADV_FREE, "madvise(MADV_FREE)"),
        };
        let address = self.address(first) as *mut libc::c_void;
        // SAFETY: the range lies inside the mapping; neither advice invalidates it, and its content is atomics.
        let result = unsafe { libc::madvise(address, count * PAGE_SIZE, code) };
        // The text is only made for an error: races come through here more than once a try.
        if result < 0 { Err(SysError::last(call, format!("{count} pages"))) } else { Ok(()) }
    }
}

/// Brings everything that is mapped now into memory and keeps it there; what is mapped later is not affected
/// ([mlockall(2)](https://man7.org/linux/man-pages/man2/mlockall.2.html)).
pub fn lock_all() -> Result<(), SysError> {
    // SAFETY: takes no pointers and changes no content.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT) };
    check(result, "mlockall", "this process").map(|_| ())
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: unmaps exactly what `anonymous` mapped, once; no borrow of it can outlive `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.pages * PAGE_SIZE) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn dropped_pages_come_back_as_zeroes() {
        let region = Region::anonymous(3).expect("three pages");
        region.words(1)[WORDS - 1].store(7, Relaxed);
        region.words(2)[0].store(8, Relaxed);
        region.advise(1, 1, Advice::DontNeed).expect("advice");
        assert_eq!(region.words(1)[WORDS - 1].load(Relaxed), 0);
        assert_eq!(region.words(2)[0].load(Relaxed), 8);
    }

    #[test]
    #[should_panic(expected = "page 3 of a region of 3")]
    fn a_page_outside_is_refused() {
        let region = Region::anonymous(3).expect("three pages");
        region.words(3);
    }
}

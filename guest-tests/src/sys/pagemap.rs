//! Where a page is: [/proc/self/pagemap](https://docs.kernel.org/admin-guide/mm/pagemap.html).

use std::fs::File;
use std::os::unix::fs::FileExt;

use twinboot_protocol::SwapEntry;

use super::SysError;
use super::memory::PAGE_SIZE;

const PATH: &str = "/proc/self/pagemap";

/// State of one virtual page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageState {
    /// Mapped to memory.
    Present,
    /// Not mapped, content on a swap device.
    Swapped(SwapEntry),
    /// Neither: never touched, or dropped.
    Empty,
}

impl PageState {
    /// The swap entry of a page that is swapped out.
    pub fn entry(self) -> Option<SwapEntry> {
        if let Self::Swapped(entry) = self { Some(entry) } else { None }
    }

    /// Decodes one pagemap word: bit 63 present, bit 62 swapped, bits 0-4 swap type, bits 5-54 swap offset.
    pub fn decode(word: u64) -> Self {
        if word >> 63 != 0 {
            Self::Present
        } else if word >> 62 != 0 {
            let kind = u8::try_from(word & 0x1f).unwrap_or(0);
            Self::Swapped(SwapEntry { kind, offset: (word >> 5) & ((1 << 50) - 1) })
        } else {
            Self::Empty
        }
    }
}

/// The calling process's pagemap, open. Reads may run from several threads at once.
#[derive(Debug)]
pub struct Pagemap(File);

impl Pagemap {
    /// Opens it; needs `CONFIG_PROC_PAGE_MONITOR`.
    pub fn open() -> Result<Self, SysError> {
        File::open(PATH).map(Self).map_err(|source| SysError::new("open", PATH, source))
    }

    /// State of the page at a virtual address.
    pub fn state(&self, address: usize) -> Result<PageState, SysError> {
        let mut word = [0; 8];
        let offset = (address / PAGE_SIZE * 8) as u64;
        self.0.read_exact_at(&mut word, offset).map_err(|source| SysError::new("pread", PATH, source))?;
        Ok(PageState::decode(u64::from_ne_bytes(word)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::sys::memory::Region;

    #[test]
    fn words_decode_as_the_kernel_documents_them() {
        assert_eq!(PageState::decode(0), PageState::Empty);
        assert_eq!(PageState::decode(1 << 55), PageState::Empty);
        assert_eq!(PageState::decode(1 << 63 | 0x1234), PageState::Present);
        let swapped = 1 << 62 | 1 << 55 | 1 << 56 | 15 << 5 | 3;
        assert_eq!(PageState::decode(swapped).entry(), Some(SwapEntry { kind: 3, offset: 15 }));
        let highest = 1 << 62 | ((1 << 50) - 1) << 5 | 0x1f;
        assert_eq!(PageState::decode(highest).entry(), Some(SwapEntry { kind: 31, offset: (1 << 50) - 1 }));
    }

    #[test]
    fn a_touched_page_is_present_and_its_neighbour_is_not() {
        let region = Region::anonymous(2).expect("two pages");
        region.words(0)[0].store(1, Relaxed);
        let pagemap = Pagemap::open().expect("this process's pagemap");
        assert_eq!(pagemap.state(region.address(0)).expect("a word"), PageState::Present);
        assert_eq!(pagemap.state(region.address(1)).expect("a word"), PageState::Empty);
    }
}

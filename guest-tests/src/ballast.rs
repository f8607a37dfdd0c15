//! Pages that keep a swap device full, so that the one slot left is the one that is used again.
//!
//! It also keeps the kernel's per-CPU swap-slot cache off: that turns on above 5 × 64 free slots a CPU
//! (`THRESHOLD_ACTIVATE_SWAP_SLOTS_CACHE`, `include/linux/swap_slots.h`).

use std::thread;
use std::time::Duration;

use crate::error::Error;
use crate::oracle::{self, Mismatch};
use crate::sys::memory::{Advice, Region};
use crate::sys::pagemap::{PageState, Pagemap};
use crate::sys::swaps;

/// Most slots of a device that ballast is meant for.
pub const MOST_SLOTS: u64 = 1024;

/// Fewest free slots to begin with: ballast, and the page that is raced.
pub const LEAST_SLOTS: u64 = 2;

/// Generation that ballast pages hold.
const GENERATION: u64 = 1;

/// How often pages are asked to leave before the filling is given up.
const ATTEMPTS: u32 = 100;

/// The pages, numbered from `first` for the oracle.
#[derive(Debug)]
pub struct Ballast {
    region: Region,
    first: u64,
    live: usize,
}

impl Ballast {
    /// Room for as much ballast as the device could ever hold, with nothing swapped out yet.
    pub fn new(slots: u64, first: u64) -> Result<Self, Error> {
        let pages = usize::try_from(slots.min(MOST_SLOTS)).unwrap_or(1).max(1);
        Ok(Self { region: Region::anonymous(pages)?, first, live: 0 })
    }

    /// Pages it keeps swapped out.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Swaps out as many pages as it takes to leave `leave` slots free, and sees to it that they are out. Must run on one
    /// CPU: see [`Advice::PageOut`].
    pub fn fill(&mut self, pagemap: &Pagemap, leave: u64) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let resident = self.resident(pagemap)?;
            let free = swaps::free_slots()?;
            if resident.is_empty() && free == leave {
                return Ok(());
            }
            if resident.is_empty() && free > leave {
                self.grow(free - leave);
            } else if !resident.is_empty() && free <= leave {
                // Somebody else took slots meanwhile.
                self.release();
            }
            self.region.advise(0, self.live.max(1), Advice::PageOut)?;
            if free == leave || !resident.is_empty() {
                thread::sleep(Duration::from_millis(1));
            }
        }
        let swapped = self.live - self.resident(pagemap)?.len();
        let free = swaps::free_slots()?;
        Err(Error::BallastIncomplete { free, wanted: leave, swapped, pages: self.live })
    }

    fn grow(&mut self, by: u64) {
        let end = (self.live + usize::try_from(by).unwrap_or(0)).min(self.region.pages());
        for page in self.live..end {
            oracle::stamp(self.region.words(page), self.first + page as u64, GENERATION);
        }
        self.live = end;
    }

    fn resident(&self, pagemap: &Pagemap) -> Result<Vec<usize>, Error> {
        let mut resident = Vec::new();
        for page in 0..self.live {
            if !matches!(pagemap.state(self.region.address(page))?, PageState::Swapped(_)) {
                resident.push(page);
            }
        }
        Ok(resident)
    }

    /// Brings a page into memory whose slot `wanted` takes, and returns that slot; none if no page has one.
    pub fn bring_in(&self, pagemap: &Pagemap, mut wanted: impl FnMut(u64) -> bool) -> Result<Option<u64>, Error> {
        for page in 0..self.live {
            if let PageState::Swapped(entry) = pagemap.state(self.region.address(page))?
                && wanted(entry.offset)
            {
                // By a write: after a read the slot may stay with the page (mm/memory.c `should_try_to_free_swap`).
                oracle::stamp(self.region.words(page), self.first + page as u64, GENERATION);
                return Ok(Some(entry.offset));
            }
        }
        Ok(None)
    }

    /// Gives one page's slot back; false when there is none left to give.
    pub fn release(&mut self) -> bool {
        if self.live == 0 {
            return false;
        }
        self.live -= 1;
        self.region.advise(self.live, 1, Advice::DontNeed).is_ok()
    }

    /// Reads every page back and returns those that don't hold what they should, by number. They are resident afterwards.
    pub fn inspect(&self) -> Vec<(u64, Mismatch)> {
        let look = |page: usize| {
            let number = self.first + page as u64;
            oracle::inspect(self.region.words(page), number, GENERATION).err().map(|mismatch| (number, mismatch))
        };
        (0..self.live).filter_map(look).collect()
    }

    /// Generation that [`Ballast::inspect`] expects.
    pub fn generation() -> u64 {
        GENERATION
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use twinboot_protocol::CorruptionKind;

    use super::*;

    #[test]
    fn changed_ballast_is_noticed_and_released_ballast_is_not() {
        let mut ballast = Ballast::new(4, 10).expect("four pages");
        ballast.grow(3);
        assert_eq!(ballast.inspect(), []);
        ballast.region.words(2)[5].store(1, Relaxed);
        oracle::stamp(ballast.region.words(1), 12, GENERATION);
        let kinds: Vec<_> = ballast.inspect().iter().map(|(page, mismatch)| (*page, mismatch.kind)).collect();
        assert_eq!(kinds, [(11, CorruptionKind::ForeignPage), (12, CorruptionKind::TornPage)]);
        assert!(ballast.release());
        assert_eq!((ballast.live(), ballast.inspect().len()), (2, 1));
    }

    #[test]
    fn it_never_grows_beyond_its_room_nor_shrinks_below_nothing() {
        let mut ballast = Ballast::new(2, 1).expect("two pages");
        ballast.grow(9);
        assert_eq!(ballast.live(), 2);
        assert!(ballast.release() && ballast.release());
        assert!(!ballast.release());
    }
}

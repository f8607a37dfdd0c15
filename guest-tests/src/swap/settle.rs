//! Getting the raced page back to swap after each try, on kernels that lose slots as well.

use std::thread;
use std::time::Duration;

use twinboot_protocol::SwapEntry;

use super::page::RacedPage;
use crate::ballast::Ballast;
use crate::error::Error;
use crate::race::Damage;
use crate::sys::pagemap::Pagemap;
use crate::sys::{sched, swaps};

/// How often the page is asked to leave before the test gives up; after the first few a millisecond apart.
const ATTEMPTS: u32 = 200;

/// Attempts without any free slot after which the slot counts as lost: a loser of the fixed kernel's pin keeps it for a tick.
const LOST_AFTER: u32 = 30;

/// Tries between two looks whether the page's slot is still the only one.
const LOOK_EVERY: u64 = 256;

/// Keeps exactly one slot for the page.
#[derive(Debug)]
pub(super) struct Settler {
    ballast: Ballast,
    pagemap: Pagemap,
    settled: u64,
    repeats: u64,
    lost: u64,
    strays: u64,
}

impl Settler {
    /// Fills the device but for one slot; ballast pages are numbered from `first`.
    pub fn new(slots: u64, first: u64) -> Result<Self, Error> {
        let pagemap = Pagemap::open()?;
        let mut ballast = Ballast::new(slots, first)?;
        ballast.fill(&pagemap, 1)?;
        Ok(Self { ballast, pagemap, settled: 0, repeats: 0, lost: 0, strays: 0 })
    }

    /// Swaps the page out and returns where it went.
    pub fn settle(&mut self, page: &RacedPage) -> Result<SwapEntry, Error> {
        let mut slotless = 0;
        for attempt in 0..ATTEMPTS {
            page.page_out()?;
            if let Some(entry) = page.entry()? {
                self.repeats += u64::from(attempt);
                self.settled += 1;
                if self.settled % LOOK_EVERY == 0 && swaps::free_slots()? > 0 {
                    self.strays += 1;
                    self.ballast.fill(&self.pagemap, 0)?;
                }
                return Ok(entry);
            }
            slotless = if swaps::free_slots()? == 0 { slotless + 1 } else { 0 };
            if slotless > LOST_AFTER {
                slotless = 0;
                self.lost += 1;
                if !self.ballast.release() {
                    return Err(Error::SlotsLost(self.ballast.live()));
                }
            }
            if attempt > 2 {
                // The interferer may have left it in another CPU's lru-add batch.
                sched::on_each_cpu(|| page.page_out())?;
                thread::sleep(Duration::from_millis(1));
            }
        }
        Err(Error::PageStuck { attempts: ATTEMPTS, free: swaps::free_slots()? })
    }

    /// Ballast pages that no longer hold what was put there.
    pub fn inspect_ballast(&self) -> Vec<Damage> {
        let damage = |(page, mismatch): (u64, crate::oracle::Mismatch)| Damage {
            page,
            expected: Ballast::generation(),
            found: mismatch.found,
            kind: mismatch.kind,
            entry_before: None,
            entry_after: None,
        };
        self.ballast.inspect().into_iter().map(damage).collect()
    }

    /// Figures for people.
    pub fn details(&self) -> Vec<(String, String)> {
        vec![
            ("ballast pages".to_owned(), self.ballast.live().to_string()),
            ("repeated pageouts".to_owned(), self.repeats.to_string()),
            ("lost slots".to_owned(), self.lost.to_string()),
            ("refills".to_owned(), self.strays.to_string()),
        ]
    }
}

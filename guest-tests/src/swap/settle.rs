//! Getting the raced page back to swap after each try, on kernels that lose slots as well.

use std::thread;
use std::time::Duration;

use twinboot_protocol::SwapEntry;

use crate::ballast::Ballast;
use crate::error::Error;
use crate::oracle::Mismatch;
use crate::profile::Histogram;
use crate::race::Damage;
use crate::sys::pagemap::Pagemap;
use crate::sys::{SysError, clock, sched, swaps};

/// How often the page is asked to leave before the test gives up; after the first few a millisecond apart.
const ATTEMPTS: u32 = 200;

/// Attempts in a row without any free slot after which the slot counts as lost. The fix holds one for a tick at most.
const LOST_AFTER: u32 = 30;

/// Attempts in a row with a free slot that the kernel doesn't find, after which the page gets a ballast page's.
const BLIND_AFTER: u32 = 4;

/// How often the free slot is moved in search of one that every CPU finds.
const MOVES: u32 = 20;

/// Attempts to bring the page to a slot that is asked for.
const TRANSFERS: u32 = 2;

/// Tries between two looks whether the page's slot is still the only one.
const LOOK_EVERY: u64 = 256;

/// A page that is to be swapped out.
pub(super) trait Swappable {
    /// The swap entry it is at, if it is swapped out.
    fn entry(&self) -> Result<Option<SwapEntry>, SysError>;

    /// Asks the kernel to swap it out, from the calling thread's CPU.
    fn page_out(&self) -> Result<(), SysError>;

    /// Empties the calling CPU's lru-add batch, the first thing `MADV_PAGEOUT` does (mm/madvise.c `madvise_pageout`).
    fn drain_batch(&self) -> Result<(), SysError>;

    /// Reads from it, which brings it into memory.
    fn touch(&self);
}

/// Keeps exactly one slot for the page, or as many more as it is told to spare.
///
/// Before 6.12 a CPU doesn't find every free slot of an almost full device: the search begins one beyond the CPU's own
/// cursor and ends one short of it (mm/swapfile.c `scan_swap_map_slots`, `cluster_next_cpu`). A page that was left in memory
/// for that goes to the lru-add batch of the CPU that tried, where no other CPU can take it from.
#[derive(Debug)]
pub(super) struct Settler {
    ballast: Ballast,
    pagemap: Pagemap,
    /// Slots to leave free beside the page's own; none where there is no ballast.
    spare: Option<u64>,
    settled: u64,
    repeats: u64,
    lost: u64,
    moves: u64,
    /// A ballast page is in memory, so that the raced page finds a slot.
    lent: bool,
    transfers: u64,
    refills: u64,
    times: Histogram,
}

impl Settler {
    /// Fills a device of `slots` slots but for one and those to spare, or not at all where `spare` is none; ballast pages are
    /// numbered from `first`. `pages` more slots stay free for pages that are still in memory.
    pub fn new(slots: u64, first: u64, pages: u64, spare: Option<u64>) -> Result<Self, Error> {
        let (pagemap, ballast) = (Pagemap::open()?, Ballast::new(slots, first)?);
        let mut settler = Self {
            ballast,
            pagemap,
            spare,
            settled: 0,
            repeats: 0,
            lost: 0,
            moves: 0,
            lent: false,
            transfers: 0,
            refills: 0,
            times: Histogram::default(),
        };
        settler.fill(1 + pages)?;
        Ok(settler)
    }

    /// Sees to it that all ballast is out and that `pages` slots are free beside those to spare.
    pub fn fill(&mut self, pages: u64) -> Result<(), Error> {
        self.spare.map_or(Ok(()), |spare| self.ballast.fill(&self.pagemap, pages + spare))
    }

    /// Whether a page's own slot is the only one it can go to.
    pub fn is_tight(&self) -> bool {
        self.spare == Some(0)
    }

    /// Finds the page a slot that it comes back to from each of `cpus`, as far as there is one.
    pub fn place(&mut self, page: &impl Swappable, cpus: &[usize]) -> Result<SwapEntry, Error> {
        for _ in 0..MOVES {
            let home = self.settle(page)?;
            let mut blind = None;
            for &cpu in cpus {
                let back = sched::on_cpu(cpu, || {
                    page.touch();
                    page.page_out()?;
                    page.entry()
                })?;
                if back != Some(home) {
                    blind = Some(cpu);
                    break;
                }
            }
            match blind {
                None => return Ok(home),
                Some(cpu) => self.move_slot(page, cpu)?,
            }
        }
        self.settle(page)
    }

    /// Swaps the page out and returns where it went.
    pub fn settle(&mut self, page: &impl Swappable) -> Result<SwapEntry, Error> {
        let begin = clock::now();
        let (mut slotless, mut blind) = (0, 0);
        for attempt in 0..ATTEMPTS {
            page.page_out()?;
            if let Some(entry) = page.entry()? {
                self.repeats += u64::from(attempt);
                self.settled += 1;
                self.times.add(clock::now() - begin);
                if std::mem::take(&mut self.lent) || self.settled.is_multiple_of(LOOK_EVERY) {
                    self.refill()?;
                }
                return Ok(entry);
            }
            (slotless, blind) = if swaps::free_slots()? == 0 { (slotless + 1, 0) } else { (0, blind + 1) };
            if slotless > LOST_AFTER {
                slotless = 0;
                self.lost += 1;
                if !self.ballast.release() {
                    return Err(Error::SlotsLost(self.lost));
                }
            } else if blind > BLIND_AFTER {
                blind = 0;
                self.lend_slot()?;
            }
            // The interferer may have left it in another CPU's batch.
            sched::on_each_cpu(|| page.drain_batch())?;
            if attempt > 2 {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Err(Error::PageStuck { attempts: ATTEMPTS, free: swaps::free_slots()? })
    }

    /// Brings a ballast page in, each time another one: its slot is one that this CPU finds. The ballast goes to the slot that
    /// it did not find once the page is out, see [`Settler::refill`].
    fn lend_slot(&mut self) -> Result<(), Error> {
        self.moves += 1;
        let mut skip = self.moves % (self.ballast.live() as u64).max(1);
        let wanted = |_| {
            let found = skip == 0;
            skip = skip.saturating_sub(1);
            found
        };
        if self.spare.is_some() && self.ballast.bring_in(&self.pagemap, wanted)?.is_some() {
            self.lent = true;
        }
        Ok(())
    }

    /// Lets `cpu` put the page to a slot taken from the ballast, which moves that CPU's cursor, and fills what was free before.
    fn move_slot(&mut self, page: &impl Swappable, cpu: usize) -> Result<(), Error> {
        self.moves += 1;
        if self.spare.is_none() || !self.ballast.release() {
            return Ok(());
        }
        sched::on_each_cpu(|| page.drain_batch())?;
        sched::on_cpu(cpu, || page.page_out())?;
        page.touch();
        self.fill(1)
    }

    /// Brings the page, which is swapped out at `home`, to a slot that `wanted` takes, if it can, and returns where it is
    /// then. The page changes places with a ballast page.
    ///
    /// Before 6.12 a CPU that has just taken slot *n* takes the next free one beyond *n* + 1, from the other end again after
    /// the last (mm/swapfile.c `scan_swap_map_slots`). So of two free slots the page gets the ballast's if it goes out first,
    /// unless that is the one next to its own: then the ballast goes first. Slot *n* - 1 is left for another time: the
    /// ballast would not find slot *n* then.
    pub fn move_to(
        &mut self,
        page: &impl Swappable,
        mut home: SwapEntry,
        wanted: impl Fn(u64) -> bool,
    ) -> Result<SwapEntry, Error> {
        for _ in 0..TRANSFERS {
            if wanted(home.offset) || !self.is_tight() {
                break;
            }
            let below = home.offset.wrapping_sub(1);
            let Some(slot) = self.ballast.bring_in(&self.pagemap, |slot| slot != below && wanted(slot))? else { break };
            self.transfers += 1;
            page.touch();
            if slot == home.offset + 1 {
                self.fill_if_found(1)?;
            }
            home = self.settle(page)?;
            self.fill_if_found(0)?;
        }
        Ok(home)
    }

    /// As [`Settler::fill`]. A slot that this CPU does not find does not disturb the race from this CPU either.
    fn fill_if_found(&mut self, pages: u64) -> Result<(), Error> {
        match self.fill(pages) {
            Err(Error::BallastIncomplete { .. }) => Ok(()),
            other => other,
        }
    }

    /// Fills slots that came free beside the page's own, for whatever reason, while the page is swapped out.
    fn refill(&mut self) -> Result<(), Error> {
        let Some(spare) = self.spare else { return Ok(()) };
        if swaps::free_slots()? <= spare {
            return Ok(());
        }
        self.refills += 1;
        self.fill_if_found(0)
    }

    /// Ballast pages that no longer hold what was put there.
    pub fn inspect_ballast(&self) -> Vec<Damage> {
        let damage = |(page, mismatch): (u64, Mismatch)| Damage {
            page,
            expected: Ballast::generation(),
            found: mismatch.found,
            kind: mismatch.kind,
            entry_before: None,
            entry_after: None,
        };
        self.ballast.inspect().into_iter().map(damage).collect()
    }

    /// How long it took to settle.
    pub fn times(&self) -> &Histogram {
        &self.times
    }

    /// Figures for people.
    pub fn details(&self) -> Vec<(String, String)> {
        let figure = |name: &str, value: u64| (name.to_owned(), value.to_string());
        vec![
            figure("ballast pages", self.ballast.live() as u64),
            figure("repeated pageouts", self.repeats),
            figure("moved slots", self.moves),
            figure("transfers between slots", self.transfers),
            figure("lost slots", self.lost),
            figure("refills", self.refills),
        ]
    }
}

//! The page that both sides race for, and the race seen from either side.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use twinboot_protocol::{PartTime, SwapEntry};

use super::settle::{Settler, Swappable};
use crate::error::Error;
use crate::factors::Varied;
use crate::oracle::{self, Stamp};
use crate::profile::Histogram;
use crate::race::{Damage, Judgement, Target};
use crate::strategy::{Interference, Shot};
use crate::sys::memory::{Advice, Region};
use crate::sys::pagemap::Pagemap;
use crate::sys::{SysError, clock};

/// Number of the raced page for the oracle; ballast pages follow.
const NUMBER: u64 = 0;

/// A swap entry that two threads share; an entry is 55 bits, so all ones is none.
#[derive(Debug)]
struct SharedEntry(AtomicU64);

impl SharedEntry {
    fn new() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }

    fn set(&self, entry: Option<SwapEntry>) {
        let word = entry.map_or(u64::MAX, |entry| entry.offset << 5 | u64::from(entry.kind & 0x1f));
        self.0.store(word, Release);
    }

    fn get(&self) -> Option<SwapEntry> {
        let word = self.0.load(Acquire);
        let kind = u8::try_from(word & 0x1f).unwrap_or(0);
        (word != u64::MAX).then_some(SwapEntry { kind, offset: word >> 5 })
    }
}

/// One anonymous page, swapped out before each try.
#[derive(Debug)]
pub struct RacedPage {
    region: Region,
    /// Never touched: advice on it has only its side effects.
    empty: Region,
    pagemap: Pagemap,
    generation: AtomicU64,
    before: SharedEntry,
    after: SharedEntry,
    /// The interferer reads the page before it writes to it.
    reads_first: AtomicBool,
    writing: Histogram,
    paging_out: Histogram,
}

impl RacedPage {
    /// A page that nothing was written to yet.
    pub fn new() -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self {
            region: Region::anonymous(1)?,
            empty: Region::anonymous(1)?,
            pagemap: Pagemap::open()?,
            generation: AtomicU64::new(0),
            before: SharedEntry::new(),
            after: SharedEntry::new(),
            reads_first: AtomicBool::new(false),
            writing: Histogram::default(),
            paging_out: Histogram::default(),
        }))
    }

    /// Stamps the next generation.
    fn write(&self) {
        let generation = self.generation.load(Relaxed) + 1;
        oracle::stamp(self.region.words(0), NUMBER, generation);
        self.generation.store(generation, Release);
    }

    /// Makes the word that a writing victim has overwritten one with its neighbour, so that the oracle judges the others.
    fn give_back_victims_word(&self, expected: u64) {
        let words = self.region.words(0);
        let neighbour = VICTIMS_WORD + 1;
        let (page, generation) = match Stamp::decode(words[neighbour].load(Relaxed), neighbour) {
            Stamp::Of { page, generation } => (page, generation),
            Stamp::Zero => return words[VICTIMS_WORD].store(0, Relaxed),
            Stamp::Unknown => (NUMBER, expected),
        };
        oracle::stamp_words(words, VICTIMS_WORD..neighbour, page, generation);
    }

    /// The interferer's side. A page still at its entry says that the victim's fault hasn't mapped it: then the
    /// interferer writes a new generation and swaps the page out. On a kernel with the fix the write waits for the
    /// victim; that is the fix at work, and the try counts like any other.
    fn interfere(&self) -> Result<bool, SysError> {
        let entry = self.entry()?;
        if entry.is_none() || entry != self.before.get() {
            return Ok(false);
        }
        let begin = clock::now();
        if self.reads_first.load(Relaxed) {
            self.touch();
        }
        self.write();
        let written = clock::now();
        self.page_out()?;
        self.paging_out.add(clock::now() - written);
        self.writing.add(written - begin);
        self.after.set(self.entry()?);
        Ok(true)
    }

    /// The interferer's side, for a strategy.
    pub fn interference(self: &Arc<Self>) -> Interference {
        let page = Arc::clone(self);
        Box::new(move || page.interfere().unwrap_or(false))
    }
}

impl Swappable for RacedPage {
    fn entry(&self) -> Result<Option<SwapEntry>, SysError> {
        Ok(self.pagemap.state(self.region.address(0))?.entry())
    }

    fn page_out(&self) -> Result<(), SysError> {
        self.region.advise(0, 1, Advice::PageOut)
    }

    fn drain_batch(&self) -> Result<(), SysError> {
        self.empty.advise(0, 1, Advice::PageOut)
    }

    fn touch(&self) {
        // A fault for reading.
        std::hint::black_box(self.region.words(0)[0].load(Relaxed));
    }
}

/// The victim's side.
#[derive(Debug)]
pub struct SwapTarget {
    page: Arc<RacedPage>,
    settler: Settler,
    home: SwapEntry,
    /// What the victim does to the page, and how the interferer gets to write to it.
    access: Varied,
    way: Varied,
    /// Where the page is swapped out to, and which slots each level of it stands for.
    slot: Varied,
    slots: Vec<RangeInclusive<u64>>,
    /// Level of [`SwapTarget::slot`] to go to before the next try.
    wanted: Option<usize>,
    /// Tries until another one is drawn.
    stay: u32,
}

/// Tries at one slot: to bring the page to another one takes as long as some tries.
const STAY: u32 = 24;
/// Slots of a device up to which each is a level of its own; the slots of a larger one are divided into [`RANGES`] ranges.
const MOST_LEVELS: u64 = 32;
const RANGES: u64 = 16;

/// Levels of the victim's access.
const ACCESSES: [&str; 2] = ["read", "write"];
/// Index of `write` in [`ACCESSES`].
const WRITE: usize = 1;
/// The word that a writing victim overwrites with its mark, which the oracle then leaves out: a plain store faults for
/// writing on every kernel and accelerator, and needs not know what the interferer has written meanwhile.
const VICTIMS_WORD: usize = 0;
const VICTIMS_MARK: u64 = u64::MAX;
/// Levels of the interferer's way.
const WAYS: [&str; 2] = ["write", "read and write"];

/// The usable slots of a device of `slots`, by level. The first slot holds the device's header.
fn slot_levels(slots: u64) -> Vec<RangeInclusive<u64>> {
    let wide = if slots <= MOST_LEVELS { 1 } else { slots.div_ceil(RANGES) };
    (0..slots.div_ceil(wide)).map(|range| range * wide + 1..=(range * wide + wide).min(slots)).collect()
}

/// `7`, or `65-128`.
fn level_name(range: &RangeInclusive<u64>) -> String {
    let (first, last) = (range.start(), range.end());
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

impl SwapTarget {
    /// Fills a swap device of `slots` slots with ballast and swaps `page` out to the slot that is left, one that each of
    /// `cpus` finds again. The calling thread must already be bound to the victim's CPU.
    pub fn new(page: Arc<RacedPage>, slots: u64, cpus: &[usize]) -> Result<Self, Error> {
        let mut settler = Settler::new(slots, NUMBER + 1, 0, Some(0))?;
        page.write();
        let home = settler.place(&*page, cpus)?;
        let access = Varied::new("access", "on {} faults", ACCESSES);
        let way = Varied::new("interferer", "when the interferer's way is to {}", WAYS);
        let slots = slot_levels(slots);
        let slot = Varied::new("slot", "at swap slot {}", slots.iter().map(level_name));
        Ok(Self { page, settler, home, access, way, slot, slots, wanted: None, stay: 0 })
    }

    /// The level of the slot that the page is at now.
    fn slot_now(&self) -> Option<usize> {
        self.slots.iter().position(|range| range.contains(&self.home.offset))
    }
}

impl Target for SwapTarget {
    fn draw(&mut self, rng: &mut ChaCha8Rng) {
        self.access.level = rng.random_range(0..ACCESSES.len());
        self.way.level = rng.random_range(0..WAYS.len());
        self.page.reads_first.store(self.way.level == 1, Relaxed);
        self.stay = self.stay.checked_sub(1).unwrap_or_else(|| {
            self.wanted = Some(rng.random_range(0..self.slots.len()));
            STAY - 1
        });
    }

    fn varied(&self) -> Vec<&Varied> {
        vec![&self.access, &self.way, &self.slot]
    }

    fn prepare(&mut self) -> Result<(), Error> {
        if let Some(range) = self.wanted.take().and_then(|level| self.slots.get(level)) {
            self.home = self.settler.move_to(&*self.page, self.home, |slot| range.contains(&slot))?;
        }
        // Of the slot it is really at, whatever was wanted; a device that lies about its size has levels beyond the last.
        self.slot.level = self.slot_now().unwrap_or(self.slots.len());
        self.page.before.set(Some(self.home));
        self.page.after.set(None);
        Ok(())
    }

    fn victim(&mut self) {
        if self.access.level == WRITE {
            self.page.region.words(0)[VICTIMS_WORD].store(VICTIMS_MARK, Relaxed);
        } else {
            self.page.touch();
        }
    }

    fn judge(&mut self, shot: Shot) -> Result<Judgement, Error> {
        let page = &*self.page;
        let (entry_before, mut entry_after) = (Some(self.home), page.after.get());
        if shot.landed && entry_after.is_none() {
            // The victim's fault won and left the page in its CPU's lru-add batch, out of the interferer's reach.
            entry_after = Some(self.settler.settle(page)?);
        }
        let expected = page.generation.load(Acquire);
        if self.access.level == WRITE && shot.ran {
            page.give_back_victims_word(expected);
        }
        let mismatch = oracle::inspect(page.region.words(0), NUMBER, expected).err();
        if mismatch.is_some() {
            page.write();
        }
        self.home = self.settler.settle(page)?;
        let reused = if shot.landed { entry_after } else { Some(self.home) } == entry_before;
        let damage = mismatch.map(|mismatch| Damage {
            page: NUMBER,
            expected,
            found: mismatch.found,
            kind: mismatch.kind,
            entry_before,
            entry_after,
        });
        Ok(Judgement { reused, damage })
    }

    fn inspect_bystanders(&mut self) -> Result<Vec<Damage>, Error> {
        Ok(self.settler.inspect_ballast())
    }

    fn details(&self) -> Vec<(String, String)> {
        self.settler.details()
    }

    fn profile(&self) -> Vec<PartTime> {
        let page = &self.page;
        vec![
            page.writing.part("interferer faults and writes"),
            page.paging_out.part("interferer pages out"),
            self.settler.times().part("settling"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use twinboot_protocol::CorruptionKind;

    use super::*;

    #[test]
    fn shared_entries_come_back_as_they_went_in() {
        let shared = SharedEntry::new();
        assert_eq!(shared.get(), None);
        for entry in [SwapEntry { kind: 0, offset: 0 }, SwapEntry { kind: 31, offset: (1 << 50) - 1 }] {
            shared.set(Some(entry));
            assert_eq!(shared.get(), Some(entry));
        }
        shared.set(None);
        assert_eq!(shared.get(), None);
    }

    #[test]
    fn every_slot_has_one_level() {
        for slots in [2, 15, 32, 33, 100, 1024] {
            let levels = slot_levels(slots);
            assert!(levels.len() <= 32, "{levels:?}");
            for slot in 1..=slots {
                assert_eq!(levels.iter().filter(|range| range.contains(&slot)).count(), 1, "{slot} of {slots}");
            }
            assert!(!levels.iter().any(|range| range.contains(&0) || range.contains(&(slots + 1)) || range.is_empty()));
        }
        assert_eq!(slot_levels(15).iter().map(level_name).next_back().as_deref(), Some("15"));
        assert_eq!(slot_levels(1024).iter().map(level_name).nth(1).as_deref(), Some("65-128"));
    }

    #[test]
    fn what_a_writing_victim_maps_is_judged_by_the_other_words() {
        let page = RacedPage::new().expect("a page");
        page.write();
        let words = page.region.words(0);
        let judged = |expected| {
            words[VICTIMS_WORD].store(VICTIMS_MARK, Relaxed);
            page.give_back_victims_word(expected);
            oracle::inspect(words, NUMBER, expected).map_err(|mismatch| mismatch.kind)
        };
        assert_eq!(judged(1), Ok(()));
        assert_eq!(judged(2), Err(CorruptionKind::LostUpdate), "the page as it was before");
        for word in words {
            word.store(0, Relaxed);
        }
        assert_eq!(judged(2), Err(CorruptionKind::ZeroPage));
        oracle::stamp(words, NUMBER, 2);
        words[7].store(VICTIMS_MARK, Relaxed);
        assert_eq!(judged(2), Err(CorruptionKind::TornPage));
    }

    #[test]
    fn a_page_in_memory_is_no_landing_and_is_left_alone() {
        let page = RacedPage::new().expect("a page");
        page.write();
        assert!(!page.interfere().expect("a pagemap"));
        assert_eq!(oracle::inspect(page.region.words(0), NUMBER, 1), Ok(()));
    }
}

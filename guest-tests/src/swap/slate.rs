//! A page of the scene: what it is called, what was done to it, and what it must hold for that.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use twinboot_protocol::SwapEntry;
use twinboot_protocol::orders::Damage;

use super::settle::Swappable;
use crate::actors::history::{self, Begun, Effect, History};
use crate::error::Error;
use crate::oracle;
use crate::sys::guarded::{self, Guarded};
use crate::sys::memory::{Advice, Region, WORDS};
use crate::sys::pagemap::{PageState, Pagemap};
use crate::sys::{SysError, clock};

/// One anonymous page of a private mapping.
#[derive(Debug)]
pub(super) struct Slate {
    pub name: &'static str,
    number: u64,
    pub page: Guarded,
    /// Never touched: advice on it has only its side effects.
    empty: Region,
    pagemap: Pagemap,
    generation: AtomicU64,
    round: Mutex<Round>,
}

/// What happened to it since the last [`Slate::begin_round`].
#[derive(Debug, Default)]
struct Round {
    history: History,
    before: Option<SwapEntry>,
    after: Option<SwapEntry>,
    misread: Option<Damage>,
    touched: bool,
    kept_in_memory: bool,
}

impl Slate {
    /// A page of zeroes; `number` is the oracle's.
    pub fn new(name: &'static str, number: u64) -> Result<Self, Error> {
        Ok(Self {
            name,
            number,
            page: Guarded::new()?,
            empty: Region::anonymous(1)?,
            pagemap: Pagemap::open()?,
            generation: AtomicU64::new(0),
            round: Mutex::default(),
        })
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Relaxed) + 1
    }

    /// Where it is.
    pub fn state(&self) -> Result<PageState, SysError> {
        self.pagemap.state(self.page.address(0))
    }

    /// Maps it again if it was unmapped, lets it go where it was kept in memory, and stamps a fresh generation all over it.
    pub fn renew(&self) -> Result<(), Error> {
        self.page.restore()?;
        if self.round().kept_in_memory {
            self.page.keep_in_memory(0, false)?;
        }
        let generation = self.next_generation();
        oracle::stamp(self.page.words(0), self.number, generation);
        guarded::caught();
        *self.round() = Round { history: History::of(generation), ..Round::default() };
        Ok(())
    }

    /// A round begins with the page at `entry`. What was in it stays.
    pub fn begin_round(&self, entry: Option<SwapEntry>) {
        let mut round = self.round();
        (round.before, round.after, round.touched) = (entry, None, false);
    }

    /// Whether it is where the round began, and nobody did anything to it.
    pub fn is_untouched(&self) -> Result<bool, SysError> {
        let at = self.entry()?;
        let round = self.round();
        Ok(!round.touched && at.is_some() && at == round.before)
    }

    /// Swap entries at the round's beginning and after the last pageout.
    pub fn entries(&self) -> (Option<SwapEntry>, Option<SwapEntry>) {
        let round = self.round();
        (round.before, round.after)
    }

    /// Notes where a pageout put it.
    pub fn note_out(&self, entry: SwapEntry) {
        self.round().after = Some(entry);
    }

    /// An operation on it begins that changes nothing of what it holds.
    pub fn note_touch(&self) {
        self.round().touched = true;
    }

    /// Keeps it in memory, or no longer.
    pub fn keep_in_memory(&self, keep: bool) -> Result<(), SysError> {
        self.note_touch();
        self.page.keep_in_memory(0, keep)?;
        self.round().kept_in_memory = keep;
        Ok(())
    }

    /// Does `change`, whose effect is `effect`; where it fails nothing happened.
    pub fn change<T>(&self, effect: Effect, change: impl FnOnce() -> Result<T, SysError>) -> Result<T, SysError> {
        let begun = self.begin(effect);
        let result = change();
        let mut round = self.round();
        match &result {
            Ok(_) => round.history.end(begun, clock::now()),
            Err(_) => round.history.void(begun),
        }
        result
    }

    fn begin(&self, effect: Effect) -> Begun {
        let mut round = self.round();
        round.touched = true;
        round.history.begin(clock::now(), effect)
    }

    /// Stamps the next generation on part `part` of `parts`; returns which. Each thread has a part of its own, so that a write
    /// of one thread never hides that another's was lost.
    pub fn write(&self, part: usize, parts: usize) -> Result<u64, SysError> {
        let generation = self.next_generation();
        let words = part * WORDS / parts..(part + 1) * WORDS / parts;
        let effect = Effect::Write { generation, words: words.clone() };
        self.change(effect, || {
            oracle::stamp_words(self.page.words(0), words, self.number, generation);
            Ok(generation)
        })
    }

    /// Reads all of it; returns what it holds, in words. What it must not hold is kept for [`Slate::judge`].
    pub fn read(&self) -> String {
        self.note_touch();
        let begin = clock::now();
        let words = oracle::load(self.page.words(0));
        let mut round = self.round();
        let damage = round.history.check(self.name, self.number, &words, begin, clock::now());
        if round.misread.is_none() {
            round.misread = damage;
        }
        history::tell(self.number, &words)
    }

    /// Reads it once more, with nobody else at work; what is wrong with this or with what others read.
    pub fn judge(&self) -> Option<Damage> {
        self.read();
        let mut damage = self.round().misread.clone();
        if let (Some(signal), Some(damage)) = (guarded::caught(), &mut damage) {
            damage.found = format!("{}, put there after {signal}", damage.found);
        }
        damage
    }
}

impl Swappable for Slate {
    fn entry(&self) -> Result<Option<SwapEntry>, SysError> {
        Ok(self.state()?.entry())
    }

    fn page_out(&self) -> Result<(), SysError> {
        self.page.advise(0, 1, Advice::PageOut)
    }

    fn drain_batch(&self) -> Result<(), SysError> {
        self.empty.advise(0, 1, Advice::PageOut)
    }

    fn touch(&self) {
        std::hint::black_box(self.page.words(0)[0].load(Relaxed));
    }
}

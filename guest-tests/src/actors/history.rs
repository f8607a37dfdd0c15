//! What a page may hold after operations that overlapped.
//!
//! Which of two operations that overlap comes first is the kernel's to choose, so a word of the page may hold the effect of
//! any of them that was not wholly superseded: one after whose end no other that decides the word began. That is what a
//! regular register allows (Lamport, "On Interprocess Communication", Distributed Computing 1, 1986), for several writers
//! and word by word, since an operation on a whole page is many stores.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

use twinboot_protocol::CorruptionKind;
use twinboot_protocol::orders::Damage;

use crate::oracle::Stamp;

/// The end of an operation that has not come back.
const UNDER_WAY: u64 = u64::MAX;

/// What an operation does to a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Stamps `generation` on these words.
    Write {
        /// Generation, unlike any other of this page.
        generation: u64,
        /// Indices of the words.
        words: Range<usize>,
    },
    /// Makes the page zeroes: `MADV_DONTNEED`, `munmap`.
    Zero,
    /// Lets the kernel make it zeroes whenever it likes, until it is written again: `MADV_FREE`.
    MayZero,
}

impl Effect {
    /// Whether word `word` certainly has a new value after it.
    fn decides(&self, word: usize) -> bool {
        match self {
            Self::Write { words, .. } => words.contains(&word),
            Self::Zero => true,
            Self::MayZero => false,
        }
    }

    /// The value it may leave in word `word`.
    fn value(&self, word: usize) -> Option<Value> {
        match self {
            Self::Write { generation, words } => words.contains(&word).then_some(Value::Generation(*generation)),
            Self::Zero | Self::MayZero => Some(Value::Zero),
        }
    }
}

/// What a word can rightly hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// What a write of this generation stamped there.
    Generation(u64),
    /// Nothing.
    Zero,
}

/// One operation that changes a page, on one clock with all others.
#[derive(Debug, Clone)]
struct Mutation {
    begin: u64,
    end: u64,
    effect: Effect,
}

/// Every operation of a round that changed one page.
#[derive(Debug, Clone, Default)]
pub struct History {
    mutations: Vec<Mutation>,
}

/// An operation that was begun; for [`History::end`] and [`History::void`].
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Begun(usize);

impl History {
    /// Begins with a whole page of `generation`, before all time.
    pub fn of(generation: u64) -> Self {
        let effect = Effect::Write { generation, words: 0..usize::MAX };
        Self { mutations: vec![Mutation { begin: 0, end: 0, effect }] }
    }

    /// An operation begins at `now`; it counts as under way until [`History::end`].
    pub fn begin(&mut self, now: u64, effect: Effect) -> Begun {
        self.mutations.push(Mutation { begin: now, end: UNDER_WAY, effect });
        Begun(self.mutations.len() - 1)
    }

    /// It came back at `now`.
    pub fn end(&mut self, begun: Begun, now: u64) {
        self.mutations[begun.0].end = now;
    }

    /// It came back and had done nothing. What others saw meanwhile was nothing of it, either.
    pub fn void(&mut self, begun: Begun) {
        let mutation = &mut self.mutations[begun.0];
        mutation.effect = Effect::Write { generation: 0, words: 0..0 };
        mutation.end = mutation.begin;
    }

    /// What a look at word `word` that lasted from `from` to `until` may find.
    pub fn allowed(&self, word: usize, from: u64, until: u64) -> BTreeSet<Value> {
        let superseded = |mutation: &Mutation| {
            let later = |other: &&Mutation| other.begin > mutation.end && other.end < from;
            self.mutations.iter().filter(later).any(|other| other.effect.decides(word))
        };
        let seen = self.mutations.iter().filter(|mutation| mutation.begin <= until && !superseded(mutation));
        seen.filter_map(|mutation| mutation.effect.value(word)).collect()
    }

    /// Whether `found`, the words of page number `page` as a look from `from` to `until` found them, is what the operations
    /// allow; the damage otherwise, of an object that people call `object`.
    pub fn check(&self, object: &str, page: u64, found: &[u64], from: u64, until: u64) -> Option<Damage> {
        let stamps = || found.iter().enumerate().map(|(index, &word)| Stamp::decode(word, index));
        let (mut wrong, mut expected) = (BTreeSet::new(), Vec::new());
        for (index, stamp) in stamps().enumerate() {
            let value = match stamp {
                Stamp::Zero => Some(Value::Zero),
                Stamp::Of { page: owner, generation } if owner == page => Some(Value::Generation(generation)),
                _ => None,
            };
            let allowed = self.allowed(index, from, until);
            if value.is_none_or(|value| !allowed.contains(&value)) {
                wrong.insert(index);
                expected.push((index, describe_allowed(&allowed)));
            }
        }
        if wrong.is_empty() {
            return None;
        }
        let kind = kind(page, stamps().enumerate().filter(|(index, _)| wrong.contains(index)).map(|(_, stamp)| stamp));
        let found = stamps().enumerate().filter(|(index, _)| wrong.contains(index));
        Some(Damage {
            object: object.to_owned(),
            kind,
            expected: describe(expected.into_iter()),
            found: describe(found.map(|(index, stamp)| (index, describe_stamp(page, stamp)))),
        })
    }
}

/// What kind of wrong it is when all of `stamps` are.
fn kind(page: u64, stamps: impl Iterator<Item = Stamp>) -> CorruptionKind {
    let mut kinds: BTreeSet<u8> = BTreeSet::new();
    for stamp in stamps {
        kinds.insert(match stamp {
            Stamp::Zero => 0,
            Stamp::Of { page: owner, .. } if owner == page => 1,
            Stamp::Of { .. } => 2,
            Stamp::Unknown => 3,
        });
    }
    match kinds.iter().collect::<Vec<_>>()[..] {
        [0] => CorruptionKind::ZeroPage,
        [1] => CorruptionKind::LostUpdate,
        [2] => CorruptionKind::ForeignPage,
        _ => CorruptionKind::TornPage,
    }
}

/// What a page holds, in words: `generation 4`, or part by part where it is not all the same.
pub fn tell(page: u64, found: &[u64]) -> String {
    let stamps = found.iter().enumerate().map(|(index, &word)| (index, Stamp::decode(word, index)));
    describe(stamps.map(|(index, stamp)| (index, describe_stamp(page, stamp))))
}

fn describe_stamp(page: u64, stamp: Stamp) -> String {
    match stamp {
        Stamp::Zero => "zeroes".to_owned(),
        Stamp::Of { page: owner, generation } if owner == page => format!("generation {generation}"),
        Stamp::Of { page: owner, generation } => format!("generation {generation} of page {owner}"),
        Stamp::Unknown => "bytes nobody wrote".to_owned(),
    }
}

fn describe_allowed(allowed: &BTreeSet<Value>) -> String {
    let words = allowed.iter().map(|value| match value {
        Value::Generation(generation) => format!("generation {generation}"),
        Value::Zero => "zeroes".to_owned(),
    });
    words.collect::<Vec<_>>().join(" or ")
}

/// Most parts of a page that are told apart in words.
const PARTS: usize = 4;

/// Runs of words with the same description.
fn describe(words: impl Iterator<Item = (usize, String)>) -> String {
    let mut runs: Vec<(usize, usize, String)> = Vec::new();
    for (index, text) in words {
        match runs.last_mut() {
            Some((_, last, of)) if *last + 1 == index && *of == text => *last = index,
            _ => runs.push((index, index, text)),
        }
    }
    if let [(0, last, text)] = &runs[..]
        && *last + 1 == crate::sys::memory::WORDS
    {
        return text.clone();
    }
    let mut text = String::new();
    for (first, last, of) in runs.iter().take(PARTS) {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a string can't fail.
        let _ = write!(text, "{separator}{of} in words {first} to {last}");
    }
    if runs.len() > PARTS {
        let _ = write!(text, " and {} more parts", runs.len() - PARTS);
    }
    text
}

#[cfg(test)]
mod tests;

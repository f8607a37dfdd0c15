//! What a page may hold after operations that overlapped.
//!
//! Which of two operations that overlap comes first is the kernel's to choose, so a word of the page may hold the effect of
//! any of them that was not wholly superseded: one after whose end no other that decides the word began. That is what a
//! regular register allows (Lamport, "On Interprocess Communication", Distributed Computing 1, 1986), for several writers
//! and word by word, since an operation on a whole page is many stores.

use std::collections::BTreeSet;
use std::ops::Range;

use twinboot_protocol::CorruptionKind;
use twinboot_protocol::orders::Damage;

use crate::oracle::Stamp;
use crate::sys::memory::WORDS;

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
        let edges = self.edges(found.len());
        let (mut kinds, mut expected, mut wrong) = (Vec::new(), Runs::default(), Runs::default());
        for part in edges.windows(2) {
            let allowed = self.allowed(part[0], from, until);
            for (index, &word) in found.iter().enumerate().take(part[1]).skip(part[0]) {
                let stamp = Stamp::decode(word, index);
                let (kind, value) = match stamp {
                    Stamp::Zero => (CorruptionKind::ZeroPage, Some(Value::Zero)),
                    Stamp::Of { page: owner, generation } if owner == page => {
                        (CorruptionKind::LostUpdate, Some(Value::Generation(generation)))
                    }
                    Stamp::Of { .. } => (CorruptionKind::ForeignPage, None),
                    Stamp::Unknown => (CorruptionKind::TornPage, None),
                };
                if value.is_none_or(|value| !allowed.contains(&value)) {
                    if !kinds.contains(&kind) {
                        kinds.push(kind);
                    }
                    expected.add(index, allowed.clone());
                    wrong.add(index, stamp);
                }
            }
        }
        let kind = match kinds[..] {
            [] => return None,
            [kind] => kind,
            _ => CorruptionKind::TornPage,
        };
        let (expected, found) = (expected.tell(describe_allowed), wrong.tell(|stamp| describe_stamp(page, *stamp)));
        Some(Damage { object: object.to_owned(), kind, expected, found })
    }

    /// Where parts of a page of `words` words begin that every operation treats alike, and the end.
    fn edges(&self, words: usize) -> Vec<usize> {
        let mut edges = vec![0, words];
        for mutation in &self.mutations {
            if let Effect::Write { words, .. } = &mutation.effect {
                edges.extend([words.start, words.end]);
            }
        }
        edges.retain(|&edge| edge <= words);
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

/// What a page holds, in words: `generation 4`, or part by part where it is not all the same.
pub fn tell(page: u64, found: &[u64]) -> String {
    let mut runs = Runs::default();
    for (index, &word) in found.iter().enumerate() {
        runs.add(index, Stamp::decode(word, index));
    }
    runs.tell(|stamp| describe_stamp(page, *stamp))
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

/// Neighbouring words of the same content: first and last index, content.
#[derive(Debug)]
struct Runs<T>(Vec<(usize, usize, T)>);

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Runs<T> {
    fn add(&mut self, index: usize, content: T) {
        match self.0.last_mut() {
            Some((_, last, of)) if *last + 1 == index && *of == content => *last = index,
            _ => self.0.push((index, index, content)),
        }
    }

    fn tell(&self, describe: impl Fn(&T) -> String) -> String {
        if let [(0, last, content)] = &self.0[..]
            && *last + 1 == WORDS
        {
            return describe(content);
        }
        let part = |(first, last, content): &(usize, usize, T)| match describe(content) {
            text if first == last => format!("{text} in word {first}"),
            text => format!("{text} in words {first} to {last}"),
        };
        let mut parts: Vec<String> = self.0.iter().take(PARTS).map(part).collect();
        if self.0.len() > PARTS {
            parts.push(format!("and {} more parts", self.0.len() - PARTS));
        }
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests;

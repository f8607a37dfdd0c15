//! What a page must hold, and what it means when it doesn't.
//!
//! Every 64-bit word of a page is stamped with the generation that wrote it (40 bits), the number of the page
//! (15 bits) and the word's own index (9 bits). So an older write, another page's content, zeroes and mixtures of them
//! can all be told apart, and no page is of the same-filled kind that zram stores without compressing it.

use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use twinboot_protocol::CorruptionKind;

use crate::sys::memory::{WORDS, Words};

const INDEX_BITS: u32 = 9;
const PAGE_BITS: u32 = 15;

/// Highest page number that a stamp can hold.
pub const LAST_PAGE: u64 = (1 << PAGE_BITS) - 1;

/// A page that doesn't hold what was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// What kind of wrong.
    pub kind: CorruptionKind,
    /// Generation of the first word that is wrong.
    pub found: u64,
}

fn word(page: u64, generation: u64, index: usize) -> u64 {
    generation << (PAGE_BITS + INDEX_BITS) | (page & LAST_PAGE) << INDEX_BITS | index as u64
}

/// Writes `generation` of page number `page` over the whole page. Generations start at 1: 0 would look like a zero page.
pub fn stamp(words: &Words, page: u64, generation: u64) {
    stamp_words(words, 0..WORDS, page, generation);
}

/// The same for some words only, those of `range`.
pub fn stamp_words(words: &Words, range: Range<usize>, page: u64, generation: u64) {
    for (index, slot) in words.iter().enumerate().take(range.end).skip(range.start) {
        slot.store(word(page, generation, index), Relaxed);
    }
}

/// A copy of every word, taken from the first to the last.
pub fn load(words: &Words) -> [u64; WORDS] {
    std::array::from_fn(|index| words[index].load(Relaxed))
}

/// What one word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// Nothing.
    Zero,
    /// It was stamped.
    Of {
        /// Number of the page.
        page: u64,
        /// Generation.
        generation: u64,
    },
    /// Neither: no stamp has this word's index.
    Unknown,
}

impl Stamp {
    /// Reads the word at `index` of a page.
    pub fn decode(found: u64, index: usize) -> Self {
        let (page, generation) = (found >> INDEX_BITS & LAST_PAGE, found >> (PAGE_BITS + INDEX_BITS));
        match found {
            0 => Self::Zero,
            _ if generation != 0 && found == word(page, generation, index) => Self::Of { page, generation },
            _ => Self::Unknown,
        }
    }
}

/// Checks that the whole page holds `generation` of page number `page`. Nobody may be writing to it meanwhile.
pub fn inspect(words: &Words, page: u64, generation: u64) -> Result<(), Mismatch> {
    let wrong = words.iter().enumerate().find_map(|(index, slot)| {
        let found = slot.load(Relaxed);
        (found != word(page, generation, index)).then_some(found)
    });
    let Some(wrong) = wrong else { return Ok(()) };
    let first = words[0].load(Relaxed);
    let stamped = first >> (PAGE_BITS + INDEX_BITS);
    let owner = first >> INDEX_BITS & LAST_PAGE;
    let whole = words.iter().enumerate().all(|(index, slot)| slot.load(Relaxed) == word(owner, stamped, index));
    let kind = if words.iter().all(|slot| slot.load(Relaxed) == 0) {
        CorruptionKind::ZeroPage
    } else if whole && owner != page {
        CorruptionKind::ForeignPage
    } else if whole && (1..generation).contains(&stamped) {
        CorruptionKind::LostUpdate
    } else {
        CorruptionKind::TornPage
    };
    Err(Mismatch { kind, found: wrong >> (PAGE_BITS + INDEX_BITS) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::memory::Region;

    /// A page 5 that was stamped with generation 7 and then changed.
    fn verdict(change: impl FnOnce(&Words)) -> Result<(), Mismatch> {
        let region = Region::anonymous(1).expect("a page");
        stamp(region.words(0), 5, 7);
        change(region.words(0));
        inspect(region.words(0), 5, 7)
    }

    fn kind(change: impl FnOnce(&Words)) -> CorruptionKind {
        verdict(change).expect_err("a mismatch").kind
    }

    #[test]
    fn the_newest_generation_passes() {
        assert_eq!(verdict(|_| {}), Ok(()));
    }

    #[test]
    fn an_older_generation_is_a_lost_update() {
        let lost = verdict(|words| stamp(words, 5, 6)).expect_err("a mismatch");
        assert_eq!(lost, Mismatch { kind: CorruptionKind::LostUpdate, found: 6 });
    }

    #[test]
    fn zeroes_are_a_zero_page() {
        let zero = verdict(|words| words.iter().for_each(|word| word.store(0, Relaxed))).expect_err("a mismatch");
        assert_eq!(zero, Mismatch { kind: CorruptionKind::ZeroPage, found: 0 });
    }

    #[test]
    fn another_pages_content_is_foreign_whatever_its_generation() {
        assert_eq!(kind(|words| stamp(words, 6, 7)), CorruptionKind::ForeignPage);
        assert_eq!(kind(|words| stamp(words, 6, 9)), CorruptionKind::ForeignPage);
    }

    #[test]
    fn mixtures_and_unknown_bytes_are_torn() {
        assert_eq!(kind(|words| words[0].store(word(5, 6, 0), Relaxed)), CorruptionKind::TornPage);
        assert_eq!(kind(|words| words[WORDS - 1].store(word(5, 6, WORDS - 1), Relaxed)), CorruptionKind::TornPage);
        assert_eq!(kind(|words| words[9].store(0, Relaxed)), CorruptionKind::TornPage);
        assert_eq!(kind(|words| words[9].store(u64::MAX, Relaxed)), CorruptionKind::TornPage);
        assert_eq!(kind(|words| stamp(words, 5, 8)), CorruptionKind::TornPage);
    }

    #[test]
    fn the_generation_of_the_first_wrong_word_is_reported() {
        let torn = verdict(|words| words[300].store(word(5, 3, 300), Relaxed)).expect_err("a mismatch");
        assert_eq!(torn.found, 3);
    }
}

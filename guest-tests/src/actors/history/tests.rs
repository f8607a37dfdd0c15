use proptest::prelude::*;

use super::*;
use crate::oracle;
use crate::sys::memory::Region;

fn write(generation: u64, words: Range<usize>) -> Effect {
    Effect::Write { generation, words }
}

/// Values allowed in word 0 at the end, after `(begin, end, effect)` on generation 1.
fn finally(mutations: &[(u64, u64, Effect)]) -> Vec<Value> {
    let mut history = History::of(1);
    for (begin, end, effect) in mutations {
        let begun = history.begin(*begin, effect.clone());
        history.end(begun, *end);
    }
    history.allowed(0, 1000, 1001).into_iter().collect()
}

#[test]
fn the_last_of_operations_one_after_the_other_counts() {
    use Value::{Generation, Zero};
    assert_eq!(finally(&[]), [Generation(1)]);
    assert_eq!(finally(&[(10, 20, write(2, 0..512))]), [Generation(2)]);
    assert_eq!(finally(&[(10, 20, write(2, 0..512)), (30, 40, write(3, 0..512))]), [Generation(3)]);
    assert_eq!(finally(&[(10, 20, write(2, 0..512)), (30, 40, Effect::Zero)]), [Zero]);
    assert_eq!(finally(&[(10, 20, Effect::Zero), (30, 40, write(3, 0..512))]), [Generation(3)]);
    assert_eq!(finally(&[(10, 20, write(2, 5..512))]), [Generation(1)], "word 0 was left alone");
}

#[test]
fn of_two_that_overlap_either_may_win() {
    use Value::{Generation, Zero};
    assert_eq!(finally(&[(10, 30, write(2, 0..512)), (20, 40, write(3, 0..512))]), [Generation(2), Generation(3)]);
    assert_eq!(finally(&[(10, 30, Effect::Zero), (20, 25, write(3, 0..512))]), [Generation(3), Zero]);
    let then_another = [(10, 30, Effect::Zero), (20, 25, write(3, 0..512)), (50, 60, write(4, 0..512))];
    assert_eq!(finally(&then_another), [Generation(4)]);
}

#[test]
fn what_may_be_freed_may_stay_until_it_is_written() {
    use Value::{Generation, Zero};
    assert_eq!(finally(&[(10, 20, Effect::MayZero)]), [Generation(1), Zero]);
    assert_eq!(finally(&[(10, 20, Effect::MayZero), (30, 40, write(2, 0..512))]), [Generation(2)]);
    assert_eq!(finally(&[(10, 35, Effect::MayZero), (30, 40, write(2, 0..512))]), [Generation(2), Zero]);
}

#[test]
fn a_look_during_a_write_may_find_either_and_a_look_before_it_only_the_old() {
    let mut history = History::of(1);
    let begun = history.begin(20, write(2, 0..512));
    assert_eq!(history.allowed(0, 5, 10), [Value::Generation(1)].into());
    assert_eq!(history.allowed(0, 30, 40), [Value::Generation(1), Value::Generation(2)].into(), "it is under way");
    history.end(begun, 25);
    assert_eq!(history.allowed(0, 30, 40), [Value::Generation(2)].into());
    assert_eq!(history.allowed(0, 5, 22).len(), 2, "they overlapped");
}

#[test]
fn an_operation_that_did_nothing_changes_nothing() {
    let mut history = History::of(1);
    let begun = history.begin(20, Effect::Zero);
    history.void(begun);
    assert_eq!(history.allowed(0, 30, 40), [Value::Generation(1)].into());
}

/// What the check says of page 5 with generations 6, then 7 in its second half, and then changed.
fn damage(change: impl FnOnce(&crate::sys::memory::Words)) -> Option<Damage> {
    let region = Region::anonymous(1).expect("a page");
    oracle::stamp(region.words(0), 5, 6);
    oracle::stamp_words(region.words(0), 256..512, 5, 7);
    change(region.words(0));
    let mut history = History::of(6);
    let begun = history.begin(10, write(7, 256..512));
    history.end(begun, 20);
    history.check("page", 5, &oracle::load(region.words(0)), 30, 40)
}

#[test]
fn damage_says_what_was_there_and_what_had_to_be() {
    use std::sync::atomic::Ordering::Relaxed;
    assert_eq!(damage(|_| {}), None);
    let told = |damage: Option<Damage>| damage.map(|d| (d.kind, d.expected, d.found)).expect("damage");
    let lost = told(damage(|words| oracle::stamp(words, 5, 6)));
    let both = ("generation 7 in words 256 to 511".to_owned(), "generation 6 in words 256 to 511".to_owned());
    assert_eq!(lost, (CorruptionKind::LostUpdate, both.0, both.1));
    let (kind, _, found) = told(damage(|words| words.iter().for_each(|word| word.store(0, Relaxed))));
    assert_eq!((kind, found.as_str()), (CorruptionKind::ZeroPage, "zeroes"));
    let (kind, _, found) = told(damage(|words| oracle::stamp(words, 1, 9)));
    assert_eq!((kind, found.as_str()), (CorruptionKind::ForeignPage, "generation 9 of page 1"));
    let (kind, expected, found) = told(damage(|words| words[3].store(77, Relaxed)));
    assert_eq!((kind, expected.as_str()), (CorruptionKind::TornPage, "generation 6 in word 3"));
    assert_eq!(found, "bytes nobody wrote in word 3");
    assert_eq!(
        damage(|words| {
            words[3].store(0, Relaxed);
            oracle::stamp_words(words, 300..512, 5, 6);
        })
        .expect("damage")
        .kind,
        CorruptionKind::TornPage,
        "two kinds of wrong"
    );
}

/// `(begin, length, when within it, effect)`
fn mutation() -> impl Strategy<Value = (u64, u64, u64, Effect)> {
    let effect = prop_oneof![
        (Just(()), 0..4_usize, 1..5_usize).prop_map(|((), from, length)| write(0, from..from + length)),
        Just(Effect::Zero),
        Just(Effect::MayZero),
    ];
    (1..200_u64, 0..60_u64, 0..=60_u64, effect)
        .prop_map(|(begin, length, at, effect)| (begin, length, at.min(length), effect))
}

proptest! {
    /// Whatever order the kernel takes overlapping operations in, as long as each has its effect between its beginning and
    /// its end: what is found is allowed.
    #[test]
    fn every_outcome_of_a_right_kernel_passes(mut mutations in prop::collection::vec(mutation(), 0..7), word in 0..6_usize,
                                              from in 0..300_u64, length in 0..60_u64, frees in any::<bool>()) {
        let mut history = History::of(1);
        for (generation, mutation) in (2..).zip(&mut mutations) {
            if let Effect::Write { generation: mine, .. } = &mut mutation.3 {
                *mine = generation;
            }
            let begun = history.begin(mutation.0, mutation.3.clone());
            history.end(begun, mutation.0 + mutation.1);
        }
        let at = from + length / 2;
        let mut effects: Vec<_> = mutations.iter().map(|(begin, _, at, effect)| (begin + at, effect)).collect();
        effects.retain(|(when, _)| *when <= at);
        effects.sort_by_key(|(when, _)| *when);
        let mut value = Value::Generation(1);
        for (_, effect) in effects {
            match effect {
                Effect::Write { generation, words } if words.contains(&word) => value = Value::Generation(*generation),
                Effect::Zero => value = Value::Zero,
                Effect::MayZero if frees => value = Value::Zero,
                _ => {}
            }
        }
        let allowed = history.allowed(word, from, from + length);
        prop_assert!(allowed.contains(&value), "{value:?} of {allowed:?}");
    }

    /// A value that was wholly superseded never passes.
    #[test]
    fn a_superseded_write_is_lost(mutations in prop::collection::vec(mutation(), 0..7), last in 0..3_usize) {
        let mut history = History::of(1);
        for (generation, (begin, length, _, effect)) in (2..).zip(mutations) {
            let effect = match effect {
                Effect::Write { words, .. } => write(generation, words),
                other => other,
            };
            let begun = history.begin(begin, effect);
            history.end(begun, begin + length);
        }
        let effect = [write(99, 0..WORDS), Effect::Zero, write(99, 2..3)][last].clone();
        let begun = history.begin(400, effect.clone());
        history.end(begun, 410);
        let want: BTreeSet<Value> = [if effect == Effect::Zero { Value::Zero } else { Value::Generation(99) }].into();
        prop_assert_eq!(history.allowed(2, 500, 600), want);
    }
}

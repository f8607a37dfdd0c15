//! How often the verdicts are wrong: rounds drawn at rates that are known, put through the same schedule, stopping rules
//! and judge as rounds of guests.

mod draw;
mod rare;
mod table;
mod world;

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::analysis::stats::interval::{self, Interval};
use crate::analysis::{Results, Verdict};
use crate::journal::Entry;
use crate::journal::rules::Rule;
use crate::run::sequence::Sequence;

pub use rare::worst_by_rounds;
pub use table::markdown;
pub use world::{Open, Truth, World, run_started as started};

/// What came out of many runs in one world.
#[derive(Debug, Clone, PartialEq)]
pub struct Tally {
    /// The world.
    pub world: World,
    /// Runs.
    pub runs: u64,
    /// How often each verdict came out; those that never did are not listed.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Runs whose verdict is wrong in this world.
    pub wrong: u64,
    /// Probability of a `fixed` in this world, where that is wrong: the average over the runs of its exact probability given
    /// the base's rounds, so that it is known however small it is.
    pub false_fixed: Option<f64>,
    /// Rounds of the base, on average.
    pub base_rounds: f64,
    /// Rounds of the patched side, on average.
    pub patched_rounds: f64,
}

impl Tally {
    /// 95 % interval of the probability of a wrong verdict (Clopper–Pearson).
    pub fn wrong95(&self) -> Interval {
        interval::clopper_pearson(self.wrong, self.runs, 0.95)
    }

    /// How often `verdict` came out.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(verdict.word()).copied().unwrap_or(0)
    }
}

/// Plays `runs` runs in `world` by `rule`. The same seed gives the same tally.
pub fn tally(world: &World, rule: &Rule, runs: u64, seed: u64) -> Tally {
    let mut tally = Tally {
        world: *world,
        runs,
        verdicts: BTreeMap::new(),
        wrong: 0,
        false_fixed: rare::can_be_wrong(world.truth).then_some(0.0),
        base_rounds: 0.0,
        patched_rounds: 0.0,
    };
    for run in 0..runs {
        let results = play(world, rule, seed, run);
        let Some(comparison) = results.comparisons.first() else { continue };
        *tally.verdicts.entry(comparison.verdict.word()).or_default() += 1;
        if let Some(false_fixed) = &mut tally.false_fixed {
            *false_fixed += rare::false_fixed(world, rule, seed, run) / runs as f64;
        }
        tally.wrong += u64::from(world.truth.refutes(comparison.verdict));
        if let Some((base, patched)) = results.sides(comparison) {
            tally.base_rounds += base.rounds.len() as f64 / runs as f64;
            tally.patched_rounds += patched.rounds.len() as f64 / runs as f64;
        }
    }
    tally
}

/// One run from its first round to its verdict, one guest at a time.
pub fn play(world: &World, rule: &Rule, seed: u64, run: u64) -> Results {
    play_with(world, rule, (seed, run), false).results
}

/// A run, and what it was dealt.
struct Play {
    results: Results,
    luck: world::Luck,
}

/// The same; where `clean`, no patched round corrupts, whatever its rate.
fn play_with(world: &World, rule: &Rule, (seed, run): (u64, u64), clean: bool) -> Play {
    // One stream for each run, so that a run's rounds don't depend on how many the runs before it took.
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(run);
    let luck = world.luck(&mut rng);
    let started = world::run_started(world, rule, seed.wrapping_add(run));
    let mut sequence = Sequence::ready(&started);
    let mut entries = vec![Entry::RunStarted(Box::new(started))];
    while let Some(id) = sequence.next_round() {
        let clean = clean && id.cell == world::PATCHED;
        let end = world.round(id, &luck, clean, &mut rng);
        entries.push(Entry::RoundFinished(Box::new(end.clone())));
        let news = sequence.ended(&entries, &end);
        entries.extend(news);
    }
    Play { results: Results::fold(entries), luck }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::rules::Why;

    fn rule(rounds: u32) -> Rule {
        Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds, sequential: true, exact: true }
    }

    fn world(truth: Truth, clustering: f64) -> World {
        World { rate: 0.005, exposures: 2000, clustering, boot_clustering: 0.0, truth }
    }

    /// A small edition of docs/simulation.md, with bounds that a sound judge keeps with this seed and many others.
    #[test]
    fn verdicts_are_right_at_known_rates() {
        const RUNS: u64 = 12;
        for clustering in [0.0, 0.5] {
            let of = |truth| tally(&world(truth, clustering), &rule(24), RUNS, 1);
            let fix = of(Truth::Ratio(0.0));
            assert_eq!(fix.wrong, 0, "a kernel that never corrupts is never not fixed: {fix:?}");
            assert!(fix.count(Verdict::Fixed) > RUNS / 2, "{fix:?}");
            for ratio in [0.5, 1.0, 2.0] {
                let tally = of(Truth::Ratio(ratio));
                assert_eq!(tally.wrong, 0, "{tally:?}");
                assert!(ratio < 1.0 || tally.false_fixed.expect("it corrupts") < 1e-6, "{tally:?}");
            }
            let control = of(Truth::Same);
            assert!(control.wrong <= 1 && control.count(Verdict::NoDifference) >= RUNS - 1, "{control:?}");
        }
    }

    /// A tenth of the levels open is not called fixed, whether a level is a try's or a round's, and whether the judge is told
    /// of them or not.
    #[test]
    fn a_fix_that_leaves_a_tenth_of_the_levels_open_is_not_called_fixed() {
        for (by_round, told) in [(false, true), (false, false), (true, true), (true, false)] {
            for (clustering, boot_clustering) in [(0.0, 0.0), (0.5, 0.5)] {
                let truth = Truth::Open(Open { levels: 10, by_round, told });
                let world = World { rate: 0.1, boot_clustering, ..world(truth, clustering) };
                let tally = tally(&world, &rule(24), 6, 5);
                assert!(tally.false_fixed.expect("it corrupts") < 1e-3, "{tally:?}");
                assert_eq!(tally.wrong, 0, "{tally:?}");
            }
        }
    }

    /// The condition that keeps a tenth of the rate from being `fixed`: without it this fails.
    #[test]
    fn the_residual_rate_is_excluded() {
        let world = World { rate: 0.001, ..world(Truth::Ratio(0.1), 0.0) };
        let strict = tally(&world, &rule(40), 12, 3).false_fixed.expect("it corrupts");
        let lax = Rule { residual: 0.999, alpha: 1e-3, ..rule(40) };
        let lax = tally(&world, &lax, 12, 3).false_fixed.expect("it corrupts");
        assert!(strict < 1e-4 && lax > 1e-3, "{strict} {lax}");
    }

    /// Boots of which each has its own luck: a control whose units are the rounds would raise an alarm in every second run.
    #[test]
    fn boots_alone_are_the_units_of_a_control() {
        let world = World { rate: 0.1, boot_clustering: 1.0, ..world(Truth::Same, 0.0) };
        let tally = tally(&world, &rule(24), 40, 9);
        assert!(tally.wrong <= 1, "{tally:?}");
    }

    #[test]
    fn runs_stop_when_the_answer_is_known_and_use_their_budget_otherwise() {
        let dense = |truth| World { rate: 0.1, ..world(truth, 0.0) };
        for (truth, why) in [(Truth::Ratio(0.0), Why::Fixed), (Truth::Ratio(1.0), Why::StillCorrupts)] {
            let results = play(&dense(truth), &rule(24), 5, 0);
            let stopped: Vec<_> = results.cells.iter().filter_map(|cell| cell.stopped.as_ref()).collect();
            assert_eq!(stopped.iter().map(|it| it.why).collect::<Vec<_>>(), [Why::RateKnown, why]);
            assert!(stopped.iter().all(|it| it.after_rounds < 24), "{stopped:?}");
        }
        for (truth, rule) in [(Truth::Same, rule(10)), (Truth::Ratio(0.0), Rule { sequential: false, ..rule(10) })] {
            let results = play(&dense(truth), &rule, 5, 0);
            assert!(results.cells.iter().all(|cell| cell.rounds.len() == 10 && cell.stopped.is_none()));
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let world = world(Truth::Ratio(0.1), 0.5);
        assert_eq!(play(&world, &rule(8), 1, 2), play(&world, &rule(8), 1, 2));
        assert_ne!(play(&world, &rule(8), 1, 2), play(&world, &rule(8), 1, 3));
    }
}

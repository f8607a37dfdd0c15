//! The statistics against values computed elsewhere, and against their own laws.

use proptest::prelude::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::ratio::{Count, compare, compare_dispersed};
use super::survival::{Time, median};
use super::{beta, cluster, dispersion, fisher, interval, tail};

/// Made by `tests/data/stats-reference.py`, which says how.
const REFERENCE: &str = include_str!("../../../tests/data/stats-reference.json");

/// The cases of one function: (arguments, result).
fn cases(name: &str) -> Vec<(Value, Value)> {
    let all: Value = serde_json::from_str(REFERENCE).expect("the reference is JSON");
    let cases = all[name].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty());
    cases.into_iter().map(|case| (case[0].clone(), case[1].clone())).collect()
}

fn whole(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}

fn real(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[track_caller]
fn near(ours: f64, theirs: f64, relative: f64, what: &Value) {
    let scale = theirs.abs().max(1e-300);
    assert!((ours - theirs).abs() <= relative * scale, "{what}: {ours} here, {theirs} there");
}

#[test]
fn tails_agree_with_mpmath() {
    for (args, ln) in cases("binomial_at_most") {
        near(
            tail::binomial_at_most(whole(&args[0]), whole(&args[1]), real(&args[2]), 1.0 - real(&args[2])).ln(),
            real(&ln),
            1e-10,
            &args,
        );
    }
    for (args, ln) in cases("student_upper") {
        near(beta::student_upper(real(&args[0]), real(&args[1])).ln(), real(&ln), 1e-9, &args);
    }
}

#[test]
fn intervals_agree_with_scipy() {
    for (args, limits) in cases("clopper_pearson") {
        let ours = interval::clopper_pearson(whole(&args[0]), whole(&args[1]), real(&args[2]));
        near(ours.low, real(&limits[0]), 1e-8, &args);
        near(ours.high, real(&limits[1]), 1e-8, &args);
    }
    for (args, limits) in cases("garwood") {
        let ours = interval::poisson(real(&args[0]), real(&args[1]));
        near(ours.low, real(&limits[0]), 1e-7, &args);
        near(ours.high, real(&limits[1]), 1e-7, &args);
    }
    near(interval::rule_of_three(100, 0.95), 0.03, 2e-3, &Value::Null);
}

#[test]
fn tests_agree_with_scipy() {
    for (args, p) in cases("fisher_lower") {
        let ours = fisher::second_is_lower((whole(&args[0]), whole(&args[1])), (whole(&args[2]), whole(&args[3])));
        near(ours.value(), real(&p), 1e-9, &args);
    }
    for (args, expected) in cases("dispersion") {
        let rounds: Vec<Count> = args
            .as_array()
            .expect("rounds")
            .iter()
            .map(|round| Count { events: whole(&round[0]), exposures: whole(&round[1]) })
            .collect();
        let ours = dispersion::index(&[&rounds]).expect("more than one round");
        near(ours.index, real(&expected[0]), 1e-9, &args);
        near(ours.p.value(), real(&expected[1]), 1e-9, &args);
    }
    for (args, expected) in cases("poisson_ratio") {
        let first = Count { events: whole(&args[0]), exposures: whole(&args[1]) };
        let second = Count { events: whole(&args[2]), exposures: whole(&args[3]) };
        let ours = compare(first, second).expect("both are exposed");
        near(ours.p_lower.value(), real(&expected[0]), 1e-8, &args);
        near(ours.upper95, real(&expected[1]), 1e-7, &args);
    }
}

#[test]
fn nothing_against_x_at_equal_exposure_is_half_to_the_x() {
    let ratio =
        compare(Count { events: 8529, exposures: 9000 }, Count { events: 0, exposures: 9000 }).expect("exposed");
    near(ratio.p_lower.ln(), -8529.0 * std::f64::consts::LN_2, 1e-12, &Value::Null);
}

#[test]
fn sides_without_exposures_have_no_ratio() {
    let some = Count { events: 3, exposures: 10 };
    let none = Count { events: 0, exposures: 0 };
    assert!(compare(some, none).is_none() && compare(none, some).is_none());
    assert!(dispersion::index(&[&[some], &[none, none]]).is_none(), "one round has no scatter");
}

#[test]
fn an_empty_round_is_likelier_where_rounds_scatter() {
    let expected = [100.0, 100.0];
    let poisson = cluster::no_event(expected, 100.0, 1.0);
    let clustered = cluster::no_event(expected, 100.0, 20.0);
    near(poisson.ln(), -200.0, 1e-12, &Value::Null);
    // Negative binomial with mean 100 and variance 2,000: shape 100 / 19, p = 1 / 20; scipy.stats.nbinom.logpmf(0, n, p).
    near(clustered.ln(), 2.0 * 100.0 / 19.0 * (1.0f64 / 20.0).ln(), 1e-12, &Value::Null);
}

#[test]
fn kaplan_meier_median_heeds_rounds_that_stayed_clean() {
    let event = |seconds| Time { seconds, event: true };
    let clean = |seconds| Time { seconds, event: false };
    assert_eq!(median(&[event(3.0), event(1.0), event(2.0)]), Some(2.0));
    assert_eq!(median(&[event(1.0), clean(60.0), clean(60.0)]), None, "fewer than half saw it");
    // By hand: at 1 s 3/4 remain, the censored one leaves, at 3 s 3/4 * 1/2.
    assert_eq!(median(&[event(1.0), clean(2.0), event(3.0), event(4.0)]), Some(3.0));
    assert_eq!(median(&[]), None);
}

/// ln P(X = k) for X ~ Poisson(mean).
fn ln_poisson(k: u64, mean: f64) -> f64 {
    k as f64 * mean.ln() - mean - statrs::function::factorial::ln_factorial(k)
}

#[test]
fn intervals_cover_at_least_what_they_promise() {
    // Exact coverage: the probability, over all outcomes, that the interval holds the truth.
    for (n, p) in [(20u64, 0.05), (20, 0.5), (200, 0.01), (200, 0.93)] {
        let covered: f64 = (0..=n)
            .filter(|&k| {
                let it = interval::clopper_pearson(k, n, 0.95);
                it.low <= p && p <= it.high
            })
            .map(|k| super::pmf::ln_binomial(k, n, p, 1.0 - p).exp())
            .sum();
        assert!(covered >= 0.95, "{n} at {p}: {covered}");
    }
    for mean in [0.3, 2.0, 17.5] {
        let covered: f64 = (0..200u64)
            .filter(|&k| {
                let it = interval::poisson(k as f64, 0.95);
                it.low <= mean && mean <= it.high
            })
            .map(|k| ln_poisson(k, mean).exp())
            .sum();
        assert!(covered >= 0.95, "mean {mean}: {covered}");
    }
}

#[test]
fn the_ratios_upper_limit_covers_in_simulation() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut draw = |n: u64, p: f64| (0..n).filter(|_| rng.random_bool(p)).count() as u64;
    for (base, patched) in [(0.05, 0.05), (0.05, 0.01), (0.02, 0.0)] {
        let runs = 1000;
        let covered = (0..runs)
            .filter(|_| {
                let first = Count { events: draw(600, base), exposures: 600 };
                let second = Count { events: draw(400, patched), exposures: 400 };
                compare(first, second).expect("exposed").upper95 >= patched / base
            })
            .count();
        assert!(covered as f64 / f64::from(runs) >= 0.95 - 0.02, "{base} {patched}: {covered} of {runs}");
    }
}

#[test]
fn equal_kernels_that_cluster_rarely_differ() {
    // Rounds draw their own rate, twofold either way: plain counts cry wolf, the clustered test must not.
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let runs = 1000;
    let (mut plain, mut clustered) = (0, 0);
    for _ in 0..runs {
        let mut side = || -> Vec<Count> {
            (0..6)
                .map(|_| {
                    let rate = 0.1 * 2f64.powf(rng.random_range(-1.0..1.0));
                    Count { events: (0..800).filter(|_| rng.random_bool(rate)).count() as u64, exposures: 800 }
                })
                .collect()
        };
        let (a, b) = (side(), side());
        let sum = |side: &[Count]| Count {
            events: side.iter().map(|it| it.events).sum(),
            exposures: side.iter().map(|it| it.exposures).sum(),
        };
        let scatter = dispersion::index(&[&a, &b]).expect("six rounds");
        plain += u32::from(compare(sum(&a), sum(&b)).expect("exposed").p_lower.below(0.01));
        let dispersed = compare_dispersed(sum(&a), sum(&b), scatter.index, scatter.freedom).expect("exposed");
        clustered += u32::from(dispersed.0.below(0.01));
    }
    assert!(plain > 100, "independent exposures must not hold here, or this test proves nothing: {plain}");
    assert!(clustered <= 20, "1 % is allowed: {clustered} of {runs}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tails_are_monotone_and_complete(n in 1u64..3000, k in 0u64..3000, p in 0.001f64..0.999) {
        let k = k % n;
        let below = tail::binomial_at_most(k, n, p, 1.0 - p);
        let above = tail::binomial_at_least(k + 1, n, p, 1.0 - p);
        prop_assert!((below.value() + above.value() - 1.0).abs() < 1e-9);
        prop_assert!(tail::binomial_at_most(k + 1, n, p, 1.0 - p) >= below);
        // The mirror image: failures counted instead of successes.
        let mirror = tail::binomial_at_least(n - k, n, 1.0 - p, p);
        prop_assert!((mirror.ln() - below.ln()).abs() <= 1e-8 * below.ln().abs().max(1e-8));
    }

    #[test]
    fn intervals_grow_with_confidence_and_hold_the_estimate(n in 1u64..5000, k in 0u64..5000, step in 0.01f64..0.2) {
        let k = k % (n + 1);
        let (wide, narrow) = (interval::clopper_pearson(k, n, 0.99), interval::clopper_pearson(k, n, 0.99 - step));
        let estimate = k as f64 / n as f64;
        prop_assert!(wide.low <= narrow.low && narrow.high <= wide.high);
        prop_assert!(narrow.low <= estimate + 1e-12 && estimate <= narrow.high + 1e-12);
        let mirror = interval::clopper_pearson(n - k, n, 0.99);
        prop_assert!((mirror.low - (1.0 - wide.high)).abs() < 1e-9);
    }

    #[test]
    fn more_corruptions_are_less_proof(e1 in 1u64..5000, e2 in 1u64..5000, x1 in 0u64..500, x2 in 0u64..500) {
        let with = |events| compare(Count { events: x1, exposures: e1 }, Count { events, exposures: e2 }).expect("exposed");
        prop_assert!(with(x2).p_lower <= with(x2 + 1).p_lower);
        prop_assert!(with(x2).upper95 <= with(x2 + 1).upper95);
        // Swapped sides tell the same story the other way round.
        let swapped = compare(Count { events: x2, exposures: e2 }, Count { events: x1, exposures: e1 }).expect("exposed");
        prop_assert!((swapped.p_higher.ln() - with(x2).p_lower.ln()).abs() < 1e-7 * (1.0 + with(x2).p_lower.ln().abs()));
    }

    #[test]
    fn fisher_is_symmetric_and_monotone(a in 0u64..30, b in 0u64..30, c in 0u64..30, d in 0u64..30) {
        let lower = fisher::second_is_lower((a, b), (c, d));
        let swapped = fisher::second_is_higher((c, d), (a, b));
        prop_assert!((lower.value() - swapped.value()).abs() < 1e-9);
        prop_assert!(fisher::second_is_lower((a, b), (c, d + 1)).value() <= lower.value() + 1e-9);
    }
}

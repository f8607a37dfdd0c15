//! Wrong verdicts that are too rare to be counted.

use super::world::{Luck, Open, PATCHED, Truth, World};
use super::{Play, play_with};
use crate::analysis::stats::{fisher, permutation};
use crate::analysis::{Results, Verdict};
use crate::journal::rules::Rule;

/// Probability that one run calls the patched kernel of `world` fixed, over all that its patched rounds might have shown.
///
/// `fixed` needs every patched round clean, and what a clean side leads to hangs on the base alone. So the run is played with
/// a patched side that is clean whatever its rate, and if that is called fixed, the result is the exact probability that
/// these rounds would all have been clean; the average over runs has no rare event left in it. Source: C. R. Rao, Bulletin
/// of the Calcutta Mathematical Society 37 (1945) 81–91, and D. Blackwell, Annals of Mathematical Statistics 18 (1947)
/// 105–110 (conditioning on what is known exactly).
pub(super) fn false_fixed(world: &World, rule: &Rule, seed: u64, run: u64) -> f64 {
    let Play { results, luck } = play_with(world, rule, (seed, run), true);
    if results.comparisons.first().is_none_or(|it| it.verdict != Verdict::Fixed) {
        return 0.0;
    }
    chance_of_clean(world, &results, &luck)
}

/// Whether [`false_fixed`] tells anything: a patched kernel that can corrupt at all.
pub(super) fn can_be_wrong(truth: Truth) -> bool {
    match truth {
        Truth::Ratio(ratio) => ratio > 0.0,
        Truth::Open(Open { .. }) => true,
        Truth::Same => false,
    }
}

fn chance_of_clean(world: &World, results: &Results, luck: &Luck) -> f64 {
    let Some(cell) = results.cell(PATCHED) else { return 1.0 };
    let mut boots: Vec<Vec<f64>> = vec![Vec::new(); world.boots() as usize];
    for round in &cell.rounds {
        boots[world.boot(round.number)].push(world.expected_of_patched(round.number, luck));
    }
    boots.iter().map(|rounds| clean_boot(rounds, world.clustering, world.boot_clustering)).product()
}

/// Intervals of Simpson's rule.
const STEPS: u32 = 2000;

/// Probability that rounds of one boot, which expect so many corruptions each, are all clean: each round's factor is gamma
/// distributed and so is the boot's, with these variances.
fn clean_boot(rounds: &[f64], clustering: f64, boot_clustering: f64) -> f64 {
    let given = |boot: f64| -> f64 {
        let ln = |expected: &f64| {
            let mean = expected * boot;
            if clustering > 0.0 { -(clustering * mean).ln_1p() / clustering } else { -mean }
        };
        rounds.iter().map(ln).sum::<f64>().exp()
    };
    if boot_clustering <= 0.0 {
        return given(1.0);
    }
    // Simpson's rule over the factor's logarithm, in which the density is smooth and both tails are cut where they are
    // negligible.
    let shape = boot_clustering.recip();
    let ln_density = |x: f64| {
        let ln_gamma = statrs::function::gamma::ln_gamma(shape);
        shape * shape.ln() - ln_gamma + shape * x - shape * x.exp()
    };
    let (from, to) = (-60.0 * boot_clustering.max(0.2), 4.0 + boot_clustering);
    let width = (to - from) / f64::from(STEPS);
    let part = |step: u32| {
        let x = from + width * f64::from(step);
        let weight = match step {
            0 | STEPS => 1.0,
            _ if step % 2 == 1 => 4.0,
            _ => 2.0,
        };
        weight * ln_density(x).exp() * given(x.exp())
    };
    (0..=STEPS).map(part).sum::<f64>() * width / 3.0
}

/// The largest probability, over all shares of corrupt rounds, that two sides of the same rate end in p-values over rounds
/// below alpha with a clean patched side, at any look: exact for rounds that are independent.
///
/// The base leads alone for any number of rounds that the rule allows, then the sides take turns. At each look the patched
/// side is clean with `(1 - q)^n`, and the base's corrupt rounds are binomial; paths that were called fixed are not
/// followed any further.
pub fn worst_by_rounds(rule: &Rule) -> (f64, f64) {
    let leads = rule.min_rounds..=rule.rounds.saturating_sub(rule.min_rounds).max(rule.min_rounds);
    let shares = (1..200u32).map(|step| f64::from(step) / 200.0);
    shares
        .flat_map(|share| leads.clone().map(move |lead| (share, by_rounds(rule, lead, share))))
        .fold((0.0, 0.0), |worst, (share, p)| if p > worst.1 { (share, p) } else { worst })
}

fn by_rounds(rule: &Rule, lead: u32, share: f64) -> f64 {
    // open[k]: probability that the base has k corrupt rounds, and nothing was called fixed so far, given a clean patched side.
    let mut open = vec![1.0];
    let (mut base, mut patched, mut fixed) = (0u32, 0u32, 0.0);
    let grow = |open: &mut Vec<f64>, base: &mut u32| {
        let mut next = vec![0.0; open.len() + 1];
        for (corrupt, p) in open.iter().enumerate() {
            next[corrupt] += p * (1.0 - share);
            next[corrupt + 1] += p * share;
        }
        (*open, *base) = (next, *base + 1);
    };
    for _ in 0..lead {
        grow(&mut open, &mut base);
    }
    while patched < rule.rounds {
        patched += 1;
        if base < rule.rounds {
            grow(&mut open, &mut base);
        }
        if !permutation::smallest(base as usize, patched as usize).below(rule.alpha) {
            continue;
        }
        let clean = (1.0 - share).powi(i32::try_from(patched).unwrap_or(i32::MAX));
        for (corrupt, p) in open.iter_mut().enumerate() {
            let (corrupt, base) = (corrupt as u64, u64::from(base));
            if fisher::second_is_lower((corrupt, base - corrupt), (0, u64::from(patched))).below(rule.alpha) {
                fixed += *p * clean;
                *p = 0.0;
            }
        }
    }
    fixed
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::simulation::draw;

    const DRAWS: u32 = 40_000;
    const RULE: Rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 24, sequential: true, exact: true };

    #[test]
    fn looking_after_every_round_keeps_alpha_for_every_share_of_corrupt_rounds() {
        let (share, p) = worst_by_rounds(&RULE);
        assert!(p > 1e-9 && p < RULE.alpha, "{p} at {share}");
        let loose = worst_by_rounds(&Rule { alpha: 0.05, ..RULE }).1;
        assert!(loose > 1e-3 && loose < 0.05, "{loose}");
    }

    #[test]
    fn the_chance_of_a_clean_boot_is_that_of_drawing_it() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        for (clustering, boots) in [(0.0, 0.5), (0.5, 0.5), (0.5, 0.0), (1.0, 2.0)] {
            let rounds = [0.4, 0.8, 0.2];
            let clean = (0..DRAWS).filter(|_| {
                let boot = draw::gamma(boots, &mut rng);
                rounds.iter().all(|mean| draw::poisson(mean * boot * draw::gamma(clustering, &mut rng), &mut rng) == 0)
            });
            let seen = clean.count() as f64 / f64::from(DRAWS);
            let exact = clean_boot(&rounds, clustering, boots);
            assert!((seen - exact).abs() < 0.01, "{clustering} {boots}: {seen} drawn, {exact}");
        }
        // Far out, where nothing could be counted: exp(-300) without any clustering.
        assert!((clean_boot(&[100.0; 3], 0.0, 0.0).ln() + 300.0).abs() < 1e-9);
        // With a shape of 2, (1 + 300/2)^-2 in closed form.
        assert!((clean_boot(&[100.0; 3], 0.0, 0.5) * 151f64.powi(2) - 1.0).abs() < 1e-6);
    }
}

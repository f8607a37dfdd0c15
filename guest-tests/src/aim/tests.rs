use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

/// A victim and a timer, each with a fifth of scatter, and a host that is away for a while in one try of fifty.
#[derive(Clone, Copy)]
struct World {
    lead: u64,
    length: u64,
    latency: u64,
    /// The part of the operation in which landings happen, in hundredths of it.
    open: (u64, u64),
}

const fn world(lead: u64, length: u64, latency: u64) -> World {
    World { lead, length, latency, open: (0, 100) }
}

/// Of some shots, the share that landed, and of those the share that did in the second half of the open part.
struct Hits {
    landed: f64,
    second_half: f64,
}

/// Shoots so often, and looks at the last `of` shots.
fn shoot(aim: &mut Aim, rng: &mut ChaCha8Rng, world: World, shots: u32, of: u32) -> Hits {
    let (mut landed, mut second_half) = (0, 0);
    let mut shot = 0;
    while shot < shots {
        let mut noise = |mean: u64| mean * rng.random_range(80..=120) / 100;
        let (lead, length, mut latency) = (noise(world.lead), noise(world.length), noise(world.latency));
        if rng.random_ratio(1, 50) {
            latency += 200_000;
        }
        let Some(point) = aim.next(rng) else {
            aim.learn(&Sample { timing: Timing::Calibration, lead, length, landed: false, came: 0, ran: true });
            continue;
        };
        let (came, start) = (point.delay + latency, lead.max(point.start));
        let place = (came.saturating_sub(start)) * 100 / length;
        let timing = match came {
            came if came < start => Timing::Early,
            came if came < start + length => Timing::Inside,
            _ => Timing::Late,
        };
        let hit = timing == Timing::Inside && (world.open.0..world.open.1).contains(&place);
        let length = if hit { length * 5 } else { length };
        aim.learn(&Sample { timing, lead, length, landed: hit, came: came.saturating_sub(start), ran: came >= start });
        if shots - shot <= of && hit {
            landed += 1;
            second_half += u32::from(place * 2 > world.open.0 + world.open.1);
        }
        shot += 1;
    }
    Hits { landed: f64::from(landed) / f64::from(of), second_half: f64::from(second_half) / f64::from(landed.max(1)) }
}

/// Mean over many seeds of what `measure` makes of a fresh aim.
fn mean(mut measure: impl FnMut(&mut Aim, &mut ChaCha8Rng) -> f64) -> f64 {
    const SEEDS: u32 = 40;
    let run = |seed| measure(&mut Aim::default(), &mut ChaCha8Rng::seed_from_u64(u64::from(seed)));
    (0..SEEDS).map(run).sum::<f64>() / f64::from(SEEDS)
}

const WORLDS: [World; 7] = [
    world(40_000, 60_000, 15_000),
    world(35_000, 9_000, 30_000),
    world(100_000, 30_000, 80_000),
    world(1_000, 2_000_000, 5_000),
    // The timer takes longer than the operation is away: the victim has to be held back.
    world(10_000, 60_000, 200_000),
    world(5_000, 40_000, 400_000),
    World { lead: 10_000, length: 60_000, latency: 30_000, open: (10, 60) },
];

#[test]
fn a_hundred_shots_from_nothing_it_lands_as_often_as_it_ever_will() {
    for (index, world) in WORLDS.into_iter().enumerate() {
        let soon = mean(|aim, rng| shoot(aim, rng, world, 100, 30).landed);
        let settled = mean(|aim, rng| shoot(aim, rng, world, 2000, 1000).landed);
        assert!(soon > settled * 0.9, "world {index}: {soon:.2} after 100 shots, {settled:.2} in the end");
        // The scatter of the second and sixth is wider than the operation.
        assert!(settled > if [1, 5].contains(&index) { 0.2 } else { 0.5 }, "world {index}: {settled:.2} in the end");
    }
}

#[test]
fn a_hundred_shots_from_an_estimate_that_is_off_it_lands_as_often() {
    let world = WORLDS[0];
    let settled = mean(|aim, rng| shoot(aim, rng, world, 2000, 1000).landed);
    for off in [-400_000.0, -100_000.0, 100_000.0, 400_000.0] {
        let soon = mean(|aim, rng| {
            aim.shift = off;
            shoot(aim, rng, world, 100, 30).landed
        });
        assert!(soon > settled * 0.9, "{soon:.2} from {off} ns off, {settled:.2} in the end");
    }
}

#[test]
fn a_hundred_shots_after_a_step_it_lands_as_often() {
    let calm = world(20_000, 50_000, 30_000);
    for (name, changed) in [
        ("lead", world(120_000, 50_000, 30_000)),
        ("latency", world(20_000, 50_000, 150_000)),
        ("a longer operation", world(20_000, 300_000, 30_000)),
        ("a shorter operation", world(20_000, 15_000, 15_000)),
    ] {
        let settled = mean(|aim, rng| shoot(aim, rng, changed, 2000, 1000).landed);
        let soon = mean(|aim, rng| {
            shoot(aim, rng, calm, 500, 1);
            shoot(aim, rng, changed, 100, 30).landed
        });
        assert!(soon > settled * 0.9, "{name}: {soon:.2} after 100 shots, {settled:.2} in the end");
    }
}

#[test]
fn it_lands_anywhere_in_what_is_open_and_not_in_some_part_of_it() {
    for (index, world) in WORLDS.into_iter().enumerate() {
        for seed in 0..10 {
            let (mut aim, mut rng) = (Aim::default(), ChaCha8Rng::seed_from_u64(seed));
            let half = shoot(&mut aim, &mut rng, world, 2000, 1000).second_half;
            assert!((0.3..0.7).contains(&half), "world {index}, seed {seed}: {half} in the second half");
        }
    }
}

#[test]
fn it_covers_an_operation_that_becomes_longer_and_shorter_again() {
    let (mut aim, mut rng) = (Aim::default(), ChaCha8Rng::seed_from_u64(2));
    for length in [50_000, 500_000, 25_000] {
        let hits = shoot(&mut aim, &mut rng, world(60_000, length, 10_000), 2000, 1000);
        assert!(hits.landed > 0.4, "{} of the shots landed at {length}", hits.landed);
        assert!((0.3..0.7).contains(&hits.second_half), "{} in the second half at {length}", hits.second_half);
    }
}

#[test]
fn one_absence_of_the_host_moves_little() {
    let mut aim = Aim::default();
    let undisturbed = Sample { timing: Timing::Calibration, lead: 40, length: 100, landed: false, came: 0, ran: true };
    for _ in 0..CALIBRATION {
        aim.learn(&undisturbed);
    }
    aim.learn(&Sample { timing: Timing::Late, length: 50_000_000, ..undisturbed });
    assert!(aim.length.get() < 150.0, "{aim:?}");
}

#[test]
fn the_point_is_anywhere_in_the_window_and_before_the_origin_the_victim_waits() {
    let mut aim = Aim::default();
    for _ in 0..CALIBRATION {
        assert_eq!(aim.next(&mut ChaCha8Rng::seed_from_u64(0)), None);
        aim.learn(&Sample { timing: Timing::Calibration, lead: 1000, length: 1000, landed: false, came: 0, ran: true });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut points = |shift: f64| -> Vec<Point> {
        aim.shift = shift;
        (0..1000).filter_map(|_| aim.next(&mut rng)).collect()
    };
    let inside = points(0.0);
    assert!(inside.iter().all(|point| (750..2250).contains(&point.delay) && point.start == 1000));
    assert!(inside.iter().any(|point| point.delay < 850) && inside.iter().any(|point| point.delay > 2150));
    let held = points(-5000.0);
    assert!(held.iter().all(|point| point.delay == 0 && (3750..=5250).contains(&point.start)), "{held:?}");
}

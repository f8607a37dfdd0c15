//! Where to put the interference: a random point of a window that follows the victim's own timing.
//!
//! All times are nanoseconds from the moment both sides agreed on a try (its *origin*). The victim's operation starts
//! `lead` after that and lasts `length` when nobody interferes. How long a timer's interrupt takes to come can't be
//! measured from outside, so the window is shifted until as many tries come too early as too late. Tries that miss show
//! all three, so the window follows a host that gets slower or faster.
//!
//! An operation's length is only seen when the interference comes late, which favours short ones. So the window is also
//! widened until enough tries miss; one that never misses would settle on some part of the operation, another one in each
//! round, and find the race there or not.

use rand::Rng;

/// Undisturbed tries before the first shot.
const CALIBRATION: u32 = 8;

/// The narrowest window as a multiple of the victim's operation, around its middle; both ends make misses, which keep
/// the estimates honest.
const NARROWEST: f64 = 1.5;

/// The widest one: further out the estimate of the operation's length is no longer one.
const WIDEST: f64 = 24.0;

/// Tries that should come inside: what the narrowest window makes of a length that is known well.
const INSIDE: f64 = 1.0 / NARROWEST;

/// Step of a settled estimate, as a part of it.
const STEP: f64 = 1.0 / 16.0;

/// When the interferer came, seen from the victim's operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// Not asked to come: the estimates are being made.
    Calibration,
    /// Before it began.
    Early,
    /// While it ran.
    Inside,
    /// After it had ended.
    Late,
}

/// What a try showed.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When the interferer came.
    pub timing: Timing,
    /// From the origin to the operation's start.
    pub lead: u64,
    /// From the operation's start to its end.
    pub length: u64,
}

/// A running median: each sample moves it one step up or down, so that a host that was away for milliseconds weighs no
/// more than any other sample. (The stochastic approximation of Robbins and Monro, Ann. Math. Statist. 22, 1951, with the
/// step kept from vanishing.)
#[derive(Debug, Clone, Copy, Default)]
struct Estimate {
    median: f64,
    samples: u32,
}

impl Estimate {
    fn learn(&mut self, sample: u64) {
        let sample = sample as f64;
        if self.samples == 0 {
            self.median = sample;
        }
        self.samples = self.samples.saturating_add(1);
        // Long steps first, to get away from an unlucky first sample.
        let step = self.median.max(1.0) * STEP.max(1.0 / f64::from(self.samples + 1));
        self.median += (sample - self.median).clamp(-step, step);
    }

    fn get(self) -> f64 {
        self.median
    }
}

/// The aim of one strategy.
#[derive(Debug, Clone)]
pub struct Aim {
    seen: u32,
    lead: Estimate,
    length: Estimate,
    shift: f64,
    /// Width of the window as a multiple of `length`.
    stretch: f64,
    early: u64,
    inside: u64,
    late: u64,
}

impl Default for Aim {
    fn default() -> Self {
        let (lead, length) = (Estimate::default(), Estimate::default());
        Self { seen: 0, lead, length, shift: 0.0, stretch: NARROWEST, early: 0, inside: 0, late: 0 }
    }
}

impl Aim {
    /// Delay after the origin at which to ask for the interference; none while undisturbed tries are wanted.
    pub fn next(&self, rng: &mut impl Rng) -> Option<u64> {
        if self.seen < CALIBRATION {
            return None;
        }
        let from_start = 0.5 + self.stretch * (rng.random::<f64>() - 0.5);
        let point = self.lead.get() + from_start * self.length.get() + self.shift;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded below by 0, far below 2^64"
        )]
        Some(point.max(0.0) as u64)
    }

    /// Learns from one try what its interference has left untouched: after an early one nothing of the operation's time,
    /// after one inside only when the operation began.
    pub fn learn(&mut self, sample: &Sample) {
        self.seen = self.seen.saturating_add(1);
        self.early += u64::from(sample.timing == Timing::Early);
        self.inside += u64::from(sample.timing == Timing::Inside);
        self.late += u64::from(sample.timing == Timing::Late);
        match sample.timing {
            Timing::Calibration | Timing::Late => {
                self.lead.learn(sample.lead);
                self.length.learn(sample.length);
            }
            Timing::Inside => self.lead.learn(sample.lead),
            Timing::Early => {}
        }
        // In balance where a share of `INSIDE` comes inside.
        let widen = match sample.timing {
            Timing::Calibration => 0.0,
            Timing::Inside => 1.0 - INSIDE,
            Timing::Early | Timing::Late => -INSIDE,
        };
        self.stretch = (self.stretch * (STEP * widen).exp()).clamp(NARROWEST, WIDEST);
        let step = match sample.timing {
            Timing::Early => STEP,
            Timing::Late => -STEP,
            Timing::Calibration | Timing::Inside => return,
        };
        // Nothing can be asked for before the origin.
        self.shift = (self.shift + step * self.stretch / NARROWEST * self.length.get())
            .max(-self.lead.get() - self.length.get());
    }

    /// The estimates, for people.
    pub fn details(&self) -> Vec<(String, String)> {
        let micros = |name: &str, estimate: Estimate| (name.to_owned(), format!("{:.1} us", estimate.get() / 1000.0));
        vec![
            micros("operation starts after", self.lead),
            micros("operation lasts", self.length),
            ("aim shifted by".to_owned(), format!("{:.1} us", self.shift / 1000.0)),
            ("aim stretched to".to_owned(), format!("{:.1} times the operation", self.stretch)),
            ("early, inside, late".to_owned(), format!("{}, {}, {}", self.early, self.inside, self.late)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A victim and a timer with noise; `tries` shots, and of the last half the share that came inside, and the share of
    /// those that came in the operation's second half.
    fn simulate(
        aim: &mut Aim,
        rng: &mut ChaCha8Rng,
        (lead, length, latency): (f64, f64, f64),
        tries: u32,
    ) -> (f64, f64) {
        let (mut inside, mut second_half) = (0, 0);
        for attempt in 0..tries {
            let mut noise = |mean: f64| (mean * rng.random_range(0.8..1.2)) as u64;
            let (lead, length, latency) = (noise(lead), noise(length), noise(latency));
            let mut came_at = 0;
            let sample = match aim.next(rng) {
                None => Sample { timing: Timing::Calibration, lead, length },
                Some(delay) => {
                    let came = delay + latency;
                    came_at = came;
                    let timing = match came {
                        came if came < lead => Timing::Early,
                        came if came < lead + length => Timing::Inside,
                        _ => Timing::Late,
                    };
                    let length = if timing == Timing::Inside { length * 5 } else { length };
                    Sample { timing, lead, length }
                }
            };
            aim.learn(&sample);
            let hit = attempt >= tries / 2 && sample.timing == Timing::Inside;
            inside += u32::from(hit);
            second_half += u32::from(hit && came_at > lead + length / 2);
        }
        (f64::from(inside) / f64::from(tries - tries / 2), f64::from(second_half) / f64::from(inside.max(1)))
    }

    #[test]
    fn it_finds_the_fault_whatever_its_place_and_length() {
        for (lead, length, latency) in [(40e3, 60e3, 15e3), (35e3, 9e3, 30e3), (100e3, 30e3, 80e3), (1e3, 2e6, 5e3)] {
            let (share, _) =
                simulate(&mut Aim::default(), &mut ChaCha8Rng::seed_from_u64(1), (lead, length, latency), 2000);
            assert!(share > 0.4, "{share} of the shots inside for {lead}+{length}, latency {latency}");
        }
    }

    #[test]
    fn it_follows_a_victim_that_becomes_slower_and_faster_again() {
        let (mut aim, mut rng) = (Aim::default(), ChaCha8Rng::seed_from_u64(2));
        for length in [50e3, 500e3, 25e3] {
            let (share, second_half) = simulate(&mut aim, &mut rng, (60e3, length, 10e3), 4000);
            assert!(share > 0.4, "{share} of the shots inside at {length}");
            assert!((0.3..0.7).contains(&second_half), "{second_half} of them in the second half at {length}");
        }
    }

    #[test]
    fn one_absence_of_the_host_moves_little() {
        let mut aim = Aim::default();
        for _ in 0..CALIBRATION {
            aim.learn(&Sample { timing: Timing::Calibration, lead: 40, length: 100 });
        }
        aim.learn(&Sample { timing: Timing::Late, lead: 40, length: 50_000_000 });
        assert!(aim.length.get() < 150.0, "{aim:?}");
    }

    #[test]
    fn the_point_is_anywhere_in_the_window() {
        let mut aim = Aim::default();
        for _ in 0..CALIBRATION {
            assert_eq!(aim.next(&mut ChaCha8Rng::seed_from_u64(0)), None);
            aim.learn(&Sample { timing: Timing::Calibration, lead: 1000, length: 1000 });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let points: Vec<u64> = (0..1000).filter_map(|_| aim.next(&mut rng)).collect();
        assert!(points.iter().all(|point| (750..2250).contains(point)));
        assert!(points.iter().any(|&point| point < 850) && points.iter().any(|&point| point > 2150));
    }
}

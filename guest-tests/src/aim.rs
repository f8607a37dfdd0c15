//! Where to put the interference: a random point of a window that follows the victim's own timing.
//!
//! All times are nanoseconds from the moment both sides agreed on a try (its *origin*). The victim's operation starts
//! `lead` after that and lasts `length` when nobody interferes; the interferer comes `latency` after the time it asked
//! for. Tries that missed show all three, so the window follows a host that gets slower or faster.

use rand::Rng;

/// Undisturbed tries before the first shot.
const CALIBRATION: u32 = 8;

/// The window as a multiple of the victim's operation; its tail makes misses, which keep the estimates honest.
const STRETCH: f64 = 1.5;

/// Weight of a new sample.
const GAIN: f64 = 1.0 / 8.0;

/// A sample this many times the estimate counts as this many times: the host was away, not the victim slow.
const OUTLIER: f64 = 4.0;

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
    /// From the time the interferer asked for to the time it came; none if that says nothing about this aim.
    pub latency: Option<u64>,
}

/// A running mean that bounds what one sample can do.
#[derive(Debug, Clone, Copy, Default)]
struct Estimate(Option<f64>);

impl Estimate {
    fn learn(&mut self, sample: u64) {
        let sample = sample as f64;
        self.0 = Some(match self.0 {
            None => sample,
            Some(mean) => mean + GAIN * (sample.min(mean * OUTLIER + 1.0) - mean),
        });
    }

    fn get(self) -> f64 {
        self.0.unwrap_or(0.0)
    }
}

/// The aim of one strategy.
#[derive(Debug, Clone, Default)]
pub struct Aim {
    seen: u32,
    lead: Estimate,
    length: Estimate,
    latency: Estimate,
}

impl Aim {
    /// Delay after the origin at which to ask for the interference; none while undisturbed tries are wanted.
    pub fn next(&self, rng: &mut impl Rng) -> Option<u64> {
        if self.seen < CALIBRATION {
            return None;
        }
        let point = self.lead.get() + rng.random::<f64>() * STRETCH * self.length.get() - self.latency.get();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bounded below by 0, far below 2^64"
        )]
        Some(point.max(0.0) as u64)
    }

    /// Learns from one try. An interrupted operation tells nothing about its length.
    pub fn learn(&mut self, sample: &Sample) {
        self.seen = self.seen.saturating_add(1);
        if let Some(latency) = sample.latency {
            self.latency.learn(latency);
        }
        match sample.timing {
            Timing::Calibration | Timing::Late => {
                self.lead.learn(sample.lead);
                self.length.learn(sample.length);
            }
            // The interference itself sits in this lead: a step is all that may be concluded.
            Timing::Early => self.lead.0 = Some(self.lead.get() + GAIN * self.length.get()),
            Timing::Inside => {}
        }
    }

    /// The estimates, for people.
    pub fn details(&self) -> Vec<(String, String)> {
        let micros = |name: &str, estimate: Estimate| (name.to_owned(), format!("{:.1} us", estimate.get() / 1000.0));
        vec![
            micros("operation starts after", self.lead),
            micros("operation lasts", self.length),
            micros("interferer's latency", self.latency),
        ]
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A victim and a timer with noise; `tries` shots, and how many of the last half came inside.
    fn simulate(aim: &mut Aim, rng: &mut ChaCha8Rng, (lead, length, latency): (f64, f64, f64), tries: u32) -> f64 {
        let mut inside = 0;
        for attempt in 0..tries {
            let mut noise = |mean: f64| (mean * rng.random_range(0.8..1.2)) as u64;
            let (lead, length, latency) = (noise(lead), noise(length), noise(latency));
            let sample = match aim.next(rng) {
                None => Sample { timing: Timing::Calibration, lead, length, latency: None },
                Some(delay) => {
                    let came = delay + latency;
                    let timing = match came {
                        came if came < lead => Timing::Early,
                        came if came < lead + length => Timing::Inside,
                        _ => Timing::Late,
                    };
                    let length = if timing == Timing::Inside { length * 5 } else { length };
                    Sample { timing, lead, length, latency: Some(latency) }
                }
            };
            aim.learn(&sample);
            inside += u32::from(attempt >= tries / 2 && sample.timing == Timing::Inside);
        }
        f64::from(inside) / f64::from(tries - tries / 2)
    }

    #[test]
    fn it_finds_the_fault_whatever_its_place_and_length() {
        for (lead, length, latency) in [(40e3, 60e3, 15e3), (5e3, 9e3, 30e3), (400e3, 30e3, 80e3), (1e3, 2e6, 5e3)] {
            let share = simulate(&mut Aim::default(), &mut ChaCha8Rng::seed_from_u64(1), (lead, length, latency), 2000);
            // 30 µs of latency can't be aimed into a fault that is over 14 µs after the origin.
            let reachable = latency < lead + length;
            assert_eq!(share > 0.25, reachable, "{share} of the shots inside for {lead}+{length}, latency {latency}");
        }
    }

    #[test]
    fn it_follows_a_victim_that_becomes_slower_and_faster_again() {
        let (mut aim, mut rng) = (Aim::default(), ChaCha8Rng::seed_from_u64(2));
        for length in [50e3, 500e3, 25e3] {
            let share = simulate(&mut aim, &mut rng, (60e3, length, 10e3), 4000);
            assert!(share > 0.4, "{share} of the shots inside at {length}");
        }
    }

    #[test]
    fn one_absence_of_the_host_moves_little() {
        let mut aim = Aim::default();
        for _ in 0..CALIBRATION {
            aim.learn(&Sample { timing: Timing::Calibration, lead: 40, length: 100, latency: None });
        }
        aim.learn(&Sample { timing: Timing::Late, lead: 40, length: 50_000_000, latency: None });
        assert!(aim.length.get() < 150.0, "{aim:?}");
    }

    #[test]
    fn the_point_is_anywhere_in_the_window() {
        let mut aim = Aim::default();
        for _ in 0..CALIBRATION {
            assert_eq!(aim.next(&mut ChaCha8Rng::seed_from_u64(0)), None);
            aim.learn(&Sample { timing: Timing::Calibration, lead: 1000, length: 1000, latency: None });
        }
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let points: Vec<u64> = (0..1000).filter_map(|_| aim.next(&mut rng)).collect();
        assert!(points.iter().all(|point| (1000..2500).contains(point)));
        assert!(points.iter().any(|&point| point < 1100) && points.iter().any(|&point| point > 2400));
    }
}

//! The loop that races a target with a strategy.

use std::sync::mpsc::Sender;

use rand_chacha::ChaCha8Rng;
use twinboot_protocol::{Corruption, CorruptionKind, Counts, Factor, PartTime, StopReason, SwapEntry};

use crate::aim::Timing;
use crate::error::Error;
use crate::factors::{Counters, Varied};
use crate::profile::Histogram;
use crate::records::Tally;
use crate::stop::Stop;
use crate::strategy::{Shot, Strategy};
use crate::sys::signals;

/// What is raced, seen from the victim's thread. The interferer's side is the [`Interference`](crate::strategy::Interference).
pub trait Target {
    /// Brings it into the state in which a try can begin.
    fn prepare(&mut self) -> Result<(), Error>;

    /// Draws the level of each factor that it varies from try to try; asked before each try.
    fn draw(&mut self, _rng: &mut ChaCha8Rng) {}

    /// The factors that it varies, at the levels that were drawn last. Always the same ones in the same order.
    fn varied(&self) -> Vec<&Varied> {
        Vec::new()
    }

    /// The operation that is attacked.
    fn victim(&mut self);

    /// Looks at what came of it, with both sides quiet.
    fn judge(&mut self, shot: Shot) -> Result<Judgement, Error>;

    /// Looks, once, at everything that should have stayed untouched.
    fn inspect_bystanders(&mut self) -> Result<Vec<Damage>, Error>;

    /// Figures for people, as (name, value with unit).
    fn details(&self) -> Vec<(String, String)>;

    /// Where the time of its own parts of a try went.
    fn profile(&self) -> Vec<PartTime> {
        Vec::new()
    }
}

/// What a target found after a try.
#[derive(Debug, Clone, Default)]
pub struct Judgement {
    /// Whether the resource the race needs again (for swap: the entry) was the same as before.
    pub reused: bool,
    /// What the oracle objected to.
    pub damage: Option<Damage>,
}

/// A failed oracle; the fields are those of [`Corruption`].
#[expect(missing_docs, reason = "documented at `Corruption`")]
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    pub page: u64,
    pub expected: u64,
    pub found: u64,
    pub kind: CorruptionKind,
    pub entry_before: Option<SwapEntry>,
    pub entry_after: Option<SwapEntry>,
}

impl Damage {
    fn record(self, elapsed_ns: u64, attempt: u64) -> Corruption {
        let Self { page, expected, found, kind, entry_before, entry_after } = self;
        Corruption { elapsed_ns, attempt, page, expected, found, kind, entry_before, entry_after }
    }
}

/// How a race ended.
#[derive(Debug, Clone)]
pub struct Finish {
    /// Final counters.
    pub counts: Counts,
    /// Time of the first corruption, nanoseconds from the first try.
    pub first_corruption_ns: Option<u64>,
    /// Why it ended.
    pub stopped_by: StopReason,
    /// Counters by level of what was varied.
    pub factors: Vec<Factor>,
    /// Where the time of a try went, as far as this loop sees it.
    pub profile: Vec<PartTime>,
}

/// The racing thread's surroundings.
pub struct Race<'a> {
    /// Source of every random choice.
    pub rng: ChaCha8Rng,
    /// When to stop.
    pub stop: Stop,
    /// Counters for the thread that writes.
    pub tally: &'a Tally,
    /// Takes each corruption; nobody waits at the other end.
    pub corruptions: &'a Sender<Corruption>,
}

impl Race<'_> {
    /// Races until a stop condition holds. Undisturbed tries, which strategies make to take aim, don't count.
    pub fn run(mut self, target: &mut dyn Target, strategy: &mut dyn Strategy) -> Result<Finish, Error> {
        let mut counts = Counts::default();
        let mut first = None;
        let mut times = Times::default();
        let mut counters = Counters::default();
        self.tally.begin();
        let stopped_by = loop {
            let elapsed = self.tally.elapsed_ns();
            times.next_try(elapsed);
            if let Some(reason) = self.stop.reached(&counts, elapsed) {
                break reason;
            }
            if signals::asked_to_stop() {
                break StopReason::Signal;
            }
            target.draw(&mut self.rng);
            target.prepare()?;
            let shot = strategy.shoot(&mut self.rng, &mut || target.victim())?;
            times.shot(self.tally.elapsed_ns());
            // An operation that was called off has changed nothing.
            let judgement = if shot.ran { target.judge(shot)? } else { Judgement::default() };
            if shot.timing != Timing::Calibration {
                count(&mut counts, shot, &judgement);
                let exposed = shot.landed && judgement.reused;
                counters.count(
                    target.varied().into_iter().chain(strategy.varied()),
                    exposed,
                    judgement.damage.is_some(),
                );
            }
            if let Some(damage) = judgement.damage {
                self.report(damage, &mut counts, &mut first);
            }
            self.tally.publish(&counts);
        };
        for damage in target.inspect_bystanders()? {
            self.report(damage, &mut counts, &mut first);
        }
        self.tally.publish(&counts);
        Ok(Finish {
            counts,
            first_corruption_ns: first,
            stopped_by,
            factors: counters.into_factors(),
            profile: times.parts(),
        })
    }

    fn report(&self, damage: Damage, counts: &mut Counts, first: &mut Option<u64>) {
        let elapsed = self.tally.elapsed_ns();
        first.get_or_insert(elapsed);
        counts.corruptions += 1;
        // The receiver only goes away together with the process.
        let _ = self.corruptions.send(damage.record(elapsed, counts.tries));
    }
}

/// How long the parts of a try took that this loop sees, all from one look at the clock a part.
#[derive(Default)]
struct Times {
    whole: Histogram,
    shot: Histogram,
    judging: Histogram,
    /// When the try under way began, and when its shot was over.
    under_way: Option<(u64, u64)>,
    began: u64,
}

impl Times {
    /// A try begins, and the one before is over.
    fn next_try(&mut self, now: u64) {
        if let Some((began, shot)) = self.under_way.take() {
            self.shot.add(shot - began);
            self.judging.add(now - shot);
            self.whole.add(now - began);
        }
        self.began = now;
    }

    /// Both sides are back.
    fn shot(&mut self, now: u64) {
        self.under_way = Some((self.began, now));
    }

    fn parts(&self) -> Vec<PartTime> {
        vec![self.whole.part("whole try"), self.shot.part("shot"), self.judging.part("judging")]
    }
}

/// An exposure is a landing after which the resource was reused, whatever the oracle said: it counts alike on every variant.
fn count(counts: &mut Counts, shot: Shot, judgement: &Judgement) {
    counts.tries += 1;
    counts.landings += u64::from(shot.landed);
    counts.reuses += u64::from(judgement.reused);
    counts.exposures += u64::from(shot.landed && judgement.reused);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::args::generator;

    /// Lands on every second try and is damaged on every landing that the script says.
    struct Script {
        shots: u64,
        damaged: fn(u64) -> bool,
    }

    impl Target for Script {
        fn prepare(&mut self) -> Result<(), Error> {
            Ok(())
        }
        fn victim(&mut self) {
            self.shots += 1;
        }
        fn judge(&mut self, shot: Shot) -> Result<Judgement, Error> {
            let damage = Damage {
                page: 0,
                expected: self.shots,
                found: 0,
                kind: CorruptionKind::LostUpdate,
                entry_before: None,
                entry_after: None,
            };
            Ok(Judgement {
                reused: !self.shots.is_multiple_of(4),
                damage: (shot.landed && (self.damaged)(self.shots)).then_some(damage),
            })
        }
        fn inspect_bystanders(&mut self) -> Result<Vec<Damage>, Error> {
            Ok(Vec::new())
        }
        fn details(&self) -> Vec<(String, String)> {
            Vec::new()
        }
    }

    /// Two calibration tries, then alternately late and landed.
    struct Alternate(u64);

    impl Strategy for Alternate {
        fn shoot(&mut self, _: &mut ChaCha8Rng, victim: &mut dyn FnMut()) -> Result<Shot, Error> {
            victim();
            self.0 += 1;
            let timing = match self.0 {
                1 | 2 => Timing::Calibration,
                n if n % 2 == 0 => Timing::Inside,
                _ => Timing::Late,
            };
            Ok(Shot { timing, ran: true, landed: timing == Timing::Inside })
        }
        fn cpus(&self) -> Vec<usize> {
            Vec::new()
        }
        fn details(&self) -> Vec<(String, String)> {
            Vec::new()
        }
    }

    fn run(stop: Stop, damaged: fn(u64) -> bool) -> (Finish, Vec<Corruption>) {
        let (sender, receiver) = mpsc::channel();
        let tally = Tally::default();
        let race = Race { rng: generator(1), stop, tally: &tally, corruptions: &sender };
        let finish = race.run(&mut Script { shots: 0, damaged }, &mut Alternate(0)).expect("nothing fails");
        assert_eq!(tally.counts(), finish.counts);
        drop(sender);
        (finish, receiver.iter().collect())
    }

    #[test]
    fn exposures_are_landings_with_reuse_and_stop_the_race() {
        let stop = Stop { after: Duration::from_secs(60), corruptions: None, exposures: Some(5) };
        let (finish, corruptions) = run(stop, |_| false);
        assert_eq!(finish.stopped_by, StopReason::Exposures);
        // Shots 3 to 22 counted, landings at even shots, no reuse at 4, 8, ...
        assert_eq!(finish.counts, Counts { tries: 20, landings: 10, reuses: 15, exposures: 5, corruptions: 0 });
        assert_eq!((finish.first_corruption_ns, corruptions.len()), (None, 0));
    }

    #[test]
    fn every_corruption_is_one_record_with_its_try() {
        let stop = Stop { after: Duration::from_secs(60), corruptions: Some(2), exposures: None };
        let (finish, corruptions) = run(stop, |shot| shot >= 6);
        assert_eq!((finish.stopped_by, finish.counts.corruptions), (StopReason::Corruptions, 2));
        assert_eq!(corruptions.iter().map(|c| c.attempt).collect::<Vec<_>>(), [4, 6]);
        assert_eq!(finish.first_corruption_ns, Some(corruptions[0].elapsed_ns));
    }

    /// Is called off every second time.
    struct Hasty(u64);

    impl Strategy for Hasty {
        fn shoot(&mut self, _: &mut ChaCha8Rng, victim: &mut dyn FnMut()) -> Result<Shot, Error> {
            self.0 += 1;
            let ran = self.0.is_multiple_of(2);
            if ran {
                victim();
            }
            Ok(Shot { timing: if ran { Timing::Inside } else { Timing::Early }, ran, landed: ran })
        }
        fn cpus(&self) -> Vec<usize> {
            Vec::new()
        }
        fn details(&self) -> Vec<(String, String)> {
            Vec::new()
        }
    }

    #[test]
    fn a_try_that_was_called_off_counts_and_is_not_judged() {
        let (sender, _receiver) = mpsc::channel();
        let tally = Tally::default();
        let stop = Stop { after: Duration::from_secs(60), corruptions: None, exposures: Some(6) };
        let race = Race { rng: generator(1), stop, tally: &tally, corruptions: &sender };
        let finish = race.run(&mut Script { shots: 0, damaged: |_| false }, &mut Hasty(0)).expect("nothing fails");
        // Seven operations were run, of which the fourth was not reused, and seven called off.
        let counts = Counts { tries: 14, landings: 7, reuses: 6, exposures: 6, corruptions: 0 };
        assert_eq!(finish.counts, counts);
        assert_eq!(finish.profile.iter().map(|part| part.count).collect::<Vec<_>>(), [14, 14, 14]);
    }
}

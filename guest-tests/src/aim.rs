//! Where to put the interference: a random point of a window that follows the victim's own timing.
//!
//! All times are nanoseconds from the moment before the timer is set (a try's *origin*). Setting it takes `lead`, and not always
//! the same, so the victim's operation is put off to a time at which it has nearly always been set. It lasts `length` when
//! nobody interferes. How long a timer's interrupt takes to come can't be measured from outside, so the window is shifted
//! until as many tries come too early as too late; where it would begin before the origin, the victim is held back instead.
//! Tries that miss show all three, so the window follows a host that gets slower or faster: in long steps while every miss
//! is on the same side, in short ones once misses change sides.
//!
//! What counts as too early or too late is the landing. An interferer that starts inside the operation and finds nothing left
//! to interfere with has come too late like one that starts after it, so the window is laid over the part in which
//! landings happen. It may learn from landings, which count alike on every kernel, and never from corruptions: a fixed
//! kernel has none to learn from, and its exposures would be other ones than those of the kernel it is held against.
//!
//! The window is widened until enough tries miss, and narrowed where too many do; one that never misses would settle on
//! some part of the operation, another one in each round, and find the race there or not.

use rand::Rng;

/// Undisturbed tries before the first shot.
const CALIBRATION: u32 = 8;

/// The window to begin with, as a multiple of the victim's operation, around its middle; both ends make misses, which keep
/// the estimates honest.
const FIRST: f64 = 1.5;

/// The narrowest window. Where the timer's own scatter is wider than the operation, it covers the operation by itself.
const NARROWEST: f64 = 0.25;

/// The widest one: further out the estimate of the operation's length is no longer one.
const WIDEST: f64 = 24.0;

/// Tries that should land: what the first window makes of a length that is known well.
const LANDING: f64 = 1.0 / FIRST;

/// Step of a settled estimate, as a part of it.
const STEP: f64 = 1.0 / 16.0;

/// Step to begin with.
const FIRST_STEP: f64 = 1.0 / 4.0;

/// Misses in a row on one side after which the window is taken to lie elsewhere. Of a settled one, one in 200 runs so long.
const ASTRAY: u32 = 3;

/// Landings in a row after which the window is taken to lie inside the operation. Of a settled one, one in 12 runs so long.
const WITHIN: u32 = 6;

/// By how much a step grows after each miss of a window that lies elsewhere, and shrinks after any sign that it doesn't.
const GROW: f64 = 1.6;
const SHRINK: f64 = 0.7;

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

/// Where to put the interference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// From the origin to the timer's expiry.
    pub delay: u64,
    /// From the origin to the victim's operation, at the earliest.
    pub start: u64,
}

/// What a try showed.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When the interferer came.
    pub timing: Timing,
    /// From the origin until the victim could have started.
    pub lead: u64,
    /// From the operation's start to its end.
    pub length: u64,
    /// Whether the victim's operation was run at all: not where the interferer had come and gone before.
    pub ran: bool,
    /// Whether the interference agreed that the operation was unfinished.
    pub landed: bool,
    /// From the operation's start to the interferer's.
    pub came: u64,
}

/// Where a shot went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shot {
    Landed,
    TooEarly,
    TooLate,
}

/// Share of the tries, in hundredths, that are ready to start at the time to which the operation is put off. Waiting for the others
/// costs more than they are worth.
const READY: u32 = 75;

/// A running percentile: each sample moves it one step up or down, so that a host that was away for milliseconds weighs no
/// more than any other sample. (The stochastic approximation of Robbins and Monro, Ann. Math. Statist. 22, 1951, with the
/// step kept from vanishing.)
#[derive(Debug, Clone, Copy)]
struct Estimate {
    percent: u32,
    value: f64,
    samples: u32,
}

impl Estimate {
    fn of(percent: u32) -> Self {
        Self { percent, value: 0.0, samples: 0 }
    }

    fn learn(&mut self, sample: u64) {
        let sample = sample as f64;
        if self.samples == 0 {
            self.value = sample;
        }
        self.samples = self.samples.saturating_add(1);
        // Long steps first, to get away from an unlucky first sample. Up and down are in balance at the percentile.
        let step = self.value.max(1.0) * STEP.max(1.0 / f64::from(self.samples + 1)) / 50.0;
        let (down, up) = (step * f64::from(100 - self.percent), step * f64::from(self.percent));
        self.value += (sample - self.value).clamp(-down, up);
    }

    fn get(self) -> f64 {
        self.value
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
    /// Step of `shift`, as a part of the window.
    step: f64,
    /// Where the last shots went, and how many of them in a row.
    run: Option<(Shot, u32)>,
    /// The side of the last miss.
    missed: Option<Shot>,
    early: u64,
    inside: u64,
    late: u64,
}

impl Default for Aim {
    fn default() -> Self {
        let (lead, length) = (Estimate::of(READY), Estimate::of(50));
        let (stretch, step) = (FIRST, FIRST_STEP);
        Self { seen: 0, lead, length, shift: 0.0, stretch, step, run: None, missed: None, early: 0, inside: 0, late: 0 }
    }
}

impl Aim {
    /// Where to ask for the interference; nowhere while undisturbed tries are wanted.
    pub fn next(&self, rng: &mut impl Rng) -> Option<Point> {
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
        Some(Point { delay: point.max(0.0) as u64, start: (self.lead.get() - point.min(0.0)) as u64 })
    }

    /// Learns from one try what its interference has left untouched: after an early one nothing of the operation's time,
    /// after one inside only when it could begin.
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
        let shot = match sample.timing {
            Timing::Calibration => return,
            Timing::Early => Shot::TooEarly,
            Timing::Inside if sample.landed => Shot::Landed,
            Timing::Inside if (sample.came as f64) < self.length.get() / 2.0 => Shot::TooEarly,
            Timing::Inside | Timing::Late => Shot::TooLate,
        };
        self.adjust(shot);
    }

    /// Moves the window, and makes it wider or narrower.
    fn adjust(&mut self, shot: Shot) {
        let length = match self.run {
            Some((last, length)) if last == shot => length.saturating_add(1),
            _ => 1,
        };
        self.run = Some((shot, length));
        let astray = shot != Shot::Landed && length >= ASTRAY;
        if astray {
            // H. Kesten, Ann. Math. Statist. 29, 1958: steps shrink with changes of sign only. Here they also grow again.
            self.step = (self.step * GROW).min(1.0);
        } else if shot == Shot::Landed || self.missed != Some(shot) {
            self.step = (self.step * SHRINK).max(STEP);
        }
        // In balance where a share of `LANDING` lands. Misses of a window that lies elsewhere say nothing of its width.
        let widen = match shot {
            Shot::Landed => (1.0 - LANDING) * f64::from(1 + length.saturating_sub(WITHIN).min(3)),
            Shot::TooEarly | Shot::TooLate if astray => 0.0,
            Shot::TooEarly | Shot::TooLate => -LANDING,
        };
        // As good as the exponential for steps this small, and libm need not be linked when a guest starts the program.
        self.stretch = (self.stretch * (1.0 + STEP * widen)).clamp(NARROWEST, WIDEST);
        let sign = match shot {
            Shot::Landed => return,
            Shot::TooEarly => 1.0,
            Shot::TooLate => -1.0,
        };
        self.missed = Some(shot);
        self.shift += sign * self.step * self.stretch.max(FIRST / 4.0) / FIRST * self.length.get();
    }

    /// The estimates, for people.
    pub fn details(&self) -> Vec<(String, String)> {
        let micros = |name: &str, estimate: Estimate| (name.to_owned(), format!("{:.1} us", estimate.get() / 1000.0));
        vec![
            micros("operation put off by", self.lead),
            micros("operation lasts", self.length),
            ("aim shifted by".to_owned(), format!("{:.1} us", self.shift / 1000.0)),
            ("aim stretched to".to_owned(), format!("{:.1} times the operation", self.stretch)),
            ("early, inside, late".to_owned(), format!("{}, {}, {}", self.early, self.inside, self.late)),
        ]
    }
}

#[cfg(test)]
mod tests;

//! The two threads of a try and how they agree on it.
//!
//! The interferer sleeps on a timer that the victim's thread sets, from the *origin* of the try on, just before its
//! operation. So one interrupt on the victim's CPU is all that has to happen between the order and the interference, and
//! the interferer is woken once a try. Then it looks whether the victim's operation is under way. Every wait has a bound:
//! the kernel under test may be one that hangs.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::Duration;

use twinboot_protocol::PartTime;

use super::Interference;
use crate::aim::{Point, Sample, Timing};
use crate::error::Error;
use crate::profile::Histogram;
use crate::sys::timerfd::TimerFd;
use crate::sys::{SysError, clock, sched};

/// How long one side waits for the other, in seconds: far beyond any scheduling delay of a loaded host.
const PATIENCE: u64 = 15;

/// How long the victim's thread looks for the interferer's end before it goes to sleep, in nanoseconds: about what going to
/// sleep and waking up costs.
const SPIN: u64 = 100_000;

/// When a timer is set to that is not to expire, in nanoseconds from now. Setting it is part of an undisturbed try, too.
const AWAY: u64 = 60_000_000_000;

const BEFORE: u8 = 0;
const INSIDE: u8 = 1;
const AFTER: u8 = 2;

/// What the two threads share.
#[derive(Debug, Default)]
struct Arena {
    /// Number of the try that is ordered; a change is the order.
    ordered: AtomicU64,
    /// Number of the try that the interferer is done with.
    served: AtomicU64,
    /// When the interferer is to come.
    asked: AtomicU64,
    /// When it came.
    came: AtomicU64,
    /// Where the victim is.
    phase: AtomicU8,
    /// What the interferer found: the victim's phase, and whether it landed.
    found: AtomicU8,
    landed: AtomicBool,
    quit: AtomicBool,
    times: Times,
}

/// How long each part of a try took.
#[derive(Debug, Default)]
struct Times {
    lead: Histogram,
    undisturbed: Histogram,
    disturbed: Histogram,
    wait: Histogram,
    timer: Histogram,
    interference: Histogram,
}

/// Where and how the interferer runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Post {
    pub cpu: usize,
    /// `SCHED_FIFO` priority.
    pub priority: u8,
}

/// A pair of threads ready to race; the thread that made it is the victim's.
#[derive(Debug)]
pub(super) struct Duel {
    arena: Arc<Arena>,
    alarm: Arc<TimerFd>,
}

impl Duel {
    /// Starts the interferer's thread and waits until it is in its place.
    pub fn start(post: Post, interference: Interference) -> Result<Self, Error> {
        let (arena, alarm) = (Arc::new(Arena::default()), Arc::new(TimerFd::alarm()?));
        let (ready, settled) = mpsc::channel();
        let (shared, bell) = (Arc::clone(&arena), Arc::clone(&alarm));
        let victim = thread::current();
        thread::Builder::new()
            .name("interferer".to_owned())
            .spawn(move || {
                let place = sched::pin(post.cpu).and_then(|()| sched::real_time(post.priority));
                let placed = place.is_ok();
                if ready.send(place).is_ok() && placed {
                    serve(&shared, &bell, &victim, interference);
                }
            })
            .map_err(|source| SysError::new("pthread_create", "the interferer", source))?;
        match settled.recv_timeout(Duration::from_secs(PATIENCE)) {
            Ok(place) => place?,
            Err(_) => return Err(Error::InterfererGone { seconds: PATIENCE, attempt: 0 }),
        }
        Ok(Self { arena, alarm })
    }

    /// One try: the interferer comes at `point`, or not at all. `prepare` runs between the origin, which it is told, and
    /// the victim's operation.
    pub fn bout(
        &self,
        point: Option<Point>,
        prepare: impl FnOnce(u64) -> Result<(), SysError>,
        victim: &mut dyn FnMut(),
    ) -> Result<Sample, Error> {
        let (arena, times) = (&*self.arena, &self.arena.times);
        let (delay, put_off) = point.map_or((AWAY, 0), |point| (point.delay, point.start));
        let attempt = arena.ordered.load(Relaxed) + 1;
        arena.phase.store(BEFORE, Relaxed);
        arena.ordered.store(attempt, Release);
        let origin = clock::now();
        arena.asked.store(origin + delay, Release);
        self.alarm.set(origin + delay)?;
        prepare(origin)?;
        let ready = clock::now();
        let lead = ready - origin;
        times.lead.add(lead);
        let mut start = ready;
        while start < origin + put_off {
            start = clock::now();
        }
        if arena.served.load(Acquire) == attempt {
            return Ok(Sample { timing: Timing::Early, lead, length: 0, ran: false, landed: false, came: 0 });
        }
        arena.phase.store(INSIDE, Release);
        victim();
        arena.phase.store(AFTER, Release);
        let end = clock::now();
        let length = end - start;
        if point.is_none() {
            times.undisturbed.add(length);
            return Ok(Sample { timing: Timing::Calibration, lead, length, ran: true, landed: false, came: 0 });
        }
        await_served(arena, attempt, end)?;
        let timing = match arena.found.load(Relaxed) {
            BEFORE => Timing::Early,
            INSIDE => Timing::Inside,
            _ => Timing::Late,
        };
        let operation = if timing == Timing::Inside { &times.disturbed } else { &times.undisturbed };
        operation.add(length);
        times.wait.add(clock::now() - end);
        let landed = arena.landed.load(Relaxed);
        let came = arena.came.load(Relaxed).saturating_sub(start);
        Ok(Sample { timing, lead, length, ran: true, landed, came })
    }

    /// Where the time went.
    pub fn profile(&self) -> Vec<PartTime> {
        let times = &self.arena.times;
        vec![
            times.lead.part("lead"),
            times.undisturbed.part("operation, undisturbed"),
            times.disturbed.part("operation, disturbed"),
            times.wait.part("wait for the interferer"),
            times.timer.part("timer late by"),
            times.interference.part("interference"),
        ]
    }
}

impl Drop for Duel {
    /// Lets the interferer go, without waiting: it may hang in the kernel.
    fn drop(&mut self) {
        self.arena.quit.store(true, Release);
        // A time long past. If even that fails, the process ends without the thread.
        let _ = self.alarm.set(1);
    }
}

/// The interferer's life.
fn serve(arena: &Arena, alarm: &TimerFd, victim: &Thread, mut interference: Interference) {
    while alarm.wait().is_ok() && !arena.quit.load(Acquire) {
        let found = arena.phase.load(Acquire);
        let came = clock::now();
        let landed = found == INSIDE && interference();
        if landed {
            arena.times.interference.add(clock::now() - came);
        }
        arena.times.timer.add(came.saturating_sub(arena.asked.load(Relaxed)));
        arena.came.store(came, Relaxed);
        arena.found.store(found, Relaxed);
        arena.landed.store(landed, Relaxed);
        arena.served.store(arena.ordered.load(Acquire), Release);
        victim.unpark();
    }
}

/// Waits until the interferer is done, from `since` on: for a moment awake, then asleep.
fn await_served(arena: &Arena, attempt: u64, since: u64) -> Result<(), Error> {
    while arena.served.load(Acquire) != attempt {
        let now = clock::now();
        if now < since + SPIN {
            std::hint::spin_loop();
        } else if now < since + PATIENCE * 1_000_000_000 {
            thread::park_timeout(Duration::from_secs(1));
        } else {
            return Err(Error::InterfererGone { seconds: PATIENCE, attempt });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair on one CPU of this machine, whose interference raises the flag; none where real-time threads are not allowed.
    fn pair() -> Option<(Duel, Arc<AtomicBool>)> {
        let cpu = *sched::allowed_cpus().expect("the set").last().expect("at least one CPU");
        let raised = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&raised);
        sched::pin(cpu).expect("an allowed CPU");
        let interference = Box::new(move || {
            flag.store(true, Release);
            true
        });
        Some((Duel::start(Post { cpu, priority: 1 }, interference).ok()?, raised))
    }

    fn at(delay: u64, start: u64) -> Point {
        Point { delay, start }
    }

    #[test]
    fn it_comes_inside_an_operation_that_lasts_until_then() {
        let Some((duel, raised)) = pair() else { return };
        for _ in 0..3 {
            raised.store(false, Relaxed);
            let mut victim = || {
                while !raised.load(Acquire) {
                    std::hint::spin_loop();
                }
            };
            let sample = duel.bout(Some(at(20_000_000, 0)), |_| Ok(()), &mut victim).expect("an interferer");
            assert_eq!((sample.timing, sample.landed), (Timing::Inside, true));
        }
        let counts: Vec<_> = duel.profile().iter().map(|part| (part.name.clone(), part.count)).collect();
        assert!(counts.contains(&("interference".to_owned(), 3)), "{counts:?}");
    }

    #[test]
    fn it_comes_after_a_short_operation_and_before_one_that_is_held_back() {
        let Some((duel, raised)) = pair() else { return };
        let late = duel.bout(Some(at(200_000_000, 0)), |_| Ok(()), &mut || {}).expect("an interferer");
        let early = duel.bout(Some(at(0, 200_000_000)), |_| Ok(()), &mut || {}).expect("an interferer");
        assert_eq!((late.timing, early.timing), (Timing::Late, Timing::Early));
        assert!(late.ran && !early.ran);
        assert!(early.lead < 200_000_000, "the wait is no part of the lead: {early:?}");
        assert!(!raised.load(Acquire), "it interfered outside of the operation");
    }

    #[test]
    fn it_stays_away_from_an_undisturbed_try_and_comes_to_the_next() {
        let Some((duel, raised)) = pair() else { return };
        let sample = duel.bout(None, |_| Ok(()), &mut || {}).expect("an interferer");
        assert_eq!((sample.timing, sample.landed), (Timing::Calibration, false));
        let sample = duel.bout(Some(at(0, 100_000_000)), |_| Ok(()), &mut || {}).expect("an interferer");
        assert_eq!(sample.timing, Timing::Early);
        assert!(!raised.load(Acquire));
    }
}

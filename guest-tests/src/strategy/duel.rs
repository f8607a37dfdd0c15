//! The two threads of a try and how they agree on it.
//!
//! On one CPU, the interferer sleeps on a timer that the victim's thread sets, from the *origin* of the try on, just before
//! its operation. So one interrupt is all that has to happen between the two, and the interferer is woken once a try.
//!
//! On two CPUs, the victim's thread orders a try and wakes the interferer, which sets the origin and sleeps on a timer of
//! its own CPU's: to be woken by another CPU takes too long, and is over before the operation starts.
//!
//! Then the interferer looks whether the victim's operation is under way. Every wait has a bound: the kernel under test may
//! be one that hangs.

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
pub(super) const AWAY: u64 = 60_000_000_000;

const BEFORE: u8 = 0;
const INSIDE: u8 = 1;
const AFTER: u8 = 2;

/// What the two threads share.
#[derive(Debug, Default)]
struct Arena {
    /// Number of the try that is ordered.
    ordered: AtomicU64,
    /// Number of the try that the interferer is done with.
    served: AtomicU64,
    /// Delay after the origin, or [`AWAY`].
    delay: AtomicU64,
    /// When the try began; 0 until then.
    origin: AtomicU64,
    /// When the interferer came.
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
    /// What the interferer sleeps on, if it is on the victim's CPU.
    alarm: Option<Arc<TimerFd>>,
    interferer: Thread,
}

impl Duel {
    /// Starts the interferer's thread and waits until it is in its place. The calling thread must be bound to its CPU.
    pub fn start(post: Post, interference: Interference) -> Result<Self, Error> {
        let arena = Arc::new(Arena::default());
        let alarm = if post.cpu == sched::current_cpu() { Some(Arc::new(TimerFd::alarm()?)) } else { None };
        let (ready, settled) = mpsc::channel();
        let (shared, bell) = (Arc::clone(&arena), alarm.clone());
        let victim = thread::current();
        let thread = thread::Builder::new()
            .name("interferer".to_owned())
            .spawn(move || {
                let place = sched::pin(post.cpu).and_then(|()| sched::real_time(post.priority));
                let placed = place.is_ok();
                if ready.send(place).is_ok() && placed {
                    serve(&shared, bell.as_deref(), &victim, interference);
                }
            })
            .map_err(|source| SysError::new("pthread_create", "the interferer", source))?;
        match settled.recv_timeout(Duration::from_secs(PATIENCE)) {
            Ok(place) => place?,
            Err(_) => return Err(Error::InterfererGone { seconds: PATIENCE, attempt: 0 }),
        }
        Ok(Self { arena, alarm, interferer: thread.thread().clone() })
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
        let origin = self.order(attempt, delay)?;
        prepare(origin)?;
        let ready = clock::now();
        let lead = ready.saturating_sub(origin);
        times.lead.add(lead);
        let mut start = ready;
        while start < origin + put_off {
            start = clock::now();
        }
        if point.is_some() && arena.served.load(Acquire) == attempt {
            return Ok(Sample { timing: Timing::Early, lead, length: 0, ran: false, landed: false, came: 0 });
        }
        arena.phase.store(INSIDE, Release);
        victim();
        arena.phase.store(AFTER, Release);
        let end = clock::now();
        let length = end - start;
        if point.is_some() || self.alarm.is_none() {
            await_served(arena, attempt, end)?;
        }
        let timing = match (point, arena.found.load(Relaxed)) {
            (None, _) => Timing::Calibration,
            (_, BEFORE) => Timing::Early,
            (_, INSIDE) => Timing::Inside,
            _ => Timing::Late,
        };
        let operation = if timing == Timing::Inside { &times.disturbed } else { &times.undisturbed };
        operation.add(length);
        times.wait.add(clock::now() - end);
        let landed = point.is_some() && arena.landed.load(Relaxed);
        let came = arena.came.load(Relaxed).saturating_sub(start);
        Ok(Sample { timing, lead, length, ran: true, landed, came })
    }

    /// Lets a try begin, and tells when it did.
    fn order(&self, attempt: u64, delay: u64) -> Result<u64, Error> {
        let arena = &*self.arena;
        arena.phase.store(BEFORE, Relaxed);
        arena.delay.store(delay, Relaxed);
        if let Some(alarm) = &self.alarm {
            let origin = clock::now();
            arena.origin.store(origin, Relaxed);
            arena.ordered.store(attempt, Release);
            alarm.set(origin + delay)?;
            return Ok(origin);
        }
        arena.origin.store(0, Relaxed);
        arena.ordered.store(attempt, Release);
        self.interferer.unpark();
        await_origin(arena, attempt)
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
        match &self.alarm {
            // A time long past. If even that fails, the process ends without the thread.
            Some(alarm) => alarm.set(1).unwrap_or_default(),
            None => self.interferer.unpark(),
        }
    }
}

/// The interferer's life.
fn serve(arena: &Arena, alarm: Option<&TimerFd>, victim: &Thread, mut interference: Interference) {
    while let Some(attempt) = called(arena, alarm) {
        let (origin, delay) = (arena.origin.load(Relaxed), arena.delay.load(Relaxed));
        if delay != AWAY {
            let found = arena.phase.load(Acquire);
            let came = clock::now();
            let landed = found == INSIDE && interference();
            if landed {
                arena.times.interference.add(clock::now() - came);
            }
            arena.times.timer.add(came.saturating_sub(origin + delay));
            arena.came.store(came, Relaxed);
            arena.found.store(found, Relaxed);
            arena.landed.store(landed, Relaxed);
        }
        arena.served.store(attempt, Release);
        victim.unpark();
    }
}

/// Sleeps until it is time to interfere, and says in which try; none when there is no more to come.
fn called(arena: &Arena, alarm: Option<&TimerFd>) -> Option<u64> {
    if let Some(alarm) = alarm {
        alarm.wait().ok()?;
        return (!arena.quit.load(Acquire)).then(|| arena.ordered.load(Acquire));
    }
    let done = arena.served.load(Relaxed);
    loop {
        let ordered = arena.ordered.load(Acquire);
        if arena.quit.load(Acquire) {
            return None;
        }
        if ordered != done {
            let (origin, delay) = (clock::now(), arena.delay.load(Relaxed));
            arena.origin.store(origin, Release);
            if delay != AWAY {
                clock::sleep_until(origin + delay);
            }
            return Some(ordered);
        }
        thread::park();
    }
}

/// Waits, without sleeping, until the interferer has taken the order.
fn await_origin(arena: &Arena, attempt: u64) -> Result<u64, Error> {
    let mut spins = 0_u32;
    let mut deadline = 0;
    loop {
        let origin = arena.origin.load(Acquire);
        if origin != 0 {
            return Ok(origin);
        }
        std::hint::spin_loop();
        spins = spins.wrapping_add(1);
        if spins.is_multiple_of(0x1_0000) {
            let now = clock::now();
            if deadline == 0 {
                deadline = now + PATIENCE * 1_000_000_000;
            } else if now > deadline {
                return Err(Error::InterfererGone { seconds: PATIENCE, attempt });
            }
        }
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
mod tests;

//! The two threads of a try and how they agree on it.
//!
//! The victim's thread orders a try and wakes the interferer, which sets the try's *origin*, sleeps until the delay that
//! was ordered has passed, and looks whether the victim's operation is under way. Every wait has a bound: the kernel under
//! test may be one that hangs.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::sync::mpsc;
use std::thread::{self, Thread};
use std::time::Duration;

use twinboot_protocol::PartTime;

use super::Interference;
use crate::aim::{Sample, Timing};
use crate::error::Error;
use crate::profile::Histogram;
use crate::sys::{SysError, clock, sched};

/// How long one side waits for the other, in seconds: far beyond any scheduling delay of a loaded host.
const PATIENCE: u64 = 15;

/// A delay that means "stay away".
const AWAY: u64 = u64::MAX;

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
    /// Delay after the origin, or [`AWAY`].
    delay: AtomicU64,
    /// When the interferer took the order; 0 before.
    origin: AtomicU64,
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
    order: Histogram,
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
    interferer: Thread,
}

/// One try, undigested.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bout {
    pub sample: Sample,
    pub landed: bool,
}

impl Duel {
    /// Starts the interferer's thread and waits until it is in its place.
    pub fn start(post: Post, interference: Interference) -> Result<Self, Error> {
        let arena = Arc::new(Arena::default());
        let (ready, settled) = mpsc::channel();
        let shared = Arc::clone(&arena);
        let victim = thread::current();
        let thread = thread::Builder::new()
            .name("interferer".to_owned())
            .spawn(move || {
                let place = sched::pin(post.cpu).and_then(|()| sched::real_time(post.priority));
                let placed = place.is_ok();
                if ready.send(place).is_ok() && placed {
                    serve(&shared, &victim, interference);
                }
            })
            .map_err(|source| SysError::new("pthread_create", "the interferer", source))?;
        match settled.recv_timeout(Duration::from_secs(PATIENCE)) {
            Ok(place) => place?,
            Err(_) => return Err(Error::InterfererGone { seconds: PATIENCE, attempt: 0 }),
        }
        Ok(Self { arena, interferer: thread.thread().clone() })
    }

    /// One try: `delay` after the origin the interferer comes, or not at all. `prepare` runs between the origin, which it
    /// is told, and the victim's operation.
    pub fn bout(
        &self,
        delay: Option<u64>,
        prepare: impl FnOnce(u64) -> Result<(), SysError>,
        victim: &mut dyn FnMut(),
    ) -> Result<Bout, Error> {
        let arena = &*self.arena;
        let begin = clock::now();
        let attempt = arena.ordered.load(Relaxed) + 1;
        arena.phase.store(BEFORE, Relaxed);
        arena.origin.store(0, Relaxed);
        arena.delay.store(delay.unwrap_or(AWAY), Relaxed);
        arena.ordered.store(attempt, Release);
        self.interferer.unpark();
        let origin = await_origin(arena, attempt)?;
        prepare(origin)?;
        let start = clock::now();
        arena.phase.store(INSIDE, Release);
        victim();
        arena.phase.store(AFTER, Release);
        let end = clock::now();
        await_served(arena, attempt)?;
        let times = &arena.times;
        times.order.add(origin.saturating_sub(begin));
        times.lead.add(start.saturating_sub(origin));
        times.wait.add(clock::now().saturating_sub(end));
        let timing = match (delay, arena.found.load(Relaxed)) {
            (None, _) => Timing::Calibration,
            (_, BEFORE) => Timing::Early,
            (_, INSIDE) => Timing::Inside,
            _ => Timing::Late,
        };
        let operation = if timing == Timing::Inside { &times.disturbed } else { &times.undisturbed };
        operation.add(end.saturating_sub(start));
        let sample = Sample { timing, lead: start.saturating_sub(origin), length: end.saturating_sub(start) };
        Ok(Bout { sample, landed: arena.landed.load(Relaxed) })
    }

    /// Where the time went.
    pub fn profile(&self) -> Vec<PartTime> {
        let times = &self.arena.times;
        vec![
            times.order.part("order"),
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
        self.interferer.unpark();
    }
}

/// The interferer's life.
fn serve(arena: &Arena, victim: &Thread, mut interference: Interference) {
    let mut done = 0;
    loop {
        let ordered = arena.ordered.load(Acquire);
        if arena.quit.load(Acquire) {
            return;
        }
        if ordered == done {
            thread::park();
            continue;
        }
        let delay = arena.delay.load(Relaxed);
        let origin = clock::now();
        arena.origin.store(origin, Release);
        let mut landed = false;
        if delay != AWAY {
            clock::sleep_until(origin + delay);
            let found = arena.phase.load(Acquire);
            let came = clock::now();
            landed = found == INSIDE && interference();
            if landed {
                arena.times.interference.add(clock::now().saturating_sub(came));
            }
            arena.times.timer.add(came.saturating_sub(origin + delay));
            arena.found.store(found, Relaxed);
        }
        arena.landed.store(landed, Relaxed);
        done = ordered;
        arena.served.store(done, Release);
        victim.unpark();
    }
}

/// Waits, without sleeping, until the interferer has taken the order. On one CPU it already has: it cut in.
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

/// Sleeps until the interferer is done.
fn await_served(arena: &Arena, attempt: u64) -> Result<(), Error> {
    let mut deadline = 0;
    while arena.served.load(Acquire) != attempt {
        thread::park_timeout(Duration::from_secs(1));
        if arena.served.load(Acquire) == attempt {
            break;
        }
        let now = clock::now();
        if deadline == 0 {
            deadline = now + PATIENCE * 1_000_000_000;
        } else if now > deadline {
            return Err(Error::InterfererGone { seconds: PATIENCE, attempt });
        }
    }
    Ok(())
}

//! The interferer works on another CPU while a long hard interrupt holds the victim's.
//!
//! For kernels that don't let real-time threads into a fault. The victim sets a timer whose wait queue is
//! [stretched](super::stretch) to expire at the point that is aimed at, and the interferer wakes up at that time, too.

use rand_chacha::ChaCha8Rng;
use twinboot_protocol::PartTime;

use super::duel::{AWAY, Duel, Post};
use super::stretch::Stretch;
use super::{Interference, Shot, Strategy};
use crate::aim::{Aim, Timing};
use crate::error::Error;
use crate::factors::Varied;
use crate::sys::sched;

/// Any real-time priority beats every ordinary thread.
const PRIORITY: u8 = 10;

/// Two CPUs, a thread on each.
#[derive(Debug)]
pub struct Smp {
    duel: Duel,
    aim: Aim,
    stretch: Stretch,
    cpus: (usize, usize),
    varied: [Varied; 2],
}

impl Smp {
    /// Binds the calling thread to the victim's CPU and starts the interferer on its own, each with its level.
    pub fn start(
        (victim, victims): (usize, Varied),
        (interferer, interferers): (usize, Varied),
        interference: Interference,
    ) -> Result<Self, Error> {
        sched::pin(victim)?;
        let stretch = Stretch::new()?;
        let duel = Duel::start(Post { cpu: interferer, priority: PRIORITY }, interference)?;
        Ok(Self { duel, aim: Aim::default(), stretch, cpus: (victim, interferer), varied: [victims, interferers] })
    }
}

impl Strategy for Smp {
    fn shoot(&mut self, rng: &mut ChaCha8Rng, victim: &mut dyn FnMut()) -> Result<Shot, Error> {
        let point = self.aim.next(rng);
        let stretch = &self.stretch;
        // An undisturbed try sets a far timer: setting it is part of the lead.
        let set = |origin: u64| stretch.set(origin + point.map_or(AWAY, |point| point.delay));
        let sample = self.duel.bout(point, set, victim)?;
        // The interrupt that was to hold the operation for the interferer held it, and the interferer came too late: its
        // length is not the operation's own, and the aim was good.
        let held = sample.timing == Timing::Late && sample.length >= self.stretch.lasts();
        if !held {
            self.aim.learn(&sample);
        }
        Ok(Shot { timing: sample.timing, ran: sample.ran, landed: sample.landed })
    }

    fn cpus(&self) -> Vec<usize> {
        vec![self.cpus.0, self.cpus.1]
    }

    fn varied(&self) -> Vec<&Varied> {
        self.varied.iter().collect()
    }

    fn details(&self) -> Vec<(String, String)> {
        let mut details = vec![
            ("victim cpu".to_owned(), self.cpus.0.to_string()),
            ("interferer cpu".to_owned(), self.cpus.1.to_string()),
        ];
        details.extend(self.stretch.details());
        details.extend(self.aim.details());
        details
    }

    fn profile(&self) -> Vec<PartTime> {
        self.duel.profile()
    }
}

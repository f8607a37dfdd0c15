//! The interferer cuts into the victim's operation on the victim's own CPU.
//!
//! A `SCHED_FIFO` thread that sleeps on a high-resolution timer runs as soon as the timer's interrupt ends and the kernel is
//! preemptible (sched(7)). So the victim stands still where it is, in the middle of its operation, until the interference
//! is over or itself has to wait for the victim.

use rand_chacha::ChaCha8Rng;
use twinboot_protocol::PartTime;

use super::duel::{Duel, Post};
use super::{Interference, Shot, Strategy};
use crate::aim::Aim;
use crate::error::Error;
use crate::factors::Varied;
use crate::sys::sched;

/// Any real-time priority beats every ordinary thread.
const PRIORITY: u8 = 10;

/// One CPU, two threads.
#[derive(Debug)]
pub struct Preempt {
    duel: Duel,
    aim: Aim,
    cpu: usize,
    varied: Varied,
}

impl Preempt {
    /// Binds the calling thread to `cpu`, which is the level of `varied`, and starts the interferer there.
    pub fn start(cpu: usize, varied: Varied, interference: Interference) -> Result<Self, Error> {
        sched::pin(cpu)?;
        let duel = Duel::start(Post { cpu, priority: PRIORITY }, interference)?;
        Ok(Self { duel, aim: Aim::default(), cpu, varied })
    }
}

impl Strategy for Preempt {
    fn shoot(&mut self, rng: &mut ChaCha8Rng, victim: &mut dyn FnMut()) -> Result<Shot, Error> {
        let sample = self.duel.bout(self.aim.next(rng), |_| Ok(()), victim)?;
        self.aim.learn(&sample);
        Ok(Shot { timing: sample.timing, ran: sample.ran, landed: sample.landed })
    }

    fn cpus(&self) -> Vec<usize> {
        vec![self.cpu]
    }

    fn varied(&self) -> Vec<&Varied> {
        vec![&self.varied]
    }

    fn details(&self) -> Vec<(String, String)> {
        let mut details = vec![("cpu".to_owned(), self.cpu.to_string())];
        details.extend(self.aim.details());
        details
    }

    fn profile(&self) -> Vec<PartTime> {
        self.duel.profile()
    }
}

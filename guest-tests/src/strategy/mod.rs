//! Ways to put an interference inside a victim's operation. They know nothing about what is raced.

mod duel;
mod preempt;
mod smp;
mod stretch;

use rand_chacha::ChaCha8Rng;
use twinboot_protocol::PartTime;

pub use preempt::Preempt;
pub use smp::Smp;

use crate::aim::Timing;
use crate::error::Error;
use crate::factors::Varied;
use crate::sys::sched;
use crate::sys::uname::Preemption;

/// What the interferer's thread runs when it starts while the victim's operation is under way. It answers whether it
/// really found the operation unfinished, by the target's own evidence: that is a landing.
pub type Interference = Box<dyn FnMut() -> bool + Send>;

/// What came of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    /// When the interferer came.
    pub timing: Timing,
    /// Whether the victim's operation was run. It is called off where the interferer has come too early: there is nothing to
    /// learn from it, and nothing to judge.
    pub ran: bool,
    /// Whether it came inside and the interference agreed.
    pub landed: bool,
}

/// A way to aim.
pub trait Strategy {
    /// Runs `victim` once in the calling thread with the interference aimed at it, and waits for both to end.
    fn shoot(&mut self, rng: &mut ChaCha8Rng, victim: &mut dyn FnMut()) -> Result<Shot, Error>;

    /// CPUs that the two sides are bound to.
    fn cpus(&self) -> Vec<usize>;

    /// The factors that it varies, at this round's levels.
    fn varied(&self) -> Vec<&Varied> {
        Vec::new()
    }

    /// Figures for people, as (name, value with unit).
    fn details(&self) -> Vec<(String, String)>;

    /// Where the time of its parts of a try went.
    fn profile(&self) -> Vec<PartTime> {
        Vec::new()
    }
}

/// The strategies by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A real-time interferer cuts into the victim on the same CPU; needs `CONFIG_PREEMPT`
    Preempt,
    /// The interferer runs on another CPU while a long interrupt holds the victim; needs 2 CPUs
    Smp,
}

impl Kind {
    /// The word the records use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Preempt => "preempt",
            Self::Smp => "smp",
        }
    }

    /// Refuses a kernel or guest on which the strategy can't work. `version` is the kernel's `uname -v`.
    pub fn check(self, preemption: Preemption, version: &str, cpus: usize) -> Result<(), Error> {
        match self {
            Self::Preempt if !preemption.lets_real_time_in() => {
                Err(Error::NotPreemptible { model: preemption.name(), version: version.to_owned() })
            }
            Self::Smp if cpus < 2 => Err(Error::TooFewCpus(cpus)),
            _ => Ok(()),
        }
    }

    /// Binds the calling thread, which becomes the victim's, to its CPU, and starts the interferer. `seed` chooses among all
    /// CPUs, or all ordered pairs of them.
    pub fn start(self, seed: u64, interference: Interference) -> Result<Box<dyn Strategy>, Error> {
        let cpus = sched::allowed_cpus()?;
        let many = cpus.len();
        let cpu = |name, phrase, level| Varied { level, ..Varied::new(name, phrase, &cpus) };
        let chosen = |choices: usize| usize::try_from(seed % choices as u64).unwrap_or(0);
        match self {
            Self::Preempt if many > 0 => {
                Ok(Box::new(Preempt::start(cpus[chosen(many)], cpu("CPU", "on CPU {}", chosen(many)), interference)?))
            }
            Self::Smp if many > 1 => {
                let (victim, step) = (chosen(many * (many - 1)) % many, chosen(many * (many - 1)) / many + 1);
                let interferer = (victim + step) % many;
                let victim = cpu("victim's CPU", "with the victim on CPU {}", victim);
                let interferer = cpu("interferer's CPU", "with the interferer on CPU {}", interferer);
                Ok(Box::new(Smp::start(
                    (cpus[victim.level], victim),
                    (cpus[interferer.level], interferer),
                    interference,
                )?))
            }
            Self::Preempt | Self::Smp => Err(Error::TooFewCpus(many)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_strategy_refuses_the_ground_it_cannot_work_on() {
        let refusal = Kind::Preempt.check(Preemption::Unknown, "#1 SMP", 2).expect_err("no preemption");
        assert!(refusal.to_string().contains("--strategy smp"), "{refusal}");
        assert!(Kind::Preempt.check(Preemption::Full, "#1 SMP PREEMPT", 1).is_ok());
        assert!(Kind::Smp.check(Preemption::Unknown, "#1 SMP", 2).is_ok());
        assert!(matches!(Kind::Smp.check(Preemption::Full, "#1", 1), Err(Error::TooFewCpus(1))));
    }
}

//! How much of the host a run's guests could take at a time.

use serde::{Deserialize, Serialize};

use super::entry::RunStarted;

/// Guests beside each other. What they could take at most: towards its end a run has fewer of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Guests at a time.
    pub guests: u32,
    /// Virtual CPUs of that many of the largest guests.
    pub vcpus: u32,
}

impl Load {
    /// Virtual CPUs for each of the host's `cpus`.
    pub fn per_cpu(self, cpus: u32) -> f64 {
        f64::from(self.vcpus) / f64::from(cpus.max(1))
    }
}

impl RunStarted {
    /// The load in words, where the journal tells of it: `2 at a time, 1.5 vCPUs for each host CPU`.
    pub fn load_words(&self) -> Option<String> {
        let load = self.load?;
        let per_cpu = load.per_cpu(self.host.cpus);
        // Two digits, and none that say nothing: 1, 1.5, 0.33.
        let number = format!("{per_cpu:.2}");
        let number = number.trim_end_matches('0').trim_end_matches('.');
        Some(format!("{} at a time, {number} vCPUs for each host CPU", load.guests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Entry;

    fn run() -> RunStarted {
        let Entry::RunStarted(run) = crate::analysis::tests::start("tcg") else { unreachable!("it is a start") };
        *run
    }

    #[test]
    fn a_load_is_told_by_what_it_is_for_the_host() {
        let words = |guests, vcpus, cpus| {
            let mut run = run();
            run.host.cpus = cpus;
            run.load = Some(Load { guests, vcpus });
            run.load_words()
        };
        assert_eq!(words(2, 4, 4).as_deref(), Some("2 at a time, 1 vCPUs for each host CPU"));
        assert_eq!(words(3, 6, 4).as_deref(), Some("3 at a time, 1.5 vCPUs for each host CPU"));
        assert_eq!(words(1, 2, 6).as_deref(), Some("1 at a time, 0.33 vCPUs for each host CPU"));
        assert_eq!(words(10, 20, 1).as_deref(), Some("10 at a time, 20 vCPUs for each host CPU"));
    }

    #[test]
    fn a_journal_of_before_reads_without_it() {
        let mut run = run();
        run.load = None;
        let line = serde_json::to_string(&run).expect("serializes");
        assert!(!line.contains("load"), "{line}");
        assert_eq!(serde_json::from_str::<RunStarted>(&line).expect("reads back").load, None);
    }
}

//! How much of the host a run's guests could take at a time.

use serde::{Deserialize, Serialize};

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

    /// `2 at a time, 1.5 vCPUs for each host CPU`, of which there are `cpus`.
    pub fn words(self, cpus: u32) -> String {
        // Two digits, and none that say nothing: 1, 1.5, 0.33.
        let number = format!("{:.2}", self.per_cpu(cpus));
        let number = number.trim_end_matches('0').trim_end_matches('.');
        format!("{} at a time, {number} vCPUs for each host CPU", self.guests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_is_told_by_what_it_is_for_the_host() {
        let words = |guests, vcpus, cpus| Load { guests, vcpus }.words(cpus);
        assert_eq!(words(2, 4, 4), "2 at a time, 1 vCPUs for each host CPU");
        assert_eq!(words(3, 6, 4), "3 at a time, 1.5 vCPUs for each host CPU");
        assert_eq!(words(1, 2, 6), "1 at a time, 0.33 vCPUs for each host CPU");
        assert_eq!(words(10, 20, 1), "10 at a time, 20 vCPUs for each host CPU");
    }
}

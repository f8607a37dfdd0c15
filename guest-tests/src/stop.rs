//! When a test has seen enough.

use std::time::Duration;

use twinboot_protocol::{Counts, StopReason};

/// Stop conditions; the first one that holds ends the test.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// Time from the first try.
    pub after: Duration,
    /// Corruptions that are enough.
    pub corruptions: Option<u64>,
    /// Exposures that are enough.
    pub exposures: Option<u64>,
}

impl Stop {
    /// Whether to stop after `elapsed_ns` nanoseconds with these counts, and why. What was counted goes before the clock.
    pub fn reached(&self, counts: &Counts, elapsed_ns: u64) -> Option<StopReason> {
        if self.corruptions.is_some_and(|enough| counts.corruptions >= enough) {
            Some(StopReason::Corruptions)
        } else if self.exposures.is_some_and(|enough| counts.exposures >= enough) {
            Some(StopReason::Exposures)
        } else if Duration::from_nanos(elapsed_ns) >= self.after {
            Some(StopReason::Deadline)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_condition_that_holds_ends_it() {
        let stop = Stop { after: Duration::from_secs(1), corruptions: Some(2), exposures: Some(5) };
        let at = |corruptions, exposures, elapsed| {
            stop.reached(&Counts { corruptions, exposures, ..Counts::default() }, elapsed)
        };
        assert_eq!(at(1, 4, 999_999_999), None);
        assert_eq!(at(1, 4, 1_000_000_000), Some(StopReason::Deadline));
        assert_eq!(at(1, 5, 0), Some(StopReason::Exposures));
        assert_eq!(at(2, 5, 2_000_000_000), Some(StopReason::Corruptions));
    }

    #[test]
    fn without_limits_only_the_clock_counts() {
        let stop = Stop { after: Duration::from_secs(1), corruptions: None, exposures: None };
        let many = Counts { corruptions: u64::MAX, exposures: u64::MAX, ..Counts::default() };
        assert_eq!(stop.reached(&many, 0), None);
    }
}

//! One round, and what of it counts.

use twinboot_protocol::Counts;

use crate::journal;
use crate::journal::entry::{RoundFinished, RoundOutcome};

/// One round as the journal left it.
#[derive(Debug, Clone, PartialEq)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// How far it came.
    pub state: RoundState,
}

/// How far a round came.
#[derive(Debug, Clone, PartialEq)]
pub enum RoundState {
    /// It ended, well or not.
    Ended(Box<RoundFinished>),
    /// It began and the journal tells no more.
    Lost,
}

impl Round {
    /// The end record.
    pub fn end(&self) -> Option<&RoundFinished> {
        match &self.state {
            RoundState::Ended(end) => Some(end),
            RoundState::Lost => None,
        }
    }

    /// The final counters; only a round that finished and said so has any that count.
    pub fn counts(&self) -> Option<Counts> {
        self.counting().map(|(_, counts)| counts)
    }

    /// Racing time in seconds of a round that counts.
    pub fn seconds(&self) -> Option<f64> {
        self.counting().map(|(seconds, _)| seconds)
    }

    /// Seconds from the first try to the first corruption, of a round that counts.
    pub fn first_corruption_s(&self) -> Option<f64> {
        let end = self.end().filter(|end| end.outcome == RoundOutcome::Finished)?;
        end.summary.as_ref()?.first_corruption_ns.map(seconds)
    }

    fn counting(&self) -> Option<(f64, Counts)> {
        let end = self.end().filter(|end| end.outcome == RoundOutcome::Finished)?;
        end.summary.as_ref().map(|summary| (seconds(summary.elapsed_ns), summary.counts))
    }

    /// Corruptions this round showed, whether or not it counts towards a rate.
    pub(super) fn corruptions_seen(&self) -> u64 {
        self.end().map_or(0, journal::corruptions_seen)
    }
}

/// Nanoseconds in seconds.
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

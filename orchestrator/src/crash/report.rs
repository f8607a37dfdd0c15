//! A crash report: one complaint of a kernel.

use serde::{Deserialize, Serialize};

/// Something that a guest's kernel reported on its console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashReport {
    /// What kind of complaint it is.
    pub kind: CrashKind,
    /// The headline and up to four functions, without times, addresses and numbers: equal complaints have equal
    /// fingerprints.
    pub fingerprint: Vec<String>,
    /// The lines as they stood, at most 40, with those that were printed right before the headline.
    pub excerpt: Vec<String>,
    /// How often it came on this console.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u32,
    /// What a reader should know about it, such as that the host may be its cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl CrashReport {
    /// Both are the same complaint, whenever it came.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.fingerprint == other.fingerprint
    }
}

/// Kinds of complaints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CrashKind {
    /// `WARN_ON` and its relatives, failed allocations, failed writes to a swap device.
    Warning,
    /// `BUG:`, `kernel BUG at`, an oops, a report of a sanitizer or of SLUB, a damaged page table or swap entry.
    Bug,
    /// lockdep or RCU complaints.
    Lockdep,
    /// A task blocked for too long, a soft or hard lockup, an RCU stall.
    Hang,
    /// The OOM killer.
    Oom,
    /// Kernel panic.
    Panic,
    /// A swap device or a compressed cache says that it lost data.
    DataLoss,
    /// kmemleak found unreferenced memory.
    Leak,
}

impl CrashKind {
    /// A word or two for tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Warning => "kernel warning",
            Self::Bug => "kernel BUG",
            Self::Lockdep => "lockdep",
            Self::Hang => "hang",
            Self::Oom => "OOM kill",
            Self::Panic => "panic",
            Self::DataLoss => "data loss",
            Self::Leak => "memory leak",
        }
    }
}

/// The reports of `now` that are not among `earlier` ones of the same console, or came more often since.
pub fn since(earlier: &[CrashReport], now: Vec<CrashReport>) -> Vec<CrashReport> {
    let before =
        |report: &CrashReport| earlier.iter().find(|known| known.is_same(report)).map_or(0, |known| known.count);
    now.into_iter()
        .filter_map(|report| {
            let count = report.count.saturating_sub(before(&report));
            (count > 0).then_some(CrashReport { count, ..report })
        })
        .collect()
}

fn once() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde calls")]
fn is_once(count: &u32) -> bool {
    *count == 1
}

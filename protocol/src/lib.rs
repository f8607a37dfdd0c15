//! What a twinboot guest and its host say to each other: nothing here does I/O.
//!
//! Three documents cross the boundary.
//!
//! * [`GuestConfig`], host → guest: one JSON file inside the initramfs that tells the init how to set the guest up.
//! * [`Record`], guest → host: one JSON object a line on the test's standard output.
//! * [`orders`], both ways: what the threads of a drawn interleaving are to do, and what came of it.
//!
//! The first two carry [`VERSION`]; a side that meets another version refuses it instead of guessing.

pub mod orders;

use serde::{Deserialize, Serialize};

/// Version of the two documents; raised when an old reader would misread a new writer.
pub const VERSION: u32 = 1;

/// Where the init finds [`GuestConfig`] in the guest's root.
pub const GUEST_CONFIG_PATH: &str = "/etc/twinboot/guest.json";

/// Prefix of every line the init prints on the console for the host to act on.
pub const INIT_PREFIX: &str = "twinboot-init: ";

/// Follows [`INIT_PREFIX`] once swap is on, the network is up and the SSH server listens.
pub const INIT_READY: &str = "ready";

/// Follows [`INIT_PREFIX`] when everything is set up and [`GuestConfig::pause`] asks for a halt: the guest now waits for a
/// line on its console that begins with [`WAKE`], and may be saved and restored meanwhile.
pub const INIT_PAUSED: &str = "paused";

/// What the host writes to the console of a paused guest: this, a space, the guest's seed in decimal, a newline.
pub const WAKE: &str = "wake";

/// Follows [`INIT_PREFIX`] when the guest cannot be set up; the reason stands behind it and the guest powers off.
pub const INIT_FATAL: &str = "fatal: ";

/// How the init sets a guest up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestConfig {
    /// [`VERSION`] of the writer.
    pub protocol: u32,
    /// Swap device to create and switch on; none where the test brings its own.
    pub swap: Option<SwapConfig>,
    /// Sysctls to write before the test, as (`vm.swappiness`, `100`).
    pub sysctl: Vec<(String, String)>,
    /// Seed for this guest's entropy pool.
    pub seed: u64,
    /// Stop at [`INIT_PAUSED`] instead of going on to [`INIT_READY`], until a [`WAKE`] brings another seed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause: bool,
}

/// A swap device the init creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SwapConfig {
    /// Compressed RAM block device (`CONFIG_ZRAM`).
    Zram {
        /// `disksize` in bytes, the swap header's page included.
        size: u64,
        /// Compressor as `comp_algorithm` names it.
        algorithm: String,
    },
    /// Plain RAM block device (`CONFIG_BLK_DEV_RAM`).
    Brd {
        /// Device size in bytes, the swap header's page included.
        size: u64,
    },
}

/// One line of a guest test's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// First record: what the test found before it began.
    Preflight(Preflight),
    /// Twice a second: counters since the test began.
    Progress(Progress),
    /// A try whose oracle failed, one record each.
    Corruption(Corruption),
    /// Last record of a test that ended by itself.
    Summary(Summary),
    /// The test could not run or had to give up; the process then exits non-zero.
    Failure(Failure),
}

/// The ground a test stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preflight {
    /// [`VERSION`] of the writer.
    pub protocol: u32,
    /// Name of the test program.
    pub test: String,
    /// Strategy it was asked to use.
    pub strategy: String,
    /// `uname -r`.
    pub kernel_release: String,
    /// `uname -v`.
    pub kernel_version: String,
    /// Online CPUs.
    pub cpus: u32,
    /// Preemption model: `none`, `voluntary`, `full`, `rt`, `lazy` or `unknown`.
    pub preemption: String,
    /// Page size in bytes.
    pub page_size: u64,
    /// Swap device under test.
    pub swap: Option<SwapDevice>,
    /// Seed of every random choice the test makes.
    pub seed: u64,
}

/// A swap device as `/proc/swaps` and sysfs show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwapDevice {
    /// Device node.
    pub path: String,
    /// Compressor in use, for zram.
    pub algorithm: Option<String>,
    /// Usable page slots.
    pub slots: u64,
    /// Whether the kernel takes the `SWP_SYNCHRONOUS_IO` path on it, as far as the device's sysfs says.
    pub synchronous: Option<bool>,
}

/// Counters that every test keeps, in the words of docs/verdicts.md.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Attempts at the race.
    pub tries: u64,
    /// Tries in which the interferer started inside the victim's fault.
    pub landings: u64,
    /// Tries after which the page was back at the same swap entry.
    pub reuses: u64,
    /// Tries that were both a landing and a reuse: they really tested the race.
    pub exposures: u64,
    /// Tries whose oracle failed.
    pub corruptions: u64,
}

/// Counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Nanoseconds since the first try (`CLOCK_MONOTONIC`).
    pub elapsed_ns: u64,
    /// Counters so far.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What the oracle saw instead of the page that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorruptionKind {
    /// An older generation of the same page: a write is gone.
    LostUpdate,
    /// Only zeroes.
    ZeroPage,
    /// A whole generation of another page.
    ForeignPage,
    /// More than one generation, or bytes nobody wrote.
    TornPage,
}

/// Swap type and offset of a non-present page, from `/proc/self/pagemap`
/// (Documentation/admin-guide/mm/pagemap.rst: bits 0-4 type, bits 5-54 offset).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SwapEntry {
    /// Index of the swap device.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Slot on it, in pages.
    pub offset: u64,
}

/// One failed oracle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Corruption {
    /// Nanoseconds since the first try (`CLOCK_MONOTONIC`).
    pub elapsed_ns: u64,
    /// Number of the try, from 1.
    #[serde(rename = "try")]
    pub attempt: u64,
    /// Which page of the test's, from 0.
    pub page: u64,
    /// Generation that was written last.
    pub expected: u64,
    /// Generation that was read.
    pub found: u64,
    /// What kind of wrong.
    pub kind: CorruptionKind,
    /// Swap entry before the victim's fault.
    pub entry_before: Option<SwapEntry>,
    /// Swap entry after the interferer's pageout.
    pub entry_after: Option<SwapEntry>,
}

/// Why a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The time was up.
    Deadline,
    /// Enough corruptions.
    Corruptions,
    /// Enough exposures.
    Exposures,
    /// A signal asked it to stop.
    Signal,
    /// It ended by itself.
    Exited,
}

/// The whole test in one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Nanoseconds from the first try to the end.
    pub elapsed_ns: u64,
    /// Final counters.
    #[serde(flatten)]
    pub counts: Counts,
    /// Nanoseconds from the first try to the first corruption.
    pub first_corruption_ns: Option<u64>,
    /// Why it ended.
    pub stopped_by: StopReason,
    /// Seed that was used.
    pub seed: u64,
    /// What the test varied although a right fix does not depend on it, counted by level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<Factor>,
    /// Numbers particular to the strategy, for people (name, value with unit).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<(String, String)>,
    /// Where the time of a try went, in the order of the try.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profile: Vec<PartTime>,
}

/// Something a right fix does not depend on and a wrong one may, such as the victim's access or CPU. Every try has one level
/// of it, drawn by the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Factor {
    /// Name, unique in the test: `access`.
    pub name: String,
    /// How a report says at which level something happened, with `{}` for the level's name: `on {} faults`. Empty for
    /// `at NAME {}`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phrase: String,
    /// Its levels, those without a try included.
    pub levels: Vec<Level>,
}

/// The tries at one level of a [`Factor`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// Name, unique in the factor: `write`.
    pub name: String,
    /// As [`Counts::tries`].
    pub tries: u64,
    /// As [`Counts::exposures`].
    pub exposures: u64,
    /// As [`Counts::corruptions`].
    pub corruptions: u64,
}

/// How long one part of a try took, over all tries that came to it. Parts of different threads overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartTime {
    /// Which part.
    pub name: String,
    /// Tries that came to it.
    pub count: u64,
    /// All of them together, nanoseconds.
    pub total_ns: u64,
    /// Median, nanoseconds, as near as a histogram of eight buckets an octave has it.
    pub p50_ns: u64,
    /// Nine in ten were not longer.
    pub p90_ns: u64,
    /// Ninety-nine in a hundred were not longer.
    pub p99_ns: u64,
}

/// Why a test could not go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// One sentence: what was tried, on what, and why it failed.
    pub message: String,
    /// The kernel did not come back from an operation in time, which is a finding about the kernel and not about the test.
    #[serde(default)]
    pub stuck: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corruption_line_is_flat_and_tagged() {
        let record = Record::Corruption(Corruption {
            elapsed_ns: 15_000_000,
            attempt: 3,
            page: 0,
            expected: 4,
            found: 3,
            kind: CorruptionKind::LostUpdate,
            entry_before: Some(SwapEntry { kind: 0, offset: 15 }),
            entry_after: Some(SwapEntry { kind: 0, offset: 15 }),
        });
        let line = serde_json::to_string(&record).expect("a record is plain data");
        assert_eq!(
            line,
            r#"{"type":"corruption","elapsed_ns":15000000,"try":3,"page":0,"expected":4,"found":3,"kind":"lost_update","entry_before":{"type":0,"offset":15},"entry_after":{"type":0,"offset":15}}"#
        );
        assert_eq!(serde_json::from_str::<Record>(&line).expect("reads back"), record);
    }

    #[test]
    fn counters_stand_beside_the_time() {
        let line =
            r#"{"type":"progress","elapsed_ns":1,"tries":9,"landings":8,"reuses":7,"exposures":6,"corruptions":5}"#;
        let Record::Progress(progress) = serde_json::from_str(line).expect("flat") else { panic!("a progress record") };
        assert_eq!(progress.counts.exposures, 6);
    }

    #[test]
    fn a_summary_may_tell_where_its_time_went_or_not() {
        let line = r#"{"type":"summary","elapsed_ns":1,"tries":9,"landings":8,"reuses":7,"exposures":6,"corruptions":5,"first_corruption_ns":null,"stopped_by":"deadline","seed":3}"#;
        let Record::Summary(mut summary) = serde_json::from_str(line).expect("an older writer's") else {
            panic!("a summary record")
        };
        assert_eq!(serde_json::to_string(&Record::Summary(summary.clone())).expect("plain data"), line);
        let part = PartTime { name: "lead".into(), count: 9, total_ns: 90, p50_ns: 9, p90_ns: 11, p99_ns: 30 };
        summary.profile.push(part);
        let record = Record::Summary(summary);
        let line = serde_json::to_string(&record).expect("plain data");
        assert!(
            line.ends_with(
                r#""profile":[{"name":"lead","count":9,"total_ns":90,"p50_ns":9,"p90_ns":11,"p99_ns":30}]}"#
            )
        );
        assert_eq!(serde_json::from_str::<Record>(&line).expect("reads back"), record);
    }
}

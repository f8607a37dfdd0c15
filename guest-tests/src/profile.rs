//! Where the time of a try goes.
//!
//! Each part of a try has a histogram. It has one writer, the thread that does the part, and may be read meanwhile; a
//! sample costs a clock call and two plain stores, far below a hundredth of a try.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use twinboot_protocol::PartTime;

/// Buckets an octave is cut into, as a power of two: a quantile is at most 1/16 off.
const CUT: u32 = 3;

/// Enough for every `u64`.
const BUCKETS: usize = ((64 - CUT as usize) << CUT) + (1 << CUT);

/// Durations in nanoseconds, in buckets as wide as an eighth of an octave.
#[derive(Debug)]
pub struct Histogram {
    buckets: Box<[AtomicU64]>,
    total: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(), total: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Adds one duration. Only one thread may do so: two would lose each other's, which an atomic addition would not, but
    /// that is a locked instruction, and slow in software emulation.
    pub fn add(&self, nanos: u64) {
        let bucket = &self.buckets[index(nanos)];
        bucket.store(bucket.load(Relaxed) + 1, Relaxed);
        self.total.store(self.total.load(Relaxed).wrapping_add(nanos), Relaxed);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// A duration that a share of `percent` is not longer than, by the nearest rank; 0 where there is none.
    pub fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut below = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            below += bucket.load(Relaxed);
            if below >= rank {
                return middle(index);
            }
        }
        0
    }

    /// What the records say of a part of a try.
    pub fn part(&self, name: &str) -> PartTime {
        PartTime {
            name: name.to_owned(),
            count: self.count(),
            total_ns: self.total.load(Relaxed),
            p50_ns: self.percentile(50),
            p90_ns: self.percentile(90),
            p99_ns: self.percentile(99),
        }
    }
}

/// Below `2^CUT` each nanosecond has a bucket of its own; above, the highest bit and the `CUT` bits after it choose one.
fn index(nanos: u64) -> usize {
    let octave = nanos.checked_ilog2().unwrap_or(0).saturating_sub(CUT);
    ((octave as usize) << CUT) + usize::try_from(nanos >> octave).unwrap_or(0)
}

/// The middle of a bucket.
fn middle(index: usize) -> u64 {
    let octave = (index >> CUT).saturating_sub(1);
    let low = ((index - (octave << CUT)) as u64) << octave;
    low + ((1_u64 << octave) - 1) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks_within_a_sixteenth() {
        let histogram = Histogram::default();
        for micros in 1..=100_u64 {
            histogram.add(micros * 1000);
        }
        let part = histogram.part("fault");
        assert_eq!((part.name.as_str(), part.count, part.total_ns), ("fault", 100, 5_050_000));
        for (got, exact) in [(part.p50_ns, 50_000_u64), (part.p90_ns, 90_000), (part.p99_ns, 99_000)] {
            assert!(got.abs_diff(exact) * 16 <= exact, "{got} for {exact}");
        }
    }

    #[test]
    fn nothing_was_seen_of_an_empty_one_and_the_ends_fit() {
        let histogram = Histogram::default();
        assert_eq!((histogram.count(), histogram.percentile(50)), (0, 0));
        histogram.add(0);
        assert_eq!(histogram.percentile(99), 0);
        histogram.add(u64::MAX);
        assert!(histogram.percentile(99) > u64::MAX / 16 * 15);
    }

    proptest! {
        #[test]
        fn a_bucket_s_middle_is_near_whatever_falls_into_it(nanos: u64) {
            prop_assert!(middle(index(nanos)).abs_diff(nanos) <= nanos / 16 + 1);
        }

        #[test]
        fn longer_never_falls_into_a_lower_bucket(nanos in 0..u64::MAX) {
            prop_assert!(index(nanos) <= index(nanos + 1));
        }
    }
}

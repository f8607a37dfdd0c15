//! How long operations take when no thread is held.

use std::collections::HashMap;
use std::time::Duration;

use super::wait_state::{PATIENCE, TIMES_USUAL};

/// The longest time of each operation in free rounds so far.
#[derive(Debug, Clone, Default)]
pub struct OperationLatency(HashMap<(String, Option<String>), Duration>);

impl OperationLatency {
    /// Records how long an operation took.
    pub fn note(&mut self, operation: &str, object: Option<&str>, took: Duration) {
        let longest = self.0.entry((operation.to_owned(), object.map(str::to_owned))).or_default();
        *longest = took.max(*longest);
    }

    /// How long an operation may run before its thread is sampled.
    pub fn patience(&self, operation: &str, object: Option<&str>) -> Duration {
        let usual = self.0.get(&(operation.to_owned(), object.map(str::to_owned))).copied().unwrap_or_default();
        PATIENCE.max(usual * TIMES_USUAL)
    }
}

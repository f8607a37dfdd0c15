//! How long operations take when nothing holds anybody.

use std::collections::HashMap;
use std::time::Duration;

use super::waiting::{PATIENCE, TIMES_USUAL};

/// The longest each operation took so far in rounds without a hold.
#[derive(Debug, Clone, Default)]
pub struct Usual(HashMap<(String, Option<String>), Duration>);

impl Usual {
    /// Notes what an operation took.
    pub fn note(&mut self, operation: &str, object: Option<&str>, took: Duration) {
        let longest = self.0.entry((operation.to_owned(), object.map(str::to_owned))).or_default();
        *longest = took.max(*longest);
    }

    /// How long to leave an operation alone before somebody looks at its thread.
    pub fn patience(&self, operation: &str, object: Option<&str>) -> Duration {
        let usual = self.0.get(&(operation.to_owned(), object.map(str::to_owned))).copied().unwrap_or_default();
        PATIENCE.max(usual * TIMES_USUAL)
    }
}

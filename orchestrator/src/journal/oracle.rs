//! How a program that knows nothing of twinboot says that something went wrong.

use serde::{Deserialize, Serialize};

/// What counts as a failure of a reproducer, and what of its output is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oracle {
    /// Where the findings come from.
    pub speaks: Speech,
    /// Exit statuses and signals (`SIGABRT`) that are a failure; where it is empty, all but those in `clean`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failure: Vec<String>,
    /// Exit statuses and signals of a run without a finding.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clean: Vec<String>,
    /// Regular expression of output lines each of which is a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrupt: Option<String>,
    /// Regular expression of output lines each of which is a try.
    #[serde(rename = "try", default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// Regular expression of output lines each of which is an exposure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<String>,
    /// What it means that the program still runs when the round's time is up.
    #[serde(default)]
    pub still_running: StillRunning,
}

/// What of a program is listened to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speech {
    /// Its exit status and its output.
    #[default]
    Program,
    /// The records of `twinboot-protocol` on its standard output.
    Records,
    /// The kernel's console alone, however the program ends.
    Console,
}

/// What it means that a program still runs when the round's time is up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StillRunning {
    /// Nothing can be said, and the round does not count.
    #[default]
    Unknown,
    /// Nothing was found: the program is endless when the kernel is sound.
    Clean,
    /// It hangs, and that is the failure that is looked for.
    Failure,
}

impl Oracle {
    /// A program that ends with 0 when it finds nothing and with anything else when it does.
    pub fn by_exit() -> Self {
        Self { clean: vec!["0".to_owned()], ..Self::default() }
    }

    /// Whether the program itself says how often the race was really tested. Where it does not, a round is the unit of all
    /// counts.
    pub fn tells_exposures(&self) -> bool {
        self.speaks == Speech::Records || self.exposure.is_some()
    }
}

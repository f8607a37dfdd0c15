//! What a test counts as a failure of a round.

use serde::{Deserialize, Serialize};

pub use crate::crash::CrashKind;

/// One way to fail. A test that lists none counts corruptions, by exposures; one that lists any other counts whole rounds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// The test's oracle saw lost data. It always counts, listed or not.
    Corruption,
    /// The guest's kernel panicked, reset or died.
    Crash,
    /// The kernel hung: a lockup or a blocked task on the console, an operation that did not come back, a guest that
    /// neither ended its test nor powered off.
    Hang,
    /// The kernel complained of this kind on its console; of any kind where none is named.
    Complaint(Option<CrashKind>),
    /// The test program ended with this status; with any but 0 where none is named.
    Exit(Option<i32>),
    /// The test program printed a line with this text in it.
    Output(String),
}

impl Counted {
    /// A few words: `a crash`, `exit status 1`.
    pub fn words(&self) -> String {
        match self {
            Self::Corruption => "lost data".to_owned(),
            Self::Crash => "a crash".to_owned(),
            Self::Hang => "a hang".to_owned(),
            Self::Complaint(None) => "a kernel complaint".to_owned(),
            Self::Complaint(Some(kind)) => format!("a complaint ({})", kind.label()),
            Self::Exit(None) => "an exit status other than 0".to_owned(),
            Self::Exit(Some(status)) => format!("exit status {status}"),
            Self::Output(text) => format!("the output `{text}`"),
        }
    }
}

/// Whether `counts` names more than corruptions, so that rounds are what is counted.
pub fn counts_rounds(counts: &[Counted]) -> bool {
    counts.iter().any(|way| *way != Counted::Corruption)
}

/// Whether the end of the test program decides on a round, with or without records: it has counted statuses or lines.
pub fn counts_program(counts: &[Counted]) -> bool {
    counts.iter().any(|way| matches!(way, Counted::Exit(_) | Counted::Output(_)))
}

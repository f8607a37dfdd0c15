//! Exit codes, and the one place that maps errors to them. Scripts depend on the numbers.

use std::fmt::Write as _;

pub use crate::analysis::exit::{INFRASTRUCTURE, INTERRUPTED, MET as OK, NOT_MET as EXPECTATION_NOT_MET, RETRY};

use crate::journal::ReadError;
use crate::printable::paragraph;

/// Wrong usage, or a plan with errors.
pub const USAGE: u8 = 2;

/// Why a command ended without doing what it was asked: an exit code and what to say.
#[derive(Debug)]
pub struct Failure {
    /// One of the constants above.
    pub code: u8,
    message: String,
    causes: Vec<String>,
    hint: Option<&'static str>,
    closed_pipe: bool,
}

impl Failure {
    /// A failure that `error` and its causes explain.
    pub fn new(code: u8, error: &dyn std::error::Error) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self { code, message: error.to_string(), causes, hint: None, closed_pipe: false }
    }

    /// A failure in words of its own.
    pub fn say(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), causes: Vec::new(), hint: None, closed_pipe: false }
    }

    /// Results that cannot be read.
    pub fn unreadable(error: &ReadError) -> Self {
        let hint = match error {
            ReadError::Io { .. } => "name a results folder of `twinboot run`, such as results/latest",
            ReadError::Journal { .. } => "use a results folder as twinboot left it, with the twinboot that made it",
        };
        Self::new(USAGE, error).hint(hint)
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Whether nobody reads what is printed any more, such as `head` that has had enough: no failure that anybody wants to
    /// hear of.
    pub fn is_closed_pipe(&self) -> bool {
        self.closed_pipe
    }

    /// What is printed on standard error.
    pub fn text(&self) -> String {
        let mut text = match self.code {
            INTERRUPTED => format!("twinboot: {}\n", paragraph(&self.message)),
            _ => format!("error: {}\n", paragraph(&self.message)),
        };
        for cause in &self.causes {
            let _ = writeln!(text, "  because: {}", paragraph(cause));
        }
        if let Some(hint) = self.hint {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }
}

impl From<std::io::Error> for Failure {
    /// Standard output is gone, or the runtime could not be set up.
    fn from(error: std::io::Error) -> Self {
        let closed_pipe = error.kind() == std::io::ErrorKind::BrokenPipe;
        Self { closed_pipe, ..Self::new(INFRASTRUCTURE, &error) }
    }
}

impl From<crate::cache::Error> for Failure {
    fn from(error: crate::cache::Error) -> Self {
        use crate::cache::Error;
        let code = match &error {
            Error::NoHome | Error::NotACache { .. } | Error::Newer { .. } => USAGE,
            Error::Interrupted { .. } => INTERRUPTED,
            Error::Key { .. } | Error::Io { .. } => INFRASTRUCTURE,
        };
        Self::new(code, &error)
    }
}

impl From<crate::run::Error> for Failure {
    fn from(error: crate::run::Error) -> Self {
        use crate::run::Error;
        match &error {
            Error::Interrupted => Self::new(INTERRUPTED, &error),
            // The journal's lock: a task that was declared dead still runs, or its file server has not noticed yet.
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::WouldBlock => {
                Self::new(RETRY, &error).hint("wait until the other one has ended, then try again")
            }
            Error::Occupied { .. } | Error::Resume { .. } | Error::Cell { .. } => Self::new(USAGE, &error),
            Error::Accelerator(_) => {
                Self::new(INFRASTRUCTURE, &error).hint("`--accel auto` falls back to TCG by itself")
            }
            Error::NothingBuilt => Self::new(INFRASTRUCTURE, &error)
                .hint("the reasons stand above; the whole logs are in the cache folder"),
            _ => Self::new(INFRASTRUCTURE, &error),
        }
    }
}

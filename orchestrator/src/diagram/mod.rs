//! The language of drawn interleavings: what a mailing list draws in columns, as data. `docs/diagrams.md` tells it whole.
//!
//! Pure: no I/O, and nothing of any kernel is known here. Whether a point exists is for [`kernel_debug::Symbols`] to say, whether an
//! operation does for the guest test.

mod derive;
mod drawing;
mod grid;
mod order;
mod point;
mod steps;
mod words;

#[cfg(test)]
mod tests;

use kernel_debug::Point;
use serde::{Deserialize, Serialize};

pub use derive::{HeldPoint, Operated, held_point};
pub use drawing::parse_drawing;
pub use grid::thread_name;
pub use point::{parse_names, parse_point};
pub use steps::{StepLine, parse_steps};
pub use words::parse_operation;

/// A drawn interleaving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagram {
    /// Thread names by column, at least one.
    pub threads: Vec<String>,
    /// Steps in the order in which they are to happen.
    pub steps: Vec<Step>,
    /// The drawing as it stands in the plan, for reports; a step list is drawn in columns.
    pub drawing: Vec<String>,
}

/// One step of one thread. The next step begins when this one is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Column.
    pub thread: usize,
    /// What it does.
    pub action: Action,
    /// Index into [`Diagram::drawing`] of the row it stands in.
    pub row: usize,
    /// The cell's words.
    pub text: String,
}

/// What a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The thread does an operation of the guest test. Done when it came back, or, when the thread's next step is an
    /// [`Action::Reach`], at once; with `start` before it, at once as well ([`Action::Finish`] waits for it later).
    Operate {
        /// Word of the guest test's: `read`, `write`, `pageout`.
        operation: String,
        /// What it is done to: `page`.
        object: Option<String>,
        /// Written as `start OPERATION`.
        started: bool,
    },
    /// The running operation gets to this point of the kernel.
    Reach(Point),
    /// The thread stays at the point it has just reached until [`Action::Release`].
    Hold(Hold),
    /// The thread goes on from where it is held. Done when its operation came back, or at once when its next step is an
    /// [`Action::Reach`].
    Release,
    /// The operation came back that was begun with `start`, or that ran on from a point where it was not held.
    Finish,
}

/// How a thread is kept where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// `hold`: it is put to sleep like any task that waits; refused where the kernel may not sleep.
    Sleep,
    /// `freeze`: its virtual CPU stands still while the others run, for points where sleeping is illegal.
    Freeze,
}

/// What is wrong with a drawing or a step list, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiagramError {
    /// Line of the drawing, or step of the list, from 0.
    pub row: usize,
    /// In characters from the beginning of the line, or of the step's text; from 0.
    pub column: usize,
    /// Characters concerned, at least one.
    pub length: usize,
    /// What was found and what was expected.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A step and where it was found.
#[derive(Debug)]
struct Placed {
    thread: usize,
    /// None where the words could not be read; that has been told.
    action: Option<Action>,
    text: String,
    row: usize,
    column: usize,
}

impl Placed {
    fn error(&self, message: impl Into<String>, hint: &str) -> DiagramError {
        DiagramError {
            row: self.row,
            column: self.column,
            length: self.text.chars().count().max(1),
            message: message.into(),
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
        }
    }
}

/// What is wrong with a cell's words: which of its characters, what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    /// From 0, in characters.
    at: usize,
    length: usize,
    message: String,
    hint: Option<String>,
}

impl Wrong {
    fn new(at: usize, length: usize, message: impl Into<String>, hint: &str) -> Self {
        Self { at, length: length.max(1), message: message.into(), hint: (!hint.is_empty()).then(|| hint.to_owned()) }
    }

    /// The same as an error of the words `text`, which begin at `column` of `row`.
    fn of(self, text: &str, row: usize, column: usize) -> DiagramError {
        let last = text.chars().count().saturating_sub(1);
        let at = self.at.min(last);
        let length = self.length.min(last + 1 - at).max(1);
        DiagramError { row, column: column + at, length, message: self.message, hint: self.hint }
    }

    /// All of it in one text, for those who show no place.
    fn told(self) -> String {
        match self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message,
        }
    }

    /// The same, for words that begin so many characters further on.
    fn after(self, characters: usize) -> Self {
        Self { at: self.at + characters, ..self }
    }
}

/// The known word that is one slip away from `found`.
fn slip<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known.into_iter().find(|word| strsim::damerau_levenshtein(found, word) == 1)
}

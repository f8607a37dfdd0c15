//! Diagrams as data, and what is wrong with those that cannot be read.

use kernel_debug::{Names, Point};
use serde::{Deserialize, Serialize};

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
    /// The thread does an operation of the guest test. Done when it came back, or, when the
    /// thread's next step is an [`Action::Reach`], at once; with `start` before it, at once as well
    /// ([`Action::Finish`] waits for it later).
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
    /// The thread goes on from where it is held. Done when its operation came back, or at once when
    /// its next step is an [`Action::Reach`].
    Release,
    /// The operation came back that was begun with `start`, or that ran on from a point where it
    /// was not held.
    Finish,
}

/// How a thread is kept where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// `hold`: it is put to sleep like any task that waits; refused where the kernel may not sleep.
    Sleep,
    /// `freeze`: its virtual CPU stands still while the others run, for points where sleeping is
    /// illegal.
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
pub(super) struct Placed {
    pub thread: usize,
    /// None where the words could not be read; that has been told.
    pub action: Option<Action>,
    pub text: String,
    pub row: usize,
    pub column: usize,
}

impl Placed {
    pub(super) fn error(&self, message: impl Into<String>, hint: &str) -> DiagramError {
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
pub(super) struct Wrong {
    /// From 0, in characters.
    pub at: usize,
    pub length: usize,
    pub message: String,
    pub hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(at: usize, length: usize, message: impl Into<String>, hint: &str) -> Self {
        Self { at, length: length.max(1), message: message.into(), hint: (!hint.is_empty()).then(|| hint.to_owned()) }
    }

    /// The same as an error of the words `text`, which begin at `column` of `row`.
    pub(super) fn of(self, text: &str, row: usize, column: usize) -> DiagramError {
        let last = text.chars().count().saturating_sub(1);
        let at = self.at.min(last);
        let length = self.length.min(last + 1 - at).max(1);
        DiagramError { row, column: column + at, length, message: self.message, hint: self.hint }
    }

    /// All of it in one text, for those who show no place.
    pub(super) fn told(self) -> String {
        match self.hint {
            Some(hint) => format!("{} ({hint})", self.message),
            None => self.message,
        }
    }

    /// The same, for words that begin so many characters further on.
    pub(super) fn after(self, characters: usize) -> Self {
        Self { at: self.at + characters, ..self }
    }
}

/// An operation of a thread, as [`Action::Operate`] has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operated {
    /// Column.
    pub thread: usize,
    /// Word of the guest test's.
    pub operation: String,
    /// What it is done to.
    pub object: Option<String>,
}

/// The first hold of a diagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldPoint {
    /// What is held.
    pub victim: Operated,
    /// The function of the point at which it is held.
    pub function: Names,
    /// What the others begin before it is let go, in order.
    pub meanwhile: Vec<Operated>,
}

/// Finds the first hold at a point that names its function; none where there is no such hold, or
/// where the others do nothing before the release.
pub fn held_point(diagram: &Diagram) -> Option<HeldPoint> {
    let steps = &diagram.steps;
    let held = steps.iter().enumerate().filter(|(_, step)| matches!(step.action, Action::Hold(_)));
    held.map(|(index, _)| index).find_map(|hold| {
        let thread = steps[hold].thread;
        let Action::Reach(point) = &steps[hold.checked_sub(1)?].action else { return None };
        let function = point.function()?.clone();
        let operation = |index: &usize| operated(diagram, *index);
        let victim =
            (0..hold).rev().filter(|index| steps[*index].thread == thread).find_map(|index| operation(&index))?;
        let release = (hold..steps.len())
            .find(|index| steps[*index].thread == thread && steps[*index].action == Action::Release)
            .unwrap_or(steps.len());
        let meanwhile: Vec<Operated> = (hold..release)
            .filter(|index| steps[*index].thread != thread)
            .filter_map(|index| operation(&index))
            .collect();
        (!meanwhile.is_empty()).then_some(HeldPoint { victim, function, meanwhile })
    })
}

fn operated(diagram: &Diagram, step: usize) -> Option<Operated> {
    match &diagram.steps[step] {
        Step { thread, action: Action::Operate { operation, object, .. }, .. } => {
            Some(Operated { thread: *thread, operation: operation.clone(), object: object.clone() })
        }
        _ => None,
    }
}

/// Whether a thread can be called so: letters, digits, `_`, `-` and `.`, and a letter, a digit or
/// `_` first.
///
/// # Errors
///
/// The first character that it may not have.
pub fn thread_name(name: &str) -> Result<(), char> {
    match name.chars().find(|c| !(c.is_alphanumeric() || "_-.".contains(*c))) {
        None => name.chars().next().filter(|c| "-.".contains(*c)).map_or(Ok(()), Err),
        Some(wrong) => Err(wrong),
    }
}

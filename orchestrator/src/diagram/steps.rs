//! Step lists, and how they are drawn.

use super::model::{Action, Diagram, DiagramError, Placed, Step, Wrong, thread_name};
use super::point;
use crate::suggest;

/// A column is at least so wide: short names would stand too close to each other to be read as
/// columns.
const COLUMN_MIN: usize = 12;
/// Blanks between columns, and before a point.
const GAP: usize = 2;

/// One step of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepLine {
    /// Thread.
    pub thread: String,
    /// The words of the cell.
    pub text: String,
    /// It is a point of the kernel, whatever it looks like.
    pub point: bool,
}

/// Reads a list of steps. Threads get their columns in the order in which they appear.
///
/// # Errors
///
/// Everything that is wrong with it, by step and character of its text.
pub fn parse_steps(list: &[StepLine]) -> Result<Diagram, Vec<DiagramError>> {
    let mut errors = Vec::new();
    let mut threads: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for (row, line) in list.iter().enumerate() {
        let thread = threads.iter().position(|thread| *thread == line.thread).unwrap_or_else(|| {
            threads.push(line.thread.clone());
            threads.len() - 1
        });
        let text = line.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut read = if line.point { point::point(&text).map(Action::Reach) } else { point::read(&text, false) };
        if let Err(c) = thread_name(&line.thread) {
            let message = format!("the thread's name '{}' has {c:?} in it", line.thread);
            read = Err(Wrong::new(0, 1, message, "letters, digits, `_`, `-` and `.` are allowed"));
        }
        if line.thread.is_empty() {
            read = Err(Wrong::new(0, 1, "the thread's name is empty", ""));
        }
        let action = read.map_err(|wrong| errors.push(wrong.of(&text, row, 0)));
        steps.push(Placed { thread, action: action.ok(), text, row, column: 0 });
    }
    if steps.is_empty() {
        let hint = Some("such as `- victim: read page`".to_owned());
        let message = "the diagram has no step".to_owned();
        return Err(vec![DiagramError { row: 0, column: 0, length: 1, message, hint }]);
    }
    check(&threads, &steps, &mut errors);
    if !errors.is_empty() {
        errors.sort();
        return Err(errors);
    }
    let drawing = draw(&threads, &steps);
    Ok(diagram(threads, steps, drawing, |row| row + 2))
}

/// The steps in columns, under names and a ruler.
fn draw(threads: &[String], steps: &[Placed]) -> Vec<String> {
    let cell = |step: &Placed| match step.action {
        Some(Action::Reach(_)) => format!("{:GAP$}{}", "", step.text),
        _ => step.text.clone(),
    };
    let width = |index: usize| {
        let cells = steps.iter().filter(|step| step.thread == index).map(|step| cell(step).chars().count());
        let name = threads[index].chars().count();
        cells.chain([name]).max().unwrap_or_default().max(COLUMN_MIN - GAP) + GAP
    };
    let widths: Vec<usize> = (0..threads.len()).map(width).collect();
    let row = |texts: Vec<String>| {
        let padded = texts.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
        padded.collect::<String>().trim_end().to_owned()
    };
    let rulers = threads.iter().map(|name| "-".repeat(name.chars().count())).collect();
    let mut drawing = vec![row(threads.to_vec()), row(rulers)];
    for step in steps {
        let texts = (0..threads.len()).map(|index| if index == step.thread { cell(step) } else { ".".to_owned() });
        drawing.push(row(texts.collect()));
    }
    drawing
}

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing, and it has done nothing yet.
    New,
    /// Nothing.
    Idle,
    /// An operation that is not held; the step with which it got there.
    Running(usize),
    /// An operation that stays at a point; the step that holds it.
    Held(usize),
    /// An operation that was begun with `start` and came back when it was released.
    Back,
    /// A step could not be read: everything is possible.
    Unknown,
}

/// Notes every step that cannot follow those before it. Steps that could not be read stand for
/// anything.
pub(super) fn check(threads: &[String], steps: &[Placed], errors: &mut Vec<DiagramError>) {
    let mut states = vec![State::New; threads.len()];
    let mut started = vec![false; threads.len()];
    let mut holds = 0;
    for (index, step) in steps.iter().enumerate() {
        if step.thread >= threads.len() {
            states.fill(State::Unknown);
            continue;
        }
        let name = &threads[step.thread];
        let state = states[step.thread];
        let next_is_reach = steps[index + 1..]
            .iter()
            .find(|later| later.thread == step.thread)
            .is_some_and(|later| matches!(later.action, Some(Action::Reach(_)) | None));
        if state == State::New
            && matches!(step.action, Some(Action::Reach(_) | Action::Hold(_) | Action::Release | Action::Finish))
        {
            errors.push(step.error(format!("`{name}` has not begun an operation"), &unbegun(name, step, threads)));
            states[step.thread] = State::Unknown;
            continue;
        }
        let result = match &step.action {
            None => Ok(State::Unknown),
            Some(Action::Operate { started: begun, .. }) => {
                started[step.thread] = *begun;
                let goes_on = *begun || next_is_reach;
                operate(name, state, step).map(|()| if goes_on { State::Running(index) } else { State::Idle })
            }
            Some(Action::Reach(_)) => reach(name, state, step).map(|()| State::Running(index)),
            Some(Action::Hold(_)) => {
                holds += 1;
                hold(state, index, steps).map(|()| State::Held(index))
            }
            Some(Action::Release) => release(name, state, step).map(|()| match (next_is_reach, started[step.thread]) {
                (true, _) => State::Running(index),
                (false, true) => State::Back,
                (false, false) => State::Idle,
            }),
            Some(Action::Finish) => finish(name, state, step).map(|()| State::Idle),
        };
        states[step.thread] = result.unwrap_or_else(|error| {
            errors.push(error);
            State::Unknown
        });
    }
    for (name, state) in threads.iter().zip(states) {
        match state {
            State::Held(step) => {
                let hint = format!("end with `release` of `{name}`");
                errors.push(steps[step].error(format!("`{name}` is held here and never let go"), &hint));
            }
            State::Running(step) => {
                let hint = "write `finish` where it has to be back, or `hold` behind the point where it has to stay";
                errors.push(steps[step].error(format!("`{name}`'s operation goes on from here and never ends"), hint));
            }
            State::New | State::Idle | State::Back | State::Unknown => {}
        }
    }
    if let (0, Some(last), true) = (holds, steps.last(), errors.is_empty()) {
        let hint = "write a point of the kernel under an operation, set in, and `hold` under the point";
        errors.push(last.error("nothing is held, so nothing is forced", hint));
    }
}

/// What to do about a step of a thread that has done nothing yet.
fn unbegun(name: &str, step: &Placed, threads: &[String]) -> String {
    let others = threads.iter().map(String::as_str).filter(|other| *other != name);
    if let Some(question) = suggest::did_you_mean(name, others) {
        return question;
    }
    match step.action {
        Some(Action::Reach(_)) => "an operation begins under its thread's name, a point is set in".to_owned(),
        _ => "it needs one first, such as `read page`".to_owned(),
    }
}

fn operate(name: &str, state: State, step: &Placed) -> Result<(), DiagramError> {
    match state {
        State::Running(_) => {
            let hint = if step.text.contains(' ') {
                "write `finish` before it"
            } else {
                "a point of the kernel is set in by a blank or two; for an operation, write `finish` before it"
            };
            Err(step.error(format!("`{name}` is in the middle of an operation"), hint))
        }
        State::Held(_) => Err(step.error(format!("`{name}` is held"), "write `release` before it")),
        State::New | State::Idle | State::Back | State::Unknown => Ok(()),
    }
}

fn reach(name: &str, state: State, step: &Placed) -> Result<(), DiagramError> {
    match state {
        State::Held(_) => Err(step.error(format!("`{name}` is held and gets nowhere"), "write `release` before it")),
        State::New | State::Idle | State::Back => {
            let hint = "an operation begins under its thread's name, a point is set in and belongs to the one above it";
            Err(step.error(format!("`{name}` has no operation that could get here"), hint))
        }
        State::Running(_) | State::Unknown => Ok(()),
    }
}

/// Held is who has just got to a point: anybody else's step in between would let it run on.
fn hold(state: State, index: usize, steps: &[Placed]) -> Result<(), DiagramError> {
    let step = &steps[index];
    if state == State::Unknown {
        return Ok(());
    }
    if let State::Held(_) = state {
        return Err(step.error("it is held already", "take this out"));
    }
    match index.checked_sub(1).map(|before| &steps[before]) {
        Some(before) if before.thread == step.thread && matches!(before.action, Some(Action::Reach(_))) => Ok(()),
        _ => {
            let message = "there is no point of the kernel in the row above to be held at";
            Err(step.error(message, "such as `  do_swap_page: after swap_readpage`, set in under the operation"))
        }
    }
}

fn release(name: &str, state: State, step: &Placed) -> Result<(), DiagramError> {
    match state {
        State::Held(_) | State::Unknown => Ok(()),
        State::New | State::Idle | State::Running(_) | State::Back => {
            Err(step.error(format!("`{name}` is not held"), "only what was held before can be released"))
        }
    }
}

fn finish(name: &str, state: State, step: &Placed) -> Result<(), DiagramError> {
    match state {
        State::Running(_) | State::Back | State::Unknown => Ok(()),
        State::Held(_) => Err(step.error(format!("`{name}` is held and cannot finish"), "write `release` before it")),
        State::New | State::Idle => {
            let hint = "it goes with `start`: an operation without it is back before the next row begins";
            Err(step.error(format!("`{name}` has no operation that could finish"), hint))
        }
    }
}

/// A diagram of steps without errors; `row` gives the place in the drawing.
pub(super) fn diagram(
    threads: Vec<String>,
    steps: Vec<Placed>,
    drawing: Vec<String>,
    row: impl Fn(usize) -> usize,
) -> Diagram {
    let steps = steps.into_iter().filter_map(|step| {
        Some(Step { thread: step.thread, action: step.action?, row: row(step.row), text: step.text })
    });
    Diagram { threads, steps: steps.collect(), drawing }
}

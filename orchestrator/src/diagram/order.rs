//! Whether the steps of a diagram can follow each other.

use super::{Action, Diagram, DiagramError, Placed, Step};

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

/// Notes every step that cannot follow those before it. Steps that could not be read stand for anything.
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
    if let Some(near) = crate::plan::yaml::nearest(name, others) {
        return format!("did you mean `{near}`?");
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

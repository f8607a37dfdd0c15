//! What a diagram says about the operation that it holds.

use super::{Action, Diagram};
use kernel_debug::Names;

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

/// Finds the first hold at a point that names its function; none where there is no such hold, or where the others do
/// nothing before the release.
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
        super::Step { thread, action: Action::Operate { operation, object, .. }, .. } => {
            Some(Operated { thread: *thread, operation: operation.clone(), object: object.clone() })
        }
        _ => None,
    }
}

//! A sweep as a diagram: the victim is held at one point while the interferers act, one after the
//! other.

use crate::diagram::{Action, Diagram, Hold, Step};
use crate::plan::model::{Operation, Sweep};
use kernel_debug::Point;

/// Index of the step at which the victim reaches the point.
pub const ARRIVAL: usize = 1;

/// The diagram of a sweep. Its single point stands for the address under test.
pub fn drawing(sweep: &Sweep) -> Diagram {
    let mut threads = vec![sweep.victim.thread.clone()];
    for operation in &sweep.interferers {
        if !threads.contains(&operation.thread) {
            threads.push(operation.thread.clone());
        }
    }
    let column = |operation: &Operation| threads.iter().position(|name| *name == operation.thread).unwrap_or(0);
    let function = sweep.functions.first().cloned().unwrap_or_default();
    let mut steps: Vec<(usize, Action, String)> = vec![
        (0, operate(&sweep.victim), words(&sweep.victim)),
        (0, Action::Reach(Point::Entry(function)), "the point".to_owned()),
        (0, Action::Hold(Hold::Sleep), "hold".to_owned()),
    ];
    steps.extend(sweep.interferers.iter().map(|it| (column(it), operate(it), words(it))));
    steps.push((0, Action::Release, "release".to_owned()));
    let step = |(row, (thread, action, text))| Step { thread, action, row, text };
    Diagram { steps: steps.into_iter().enumerate().map(step).collect(), drawing: Vec::new(), threads }
}

/// The operation as a plan spells it: `read page`.
pub fn words(operation: &Operation) -> String {
    match &operation.object {
        Some(object) => format!("{} {object}", operation.operation),
        None => operation.operation.clone(),
    }
}

fn operate(operation: &Operation) -> Action {
    Action::Operate { operation: operation.operation.clone(), object: operation.object.clone(), started: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_victim_is_held_while_each_of_the_others_acts() {
        let operation = |thread: &str, operation: &str| Operation {
            thread: thread.to_owned(),
            operation: operation.to_owned(),
            object: Some("page".to_owned()),
        };
        let sweep = Sweep {
            name: "s".to_owned(),
            run: "swap-race".to_owned(),
            args: [].into(),
            victim: operation("a", "read"),
            interferers: vec![operation("b", "write"), operation("c", "read"), operation("b", "pageout")],
            functions: vec![vec!["f".to_owned()]],
            callees: Vec::new(),
            deadline: std::time::Duration::from_secs(1),
        };
        let diagram = drawing(&sweep);
        assert_eq!(diagram.threads, ["a", "b", "c"]);
        let steps: Vec<(usize, &str)> = diagram.steps.iter().map(|it| (it.thread, it.text.as_str())).collect();
        let want =
            [(0, "read page"), (0, "the point"), (0, "hold"), (1, "write page"), (2, "read page"), (1, "pageout page")];
        assert_eq!(steps[..6], want);
        assert_eq!(steps[6..], [(0, "release")]);
        assert!(matches!(diagram.steps[ARRIVAL].action, Action::Reach(_)));
    }
}

//! Sweeps that a plan does not write down: what its interleavings hold, held everywhere in the same function.

use std::collections::BTreeSet;

use super::model::{Interleaving, Operation, Sweep};
use crate::diagram::{Operated, held_point};

/// The sweep of each interleaving that holds a thread in a function while the others do something. `names` are taken.
pub fn sweeps(interleavings: &[Interleaving], names: &BTreeSet<String>) -> Vec<Sweep> {
    let mut names = names.clone();
    let mut sweeps: Vec<Sweep> = interleavings.iter().filter_map(sweep).collect();
    for sweep in &mut sweeps {
        while !names.insert(sweep.name.clone()) {
            sweep.name.push_str("-sweep");
        }
    }
    sweeps
}

/// The victim is the first thread that is held, its interferers are what the others begin until it is released.
fn sweep(interleaving: &Interleaving) -> Option<Sweep> {
    let held = held_point(&interleaving.diagram)?;
    let operation = |Operated { thread, operation, object }: Operated| Operation {
        thread: interleaving.diagram.threads[thread].clone(),
        operation,
        object,
    };
    Some(Sweep {
        name: match interleaving.name.as_str() {
            "interleaving" => "sweep".to_owned(),
            name => format!("{name}-sweep"),
        },
        run: interleaving.run.clone(),
        args: interleaving.args.clone(),
        victim: operation(held.victim),
        interferers: held.meanwhile.into_iter().map(operation).collect(),
        functions: vec![held.function],
        callees: Vec::new(),
        deadline: interleaving.deadline,
    })
}

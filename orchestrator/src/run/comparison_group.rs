//! Cells that hang together through comparisons, and what the journal says of them.

use std::collections::HashMap;

use crate::analysis::Results;
use crate::journal::Entry;
use crate::journal::entry::{ComparisonSpec, RunStarted};

/// Cells that are judged by each other alone. However many cells a run has, what a round teaches is learnt from the
/// entries of its own group.
#[derive(Debug)]
pub(super) struct Group {
    /// The run as if it were made of these cells.
    run: RunStarted,
    /// None of the cells may stop early: nothing is to be learnt before their end.
    pub fixed: bool,
    /// Indices of the journal's entries about these cells and their kernels.
    pub entries: Vec<usize>,
}

/// The groups of `run` by their first cells, and for each cell the index of its own.
pub(super) fn of(run: &RunStarted) -> (Vec<Group>, HashMap<String, usize>) {
    let index: HashMap<&str, usize> = run.cells.iter().enumerate().map(|(at, cell)| (cell.id.as_str(), at)).collect();
    let at = |cell: &String| index.get(cell.as_str()).copied();
    let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); run.cells.len()];
    for pair in &run.comparisons {
        if let (Some(base), Some(patched)) = (at(&pair.base), at(&pair.patched)) {
            neighbours[base].push(patched);
            neighbours[patched].push(base);
        }
    }
    let mut group_of = vec![usize::MAX; run.cells.len()];
    let mut count = 0;
    for first in 0..run.cells.len() {
        if group_of[first] != usize::MAX {
            continue;
        }
        let mut reached = vec![first];
        while let Some(cell) = reached.pop() {
            if group_of[cell] == usize::MAX {
                group_of[cell] = count;
                reached.extend(&neighbours[cell]);
            }
        }
        count += 1;
    }
    // The cells alone: a copy of all of them for each group would be quadratic.
    let bare =
        RunStarted { cells: Vec::new(), comparisons: Vec::new(), forced: Vec::new(), whole: None, ..run.clone() };
    let mut groups: Vec<Group> =
        (0..count).map(|_| Group { run: bare.clone(), fixed: false, entries: Vec::new() }).collect();
    for (cell, &group) in run.cells.iter().zip(&group_of) {
        groups[group].run.cells.push(cell.clone());
    }
    for pair in &run.comparisons {
        if let Some(base) = at(&pair.base) {
            groups[group_of[base]].run.comparisons.push(pair.clone());
        }
    }
    for group in &mut groups {
        group.fixed = !group.may_stop();
    }
    (groups, run.cells.iter().map(|cell| cell.id.clone()).zip(group_of).collect())
}

impl Group {
    /// The cells, in plan order: id, kernel and variant.
    pub fn cells(&self) -> impl Iterator<Item = (&str, (&str, &str))> {
        self.run.cells.iter().map(|cell| (cell.id.as_str(), (cell.kernel.as_str(), cell.variant.as_str())))
    }

    /// Whether a cell of the group runs on this kernel.
    pub fn runs_on(&self, kernel: &str, variant: &str) -> bool {
        self.run.cells.iter().any(|cell| cell.kernel == kernel && cell.variant == variant)
    }

    /// What is known of the cells by their entries of the journal and by `news`.
    pub fn fold(&self, journal: &[Entry], news: &[Entry]) -> Results {
        let started = std::iter::once(Entry::RunStarted(Box::new(self.run.clone())));
        let told = self.entries.iter().filter_map(|&at| journal.get(at)).chain(news);
        Results::fold(started.chain(told.cloned()))
    }

    /// Whether one of the cells may end before its rounds are used up.
    fn may_stop(&self) -> bool {
        let controlled = |id: &String| {
            let own = |pair: &&ComparisonSpec| pair.base == *id || pair.patched == *id;
            self.run.comparisons.iter().filter(own).any(|pair| pair.control)
        };
        let sequential = self.run.cells.iter().filter(|cell| cell.rule.is_some_and(|rule| rule.sequential));
        sequential.map(|cell| &cell.id).any(|id| !controlled(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::rules::Rule;
    use crate::simulation::{Truth, World, play, started};

    const RULE: Rule = Rule { alpha: 1e-6, residual: 0.1, min_rounds: 3, rounds: 8, sequential: true, exact: false };
    const WORLD: World =
        World { rate: 0.1, exposures: 2000, clustering: 0.0, boot_clustering: 0.0, truth: Truth::Ratio(0.0) };

    /// The world's pair under each of `names`.
    fn run(names: &[&str]) -> RunStarted {
        let one = started(&WORLD, &RULE, 1);
        let mut run = RunStarted { cells: Vec::new(), comparisons: Vec::new(), ..one.clone() };
        for name in names {
            run.cells.extend(one.cells.iter().cloned().map(|mut cell| {
                cell.id = format!("{name}.{}", cell.id);
                cell.kernel = (*name).to_owned();
                cell
            }));
            run.comparisons.extend(one.comparisons.iter().cloned().map(|mut pair| {
                pair.base = format!("{name}.{}", pair.base);
                pair.patched = format!("{name}.{}", pair.patched);
                pair
            }));
        }
        run
    }

    #[test]
    fn cells_hang_together_through_comparisons_whatever_stands_between() {
        let mut run = run(&["a", "b"]);
        run.cells.swap(1, 2);
        let (groups, of) = of(&run);
        assert_eq!(groups.len(), 2);
        assert_eq!((of["a.base"], of["a.patched"], of["b.base"], of["b.patched"]), (0, 0, 1, 1));
        assert!(groups[1].runs_on("b", &run.cells[0].variant) && !groups[1].runs_on("a", &run.cells[0].variant));
        assert!(groups.iter().all(|group| group.run.comparisons.len() == 1 && !group.fixed));
    }

    #[test]
    fn a_group_is_judged_as_if_it_were_alone() {
        let whole = play(&WORLD, &RULE, 1, 0);
        let (mut groups, _) = of(&run(&["a", "b"]));
        let mut journal = Vec::new();
        for name in ["b", "a"] {
            for cell in &whole.cells {
                for mut end in cell.rounds.iter().filter_map(|round| round.end().cloned()) {
                    end.id.cell = format!("{name}.{}", cell.spec.id);
                    journal.push(Entry::RoundFinished(Box::new(end)));
                }
            }
        }
        let half = journal.len() / 2;
        groups[0].entries = (half..journal.len()).collect();
        let known = groups[0].fold(&journal, &[]);
        assert_eq!(known.cells.len(), 2);
        assert_eq!(known.comparisons[0].verdict, whole.comparisons[0].verdict);
    }

    #[test]
    fn a_control_uses_up_its_rounds() {
        let mut run = run(&["a"]);
        run.comparisons[0].control = true;
        assert!(of(&run).0[0].fixed);
    }
}

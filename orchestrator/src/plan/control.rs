//! The A/A control of a plan: every base against itself.

use super::model::{Cell, Comparison, Plan};
use crate::journal::rules::Expectation;

impl Plan {
    /// Makes each base run twice, as itself and as a second variant of the same patches, and drops everything else,
    /// interleavings and sweeps too: whatever differs between the two is the setup's doing and not a patch's.
    #[must_use]
    pub fn control(mut self) -> Self {
        let is_base = |cell: &Cell| !self.comparisons.iter().any(|pair| pair.patched == cell.id);
        let bases: Vec<Cell> = self.cells.iter().filter(|cell| is_base(cell)).cloned().collect();
        self.cells.clear();
        self.forced.clear();
        self.swept.clear();
        self.interleavings.clear();
        self.sweeps.clear();
        self.comparisons.clear();
        for kernel in &mut self.kernels {
            let used = |name: &str| bases.iter().any(|cell| cell.kernel == kernel.name && cell.variant == name);
            let mut variants: Vec<_> = kernel.variants.iter().filter(|it| used(&it.name)).cloned().collect();
            for variant in variants.clone() {
                let mut again = variant.clone();
                while variants.iter().any(|it| it.name == again.name) {
                    again.name.push_str("-again");
                }
                again.base = Some(variant.name.clone());
                // The comparison alone decides.
                again.expect = Expectation::Any;
                for cell in bases.iter().filter(|it| it.kernel == kernel.name && it.variant == variant.name) {
                    let mut twin = cell.clone();
                    let stem = format!("{}.{}", kernel.name, variant.name);
                    let rest = cell.id.strip_prefix(&stem).unwrap_or_default();
                    twin.id = format!("{}.{}{rest}", kernel.name, again.name);
                    twin.variant.clone_from(&again.name);
                    self.comparisons.push(Comparison {
                        base: cell.id.clone(),
                        patched: twin.id.clone(),
                        control: true,
                    });
                    self.cells.extend([cell.clone(), twin]);
                }
                variants.push(again);
            }
            kernel.variants = variants;
        }
        self.keep_cells(|_| true);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_base_is_held_against_itself_and_nothing_else_runs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let plan = crate::plan::load(&root.join("plans/swap-skip-race.yaml"), Some(root)).expect("a shipped plan");
        let control = plan.clone().control();
        let ids: Vec<&str> = control.cells.iter().map(|cell| cell.id.as_str()).collect();
        assert_eq!(
            ids,
            [
                "linux-6.1.unpatched.anon-preempt",
                "linux-6.1.unpatched-again.anon-preempt",
                "linux-6.1.unpatched.anon-smp",
                "linux-6.1.unpatched-again.anon-smp",
            ]
        );
        assert!(control.comparisons.len() == 2 && control.comparisons.iter().all(|pair| pair.control));
        let variants = &control.kernels[0].variants;
        assert_eq!(variants.len(), 2);
        assert_eq!(variants[0].patches, variants[1].patches);
        assert_eq!(variants[0].expect, Expectation::Corrupt, "it must still reproduce the race");
        assert_eq!((&control.tests, &control.guests), (&plan.tests, &plan.guests));
    }
}

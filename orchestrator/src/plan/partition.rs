//! Subsets of a plan: one machine's share, or the A/A control.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::model::{Cell, Comparison, ForcedCell, Plan};
use crate::journal::rules::Expectation;

/// Saved boots of each side of a control: as many as its level of 0.001 asks for, and three to spare.
const CONTROL_BOOTS: u32 = 10;

/// One share of several, counted from 1, with the two kinds of cargo-nextest's `--partition`. The
/// unit is a group of cells that are connected by comparisons, because a verdict needs both sides
/// from one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// How groups are dealt out.
    pub kind: Kind,
    /// Which share, from 1.
    pub share: u32,
    /// Of how many.
    pub of: u32,
}

/// How groups are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By a hash of the group's name: a group stays in its share when others come or go.
    Hash,
    /// In turn: shares are as even as can be.
    Slice,
}

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("expected hash:M/N or slice:M/N with M from 1 to N, such as slice:1/4, not `{text}`");
        let (kind, share) = text.split_once(':').ok_or_else(form)?;
        let kind = match kind {
            "hash" => Kind::Hash,
            "slice" => Kind::Slice,
            _ => return Err(form()),
        };
        let (share, of) = share.split_once('/').ok_or_else(form)?;
        let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        match (number(share), number(of)) {
            (Some(share), Some(of)) if (1..=of).contains(&share) => Ok(Self { kind, share, of }),
            _ => Err(form()),
        }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Hash => "hash",
            Kind::Slice => "slice",
        };
        write!(f, "{kind}:{}/{}", self.share, self.of)
    }
}

impl Partition {
    fn takes(&self, index: usize, name: &str) -> bool {
        let number = match self.kind {
            Kind::Slice => index as u64,
            Kind::Hash => {
                let mut first = [0; 8];
                first.copy_from_slice(&Sha256::digest(name)[..8]);
                u64::from_le_bytes(first)
            }
        };
        number % u64::from(self.of) == u64::from(self.share - 1)
    }
}

impl Plan {
    /// Groups of cells that are connected by comparisons, in plan order. Interleavings go with
    /// their base. A group is named after its first cell.
    pub fn groups(&self) -> Vec<Vec<String>> {
        let ids: Vec<&str> =
            self.cells.iter().map(|cell| &*cell.id).chain(self.forced.iter().map(|it| &*it.id)).collect();
        let index: HashMap<&str, usize> = ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        let mut groups = Groups::of(ids.len());
        for pair in &self.comparisons {
            if let (Some(base), Some(patched)) = (index.get(&*pair.base), index.get(&*pair.patched)) {
                groups.join(*base, *patched);
            }
        }
        let place = |cell: &ForcedCell, variant: &str| {
            (cell.kernel.clone(), variant.to_owned(), cell.guest.clone(), cell.name.clone())
        };
        let forced: HashMap<_, &str> = self.forced.iter().map(|it| (place(it, &it.variant), &*it.id)).collect();
        for cell in &self.forced {
            let base = cell.base.as_ref().and_then(|base| forced.get(&place(cell, base)));
            if let Some(base) = base {
                groups.join(index[base], index[&*cell.id]);
            }
        }
        groups
            .members()
            .into_iter()
            .map(|group| group.into_iter().map(|index| ids[index].to_owned()).collect())
            .collect()
    }

    /// Keeps one share of the groups.
    pub fn partition(&mut self, partition: &Partition) {
        let groups = self.groups();
        let ours: HashSet<String> = groups
            .into_iter()
            .enumerate()
            .filter(|(index, group)| group.first().is_some_and(|name| partition.takes(*index, name)))
            .flat_map(|(_, group)| group)
            .collect();
        self.keep_cells(|id| ours.contains(id));
    }
}

/// A disjoint-set forest over `0..n` in which the least element of a set is its root (R. E. Tarjan,
/// Journal of the ACM 22 (1975) 215-225).
struct Groups {
    /// The parent of each element; a root is its own parent.
    parents: Vec<usize>,
    /// Steps taken from elements to their parents.
    steps: usize,
}

impl Groups {
    fn of(number: usize) -> Self {
        Self { parents: (0..number).collect(), steps: 0 }
    }

    fn root(&mut self, mut thing: usize) -> usize {
        while self.parents[thing] != thing {
            self.parents[thing] = self.parents[self.parents[thing]];
            thing = self.parents[thing];
            self.steps += 1;
        }
        thing
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.parents[one.max(other)] = one.min(other);
    }

    /// The sets by their least elements, each sorted.
    fn members(&mut self) -> Vec<Vec<usize>> {
        let mut members = BTreeMap::<usize, Vec<usize>>::new();
        for thing in 0..self.parents.len() {
            members.entry(self.root(thing)).or_default().push(thing);
        }
        members.into_values().collect()
    }
}

impl Plan {
    /// Runs each base twice, as itself and as a second variant with the same patches, and drops
    /// everything else, including interleavings and sweeps. Any difference comes from the setup,
    /// not from a patch.
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
                    let mut duplicate = cell.clone();
                    let stem = format!("{}.{}", kernel.name, variant.name);
                    let rest = cell.id.strip_prefix(&stem).unwrap_or_default();
                    duplicate.id = format!("{}.{}{rest}", kernel.name, again.name);
                    duplicate.variant.clone_from(&again.name);
                    self.comparisons.push(Comparison {
                        base: cell.id.clone(),
                        patched: duplicate.id.clone(),
                        control: true,
                    });
                    self.cells.extend([cell.clone(), duplicate]);
                }
                variants.push(again);
            }
            kernel.variants = variants;
        }
        // Its units are boots, so that it needs more of them than a verdict does.
        let rounds = self.tests.iter().map(|test| test.rounds).max().unwrap_or(1);
        for guest in &mut self.guests {
            guest.boots = guest.boots.max(rounds.min(CONTROL_BOOTS));
        }
        self.keep_cells(|_| true);
        self
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn plan() -> Plan {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        crate::plan::load(&root.join("plans/swap-skip-race.yaml"), Some(root)).expect("a shipped plan")
    }

    proptest! {
        #[test]
        fn groups_are_the_connected_things(links in proptest::collection::vec((0..30_usize, 0..30_usize), 0..40)) {
            let mut groups = Groups::of(30);
            for (one, other) in &links {
                groups.join(*one, *other);
            }
            // The slow way: labels that spread along the links until none changes.
            let mut labels: Vec<usize> = (0..30).collect();
            for _ in 0..30 {
                for (one, other) in &links {
                    let least = labels[*one].min(labels[*other]);
                    (labels[*one], labels[*other]) = (least, least);
                }
            }
            for group in groups.members() {
                prop_assert!(group.iter().all(|thing| labels[*thing] == group[0]), "{group:?}");
            }
            let mut firsts = labels.clone();
            firsts.sort_unstable();
            firsts.dedup();
            prop_assert_eq!(groups.members().len(), firsts.len());
        }
    }

    #[test]
    fn many_things_are_grouped_in_few_steps() {
        const MANY: usize = 10_000;
        let chain = (1..MANY).map(|thing| (thing - 1, thing));
        let star = (1..MANY).map(|thing| (0, thing));
        let backwards = (1..MANY).rev().map(|thing| (thing - 1, thing));
        for links in [chain.collect::<Vec<_>>(), star.collect(), backwards.collect()] {
            let mut groups = Groups::of(MANY);
            for (one, other) in links {
                groups.join(one, other);
            }
            assert_eq!(groups.members().len(), 1);
            assert!(groups.steps < 20 * MANY, "{} steps", groups.steps);
        }
    }

    #[test]
    fn what_is_compared_stays_together() {
        let groups = plan().groups();
        let races: Vec<_> = groups.iter().filter(|group| group[0].contains("anon-")).collect();
        assert_eq!(races.len(), 2);
        assert!(races.iter().all(|group| group.len() == 3), "{races:?}");
    }

    #[test]
    fn shares_are_disjoint_and_make_up_the_whole() {
        for kind in ["hash", "slice"] {
            for of in 1..=4 {
                let mut all: Vec<String> = Vec::new();
                for share in 1..=of {
                    let mut part = plan();
                    part.partition(&format!("{kind}:{share}/{of}").parse().expect("a share"));
                    all.extend(part.cells.into_iter().map(|cell| cell.id));
                }
                let mut whole: Vec<String> = plan().cells.into_iter().map(|cell| cell.id).collect();
                whole.sort();
                all.sort();
                assert_eq!(all, whole, "{kind} of {of}");
            }
        }
    }

    #[test]
    fn a_share_reads_back_and_nonsense_is_refused() {
        for text in ["hash:1/1", "slice:3/7"] {
            assert_eq!(text.parse::<Partition>().expect("a share").to_string(), text);
        }
        for wrong in ["", "1/2", "slice:0/2", "slice:3/2", "slice:1/0", "count:1/2", "slice:+1/2", "slice:1/2/3"] {
            assert!(wrong.parse::<Partition>().is_err(), "{wrong}");
        }
    }

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
        assert_eq!(control.tests, plan.tests);
        assert!(control.guests.iter().all(|guest| guest.boots == CONTROL_BOOTS), "its sides differ by their boots");
    }
}

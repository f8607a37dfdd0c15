//! Shares of a plan, for several machines: what is compared with each other stays together.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::model::Plan;

/// One share of several, from 1. The two kinds are those of cargo-nextest's `--partition`; what is dealt out here are groups of
/// cells that hang together through comparisons, since a verdict needs both its sides from one machine.
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
    /// Cells that hang together, in plan order: those of one comparison, and all that are compared with any of them. Drawn
    /// interleavings go with their base. Each group is called by its first cell.
    pub fn groups(&self) -> Vec<Vec<String>> {
        let mut groups: Vec<Vec<String>> = Vec::new();
        let pairs: Vec<(&str, &str)> =
            self.comparisons.iter().map(|pair| (pair.base.as_str(), pair.patched.as_str())).collect();
        let forced: Vec<(&str, Option<&str>)> = self
            .forced
            .iter()
            .map(|cell| {
                let base = self.forced.iter().find(|it| {
                    Some(&it.variant) == cell.base.as_ref()
                        && (&it.kernel, &it.guest, &it.name) == (&cell.kernel, &cell.guest, &cell.name)
                });
                (cell.id.as_str(), base.map(|base| base.id.as_str()))
            })
            .collect();
        let ids = self.cells.iter().map(|cell| cell.id.as_str()).chain(forced.iter().map(|(id, _)| *id));
        let linked = |a: &str, b: &str| {
            pairs.iter().any(|&pair| pair == (a, b) || pair == (b, a))
                || forced
                    .iter()
                    .any(|&(id, base)| base.is_some_and(|base| (id, base) == (a, b) || (base, id) == (a, b)))
        };
        for id in ids {
            let (mut ours, others): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|group| group.iter().any(|member| linked(member, id)));
            groups = others;
            let mut joined: Vec<String> = ours.drain(..).flatten().collect();
            joined.push(id.to_owned());
            groups.push(joined);
        }
        let position = |id: &String| {
            let cells = self.cells.iter().map(|cell| &cell.id).chain(self.forced.iter().map(|cell| &cell.id));
            cells.into_iter().position(|other| other == id)
        };
        groups.sort_by_key(|group| group.iter().filter_map(position).min());
        groups
    }

    /// Keeps one share of the groups.
    pub fn partition(&mut self, partition: &Partition) {
        let groups = self.groups();
        let ours: Vec<String> = groups
            .into_iter()
            .enumerate()
            .filter(|(index, group)| group.first().is_some_and(|name| partition.takes(*index, name)))
            .flat_map(|(_, group)| group)
            .collect();
        self.keep_cells(|id| ours.iter().any(|own| own == id));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn plan() -> Plan {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        crate::plan::load(&root.join("plans/swap-skip-race.yaml"), Some(root)).expect("a shipped plan")
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
}

//! What a test varies although a right fix does not depend on it, and what came of each level.

use twinboot_protocol::{Factor, Level};

/// A factor whose levels have names of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Varied {
    /// As [`Factor::name`].
    pub name: &'static str,
    /// As [`Factor::phrase`].
    pub phrase: &'static str,
    /// The levels' names.
    pub levels: Vec<String>,
    /// The level of the try under way, or of all tries of a round.
    pub level: usize,
}

impl Varied {
    /// A factor with these levels, at the first of them.
    pub fn new(name: &'static str, phrase: &'static str, levels: impl IntoIterator<Item = impl ToString>) -> Self {
        Self { name, phrase, levels: levels.into_iter().map(|level| level.to_string()).collect(), level: 0 }
    }
}

/// Counts by level, of all factors of a race.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    factors: Vec<Factor>,
}

impl Counters {
    /// Counts one try at the level that each of `varied` has: whether it was an exposure, and whether its oracle failed.
    pub fn count<'a>(&mut self, varied: impl IntoIterator<Item = &'a Varied>, exposed: bool, corrupted: bool) {
        for (at, varied) in varied.into_iter().enumerate() {
            if at == self.factors.len() {
                self.factors.push(empty(varied));
            }
            if let Some(level) = self.factors.get_mut(at).and_then(|factor| factor.levels.get_mut(varied.level)) {
                level.tries += 1;
                level.exposures += u64::from(exposed);
                level.corruptions += u64::from(corrupted);
            }
        }
    }

    pub fn into_factors(self) -> Vec<Factor> {
        self.factors
    }
}

fn empty(varied: &Varied) -> Factor {
    let level = |name: &String| Level { name: name.clone(), tries: 0, exposures: 0, corruptions: 0 };
    Factor {
        name: varied.name.to_owned(),
        phrase: varied.phrase.to_owned(),
        levels: varied.levels.iter().map(level).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_try_counts_at_its_level_of_each_factor() {
        let mut access = Varied::new("access", "on {} faults", ["read", "write"]);
        let cpu = Varied { level: 1, ..Varied::new("CPU", "on CPU {}", [0, 1]) };
        let mut counters = Counters::default();
        for (level, exposed) in [(0, true), (1, true), (1, false), (1, false)] {
            access.level = level;
            counters.count([&access, &cpu], exposed, exposed && level == 1);
        }
        let seen: Vec<_> = counters
            .into_factors()
            .into_iter()
            .map(|it| {
                (
                    it.name,
                    it.levels.iter().map(|level| (level.tries, level.exposures, level.corruptions)).collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            seen,
            [("access".to_owned(), vec![(1, 1, 0), (3, 1, 1)]), ("CPU".to_owned(), vec![(0, 0, 0), (4, 2, 1)])]
        );
    }
}

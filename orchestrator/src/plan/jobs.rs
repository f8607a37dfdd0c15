//! Splits a plan into jobs for a CI engine or a cluster that places them on machines itself.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use super::model::{Cell, ForcedCell, Plan, Test};
use super::partition::{Kind, Partition};

/// What one machine is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// For people, unique in the plan: `linux-6.1 anon-preempt`, or `3 of 8` where the job holds
    /// several groups.
    pub name: String,
    /// Its share, for `twinboot run --partition`.
    #[serde(serialize_with = "as_text")]
    pub partition: Partition,
    /// Cell ids, in plan order.
    pub cells: Vec<String>,
    /// Kernel and variant of every cell, each once, in plan order.
    pub builds: Vec<Build>,
    /// Upper bound in seconds for racing, guests one after the other; boots and builds come on top.
    pub seconds: u64,
}

/// A kernel to build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Build {
    /// [`super::model::Kernel::name`].
    pub kernel: String,
    /// [`super::model::Variant::name`].
    pub variant: String,
}

fn as_text<S: serde::Serializer>(partition: &Partition, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(partition)
}

/// One group of cells that are compared with each other.
struct Group<'a> {
    cells: Vec<&'a Cell>,
    forced: Vec<&'a ForcedCell>,
}

impl Plan {
    /// One job for each group of cells that are compared with each other, longest first. If there
    /// are more than `most` groups, they are dealt round-robin to `most` jobs.
    pub fn jobs(&self, most: u32) -> Vec<Job> {
        let cells: HashMap<&str, &Cell> = self.cells.iter().map(|cell| (&*cell.id, cell)).collect();
        let forced: HashMap<&str, &ForcedCell> = self.forced.iter().map(|cell| (&*cell.id, cell)).collect();
        let group = |ids: Vec<String>| Group {
            cells: ids.iter().filter_map(|id| cells.get(&**id).copied()).collect(),
            forced: ids.iter().filter_map(|id| forced.get(&**id).copied()).collect(),
        };
        let groups: Vec<Group> = self.groups().into_iter().map(group).collect();
        let of = u32::try_from(groups.len()).unwrap_or(u32::MAX).min(most.max(1));
        let times = Times::of(self);
        let mut jobs: Vec<(Duration, Job)> = (1..=of)
            .map(|share| {
                let ours = groups.iter().skip(share as usize - 1).step_by(of as usize).collect::<Vec<_>>();
                let expected =
                    ours.iter().map(|group| times.expected(group)).fold(Duration::ZERO, Duration::saturating_add);
                (expected, self.job(Partition { kind: Kind::Slice, share, of }, &ours, &times))
            })
            .collect();
        let mut seen = BTreeSet::new();
        for (_, job) in &mut jobs {
            if !seen.insert(job.name.clone()) {
                job.name.clone_from(&job.cells[0]);
            }
        }
        // A stable sort: jobs of the same length stay in plan order.
        jobs.sort_by_key(|(expected, _)| std::cmp::Reverse(*expected));
        jobs.into_iter().map(|(_, job)| job).collect()
    }

    fn job(&self, partition: Partition, groups: &[&Group], times: &Times) -> Job {
        let mut cells = Vec::new();
        let mut builds = Vec::new();
        let mut seen = HashSet::new();
        let mut racing = Duration::ZERO;
        for group in groups {
            let forced = group.forced.iter().map(|cell| (&cell.id, &cell.kernel, &cell.variant));
            for (id, kernel, variant) in
                group.cells.iter().map(|cell| (&cell.id, &cell.kernel, &cell.variant)).chain(forced)
            {
                cells.push(id.clone());
                if seen.insert((kernel, variant)) {
                    builds.push(Build { kernel: kernel.clone(), variant: variant.clone() });
                }
            }
            racing += times.racing(group);
        }
        let name = match groups {
            [group] => self.name_of(group),
            _ => format!("{} of {}", partition.share, partition.of),
        };
        Job { name, partition, cells, builds, seconds: racing.as_secs() }
    }

    /// What the cells of one group have in common.
    fn name_of(&self, group: &Group) -> String {
        let first = group.cells.first().map(|cell| (&cell.kernel, &cell.test, &cell.guest));
        let forced = || group.forced.first().map(|cell| (&cell.kernel, &cell.name, &cell.guest));
        let Some((kernel, test, guest)) = first.or_else(forced) else { return String::new() };
        if self.guests.len() > 1 { format!("{kernel} {test} {guest}") } else { format!("{kernel} {test}") }
    }
}

/// How long tests and interleavings take, by name.
struct Times<'a> {
    tests: HashMap<&'a str, &'a Test>,
    forced: HashMap<&'a str, Duration>,
}

impl<'a> Times<'a> {
    fn of(plan: &'a Plan) -> Self {
        Self {
            tests: plan.tests.iter().map(|test| (&*test.name, test)).collect(),
            forced: plan.interleavings.iter().map(|it| (&*it.name, it.deadline)).collect(),
        }
    }

    /// Upper bound for a group's rounds including their boots, which dominate when rounds are
    /// short.
    fn expected(&self, group: &Group) -> Duration {
        self.sum(group, Test::all_rounds)
    }

    /// Upper bound for the group's racing time. A forced round has steps instead of a duration and
    /// takes a fraction of a second unless a step is stuck, so a step's deadline is counted for
    /// each cell.
    fn racing(&self, group: &Group) -> Duration {
        self.sum(group, |test| test.stop.at_most.saturating_mul(test.rounds))
    }

    fn sum(&self, group: &Group, of_test: impl Fn(&Test) -> Duration) -> Duration {
        let cells = group.cells.iter().filter_map(|cell| self.tests.get(&*cell.test).map(|test| of_test(test)));
        let forced = group.forced.iter().filter_map(|cell| self.forced.get(&*cell.name).copied());
        cells.chain(forced).fold(Duration::ZERO, Duration::saturating_add)
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
    fn each_job_holds_what_its_partition_runs() {
        for most in [1, 2, 3, 256] {
            let jobs = plan().jobs(most);
            assert!(jobs.len() <= most as usize);
            let mut all = Vec::new();
            for job in &jobs {
                let mut part = plan();
                part.partition(&job.partition);
                let mut ids: Vec<_> = part.cells.into_iter().map(|cell| cell.id).collect();
                ids.extend(part.forced.into_iter().map(|cell| cell.id));
                let (mut ours, mut theirs) = (job.cells.clone(), ids);
                ours.sort();
                theirs.sort();
                assert_eq!(ours, theirs, "{}", job.partition);
                all.extend(ours);
            }
            assert_eq!(all.len(), plan().cells.len() + plan().forced.len(), "at most {most}");
        }
    }

    #[test]
    fn the_longest_comes_first_and_names_differ() {
        let mut plan = plan();
        let last = plan.tests.last_mut().expect("has tests");
        last.rounds *= 100;
        let name = last.name.clone();
        let jobs = plan.jobs(256);
        assert!(jobs[0].name.contains(&name), "{jobs:?}");
        let rounds = |job: &Job| {
            let cells = plan.cells.iter().filter(|cell| job.cells.contains(&cell.id));
            let tests = cells.filter_map(|cell| plan.tests.iter().find(|test| test.name == cell.test));
            tests.map(Test::all_rounds).sum::<Duration>()
        };
        assert!(jobs.is_sorted_by_key(|job| std::cmp::Reverse(rounds(job))), "{jobs:?}");
        let names: BTreeSet<_> = jobs.iter().map(|job| &job.name).collect();
        assert_eq!(names.len(), jobs.len());
    }

    #[test]
    fn many_boots_make_a_job_long() {
        let mut plan = plan();
        let (many, long) = (plan.tests[0].name.clone(), plan.tests[1].name.clone());
        for test in &mut plan.tests {
            // 100 s of racing in 100 boots, 110 s in one, and 1 s.
            let (rounds, seconds) = if test.name == many {
                (100, 1)
            } else if test.name == long {
                (1, 110)
            } else {
                (1, 1)
            };
            (test.rounds, test.stop.at_most) = (rounds, Duration::from_secs(seconds));
        }
        let jobs = plan.jobs(256);
        assert!(jobs[0].name.contains(&many) && jobs[0].seconds < jobs[1].seconds, "{jobs:?}");
    }

    #[test]
    fn a_job_names_every_kernel_it_needs_once() {
        let jobs = plan().jobs(1);
        let mut builds = jobs[0].builds.clone();
        builds.sort();
        builds.dedup();
        assert_eq!(builds.len(), jobs[0].builds.len());
        let variants: usize = plan().kernels.iter().map(|kernel| kernel.variants.len()).sum();
        assert_eq!(builds.len(), variants);
    }
}

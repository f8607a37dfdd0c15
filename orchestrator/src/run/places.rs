//! How many guests run beside each other: what the plan wants of the host's CPUs, as far as its memory goes.

use super::host;
use crate::journal::Load;
use crate::plan::model::Plan;

/// What the host has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Means {
    /// CPUs.
    pub cpus: u32,
    /// Bytes of memory that nobody uses.
    pub free: u64,
}

/// What the largest of the plan's guests takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// How many guests run at a time, and what a reader must know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    /// Guests at a time, at least one.
    pub jobs: usize,
    /// What they take.
    pub load: Load,
    /// Sentences for the journal.
    pub notices: Vec<String>,
}

impl Means {
    /// Those of this host, now.
    pub fn now() -> Self {
        Self { cpus: host::describe().cpus, free: host::free_memory() }
    }
}

impl Need {
    /// That of the plan's guests, each with all that the largest in either way has.
    pub fn of(plan: &Plan) -> Self {
        let vcpus = plan.guests.iter().map(|guest| guest.cpus).max().unwrap_or(1).max(1);
        let memory = plan.guests.iter().map(|guest| guest.memory).max().unwrap_or(0).max(1);
        Self { vcpus, memory }
    }
}

/// Places for as many guests as were `asked` for, or as the plan's overcommit lets the CPUs carry: never more than have
/// room in memory, and at least one.
pub(super) fn places(means: Means, need: Need, overcommit: f64, asked: Option<usize>) -> Places {
    let carried = f64::from(means.cpus) * overcommit / f64::from(need.vcpus);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole guests, and never negative")]
    let wanted = asked.unwrap_or(carried as usize).max(1);
    let room = usize::try_from(means.free / need.memory).unwrap_or(usize::MAX).max(1);
    let jobs = wanted.min(room);
    let guests = u32::try_from(jobs).unwrap_or(u32::MAX);
    let load = Load { guests, vcpus: guests.saturating_mul(need.vcpus) };
    let mut notices = Vec::new();
    if let Some(asked) = asked.filter(|&asked| asked > jobs) {
        notices.push(format!(
            "{asked} guests of {} MiB were asked for at a time (--jobs) and {} MiB of the host's memory is free: {jobs} at a time",
            need.memory >> 20,
            means.free >> 20
        ));
    }
    if load.vcpus > means.cpus {
        notices.push(format!(
            "the guests' {} virtual CPUs share {} of the host's: they wait for each other, and rates per second are not \
             those of guests that have the host to themselves",
            load.vcpus, means.cpus
        ));
    }
    Places { jobs, load, notices }
}

/// Whether one more guest has room beside those that run: one always does, more of them while as much memory as it may
/// take is free.
pub(super) fn has_room(running: usize, free: u64, need: Need) -> bool {
    running == 0 || free >= need.memory
}

/// [`has_room`], by what is free now.
pub(super) fn has_room_now(running: usize, need: Need) -> bool {
    running == 0 || has_room(running, host::free_memory(), need)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const NEED: Need = Need { vcpus: 2, memory: 512 * MIB };

    fn jobs(cpus: u32, free: u64, overcommit: f64, asked: Option<usize>) -> Places {
        places(Means { cpus, free }, NEED, overcommit, asked)
    }

    #[test]
    fn a_plan_gets_what_the_cpus_carry_times_its_overcommit() {
        let of = |cpus, overcommit| jobs(cpus, 64 << 30, overcommit, None).jobs;
        assert_eq!((of(8, 1.0), of(8, 1.5), of(8, 2.0), of(8, 0.5)), (4, 6, 8, 2));
        assert_eq!((of(2, 1.5), of(1, 1.0), of(8, 0.01)), (1, 1, 1), "whole guests, and at least one");
        assert_eq!(jobs(8, 64 << 30, 1.5, Some(3)).jobs, 3, "--jobs decides");
    }

    #[test]
    fn no_more_guests_than_have_room_and_who_asked_for_more_is_told() {
        assert_eq!(jobs(8, 1100 * MIB, 1.0, None), Places { notices: Vec::new(), ..jobs(8, 1100 * MIB, 1.0, Some(2)) });
        let clamped = jobs(8, 1100 * MIB, 1.0, Some(3));
        assert_eq!(clamped.jobs, 2);
        assert_eq!(
            clamped.notices,
            [
                "3 guests of 512 MiB were asked for at a time (--jobs) and 1100 MiB of the host's memory is free: 2 at a time"
            ]
        );
        assert_eq!(jobs(8, 0, 1.0, Some(3)).jobs, 1, "one is always tried");
    }

    #[test]
    fn more_virtual_cpus_than_the_host_has_are_stamped_and_told() {
        let calm = jobs(4, 64 << 30, 1.0, None);
        assert_eq!((calm.load, calm.notices.len()), (Load { guests: 2, vcpus: 4 }, 0));
        let crowded = jobs(4, 64 << 30, 1.5, None);
        assert_eq!(crowded.load, Load { guests: 3, vcpus: 6 });
        assert!(crowded.notices[0].starts_with("the guests' 6 virtual CPUs share 4 of the host's"), "{crowded:?}");
    }

    #[test]
    fn a_guest_waits_for_memory_only_while_another_runs() {
        assert!(has_room(0, 0, NEED) && has_room(1, 512 * MIB, NEED) && !has_room(1, 512 * MIB - 1, NEED));
    }
}

//! How many guests run at a time, by the host's CPUs and memory.

use crate::journal::Load;
use crate::journal::entry::Host;
use crate::plan::model::Plan;

/// The host's resources.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostCapacity {
    /// CPUs.
    pub cpus: u32,
    /// Free memory in bytes.
    pub free: u64,
}

/// The resources of the largest guest of a plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuestFootprint {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Bytes of memory.
    pub memory: u64,
}

/// How many guests run at a time, with notices for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Concurrency {
    /// Guests at a time, at least one.
    pub jobs: usize,
    /// The load they put on the host.
    pub load: Load,
    /// Notices for the journal.
    pub notices: Vec<String>,
}

impl HostCapacity {
    /// The resources of this host, now.
    pub fn now() -> Self {
        Self { cpus: describe().cpus, free: free_memory() }
    }
}

impl GuestFootprint {
    /// The most CPUs and the most memory of any guest of the plan.
    pub fn of(plan: &Plan) -> Self {
        let vcpus = plan.guests.iter().map(|guest| guest.cpus).max().unwrap_or(1).max(1);
        let memory = plan.guests.iter().map(|guest| guest.memory).max().unwrap_or(0).max(1);
        Self { vcpus, memory }
    }
}

/// The number of guests at a time: as many as were `asked` for, or as the CPUs carry at the plan's
/// overcommit; never more than fit into memory, and at least one.
pub(super) fn concurrency(
    host: HostCapacity,
    footprint: GuestFootprint,
    overcommit: f64,
    asked: Option<usize>,
) -> Concurrency {
    let carried = f64::from(host.cpus) * overcommit / f64::from(footprint.vcpus);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole guests, and never negative")]
    let wanted = asked.unwrap_or(carried as usize).max(1);
    let room = usize::try_from(host.free / footprint.memory).unwrap_or(usize::MAX).max(1);
    let jobs = wanted.min(room);
    let guests = u32::try_from(jobs).unwrap_or(u32::MAX);
    let load = Load { guests, vcpus: guests.saturating_mul(footprint.vcpus) };
    let mut notices = Vec::new();
    if let Some(asked) = asked.filter(|&asked| asked > jobs) {
        notices.push(format!(
            "{asked} guests of {} MiB were asked for at a time (--jobs) and {} MiB of the host's memory is free: {jobs} at a time",
            footprint.memory >> 20,
            host.free >> 20
        ));
    }
    if load.vcpus > host.cpus {
        notices.push(format!(
            "the guests' {} virtual CPUs share {} of the host's: they wait for each other, and rates per second are not \
             those of guests that have the host to themselves",
            load.vcpus, host.cpus
        ));
    }
    Concurrency { jobs, load, notices }
}

/// Whether another guest fits beside those that run. The first one always does.
pub(super) fn has_room(running: usize, free: u64, footprint: GuestFootprint) -> bool {
    running == 0 || free >= footprint.memory
}

/// [`has_room`] with the memory that is free now.
pub(super) fn has_room_now(running: usize, footprint: GuestFootprint) -> bool {
    running == 0 || has_room(running, free_memory(), footprint)
}

/// Describes the host. Fields that cannot be read are `unknown` or 0.
pub fn describe() -> Host {
    let kernel = nix::sys::utsname::uname().map_or_else(
        |_| "unknown".to_owned(),
        |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
    );
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    Host {
        kernel,
        cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory: kibibytes(&meminfo, "MemTotal"),
    }
}

/// Available memory in bytes (`MemAvailable`, `proc_meminfo(5)`).
pub fn free_memory() -> u64 {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable")
}

fn kibibytes(meminfo: &str, name: &str) -> u64 {
    field(meminfo, name).and_then(|value| value.trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const NEED: GuestFootprint = GuestFootprint { vcpus: 2, memory: 512 * MIB };

    fn jobs(cpus: u32, free: u64, overcommit: f64, asked: Option<usize>) -> Concurrency {
        concurrency(HostCapacity { cpus, free }, NEED, overcommit, asked)
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
        assert_eq!(
            jobs(8, 1100 * MIB, 1.0, None),
            Concurrency { notices: Vec::new(), ..jobs(8, 1100 * MIB, 1.0, Some(2)) }
        );
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

#[cfg(test)]
mod host_tests {
    use super::*;

    #[test]
    fn proc_files_are_read_by_field() {
        assert_eq!(kibibytes("MemTotal:  24 kB\nMemAvailable:   16 kB\n", "MemAvailable"), 16 * 1024);
        assert_eq!(field("cpu family\t: 6\nmodel name\t: A CPU\n", "model name"), Some("A CPU"));
        assert_eq!(field("", "model name"), None);
    }
}

//! Where and how a thread runs: [sched_setaffinity(2)](https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html),
//! [sched_setscheduler(2)](https://man7.org/linux/man-pages/man2/sched_setscheduler.2.html).

use super::{SysError, check};

fn affinity() -> Result<libc::cpu_set_t, SysError> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the size given is that of the set to fill; pid 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    check(result, "sched_getaffinity", "this thread")?;
    Ok(set)
}

fn set_affinity(set: &libc::cpu_set_t, subject: String) -> Result<(), SysError> {
    // SAFETY: the size given is that of the set; pid 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const *set) };
    check(result, "sched_setaffinity", subject).map(|_| ())
}

/// The CPUs the calling thread may run on, ascending.
pub fn allowed_cpus() -> Result<Vec<usize>, SysError> {
    let set = affinity()?;
    let most = usize::try_from(libc::CPU_SETSIZE).unwrap_or(0);
    // SAFETY: every index is below CPU_SETSIZE.
    Ok((0..most).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect())
}

/// Binds the calling thread to one CPU.
pub fn pin(cpu: usize) -> Result<(), SysError> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: CPU_SET checks the index against the size of the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    set_affinity(&set, format!("CPU {cpu}"))
}

/// Binds the calling thread to several CPUs.
pub fn bind(cpus: &[usize]) -> Result<(), SysError> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &cpu in cpus {
        // SAFETY: CPU_SET checks the index against the size of the set.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    set_affinity(&set, format!("CPUs {cpus:?}"))
}

/// The calling thread's id, `task_struct.pid` in its own pid namespace
/// ([gettid(2)](https://man7.org/linux/man-pages/man2/gettid.2.html)).
pub fn thread_id() -> i32 {
    // SAFETY: takes no pointers.
    unsafe { libc::gettid() }
}

/// Runs `work` on `cpu`, then goes back to the CPUs the calling thread was allowed before.
pub fn on_cpu<T, E: From<SysError>>(cpu: usize, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let allowed = affinity()?;
    pin(cpu)?;
    let result = work();
    set_affinity(&allowed, "the CPUs of before".to_owned())?;
    result
}

/// Runs `work` on every online CPU in turn, then goes back to the CPUs the calling thread was allowed before.
pub fn on_each_cpu(mut work: impl FnMut() -> Result<(), SysError>) -> Result<(), SysError> {
    let allowed = affinity()?;
    // SAFETY: takes no pointers.
    let configured = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    for cpu in 0..usize::try_from(configured).unwrap_or(1) {
        // A CPU that is offline or out of bounds holds nothing of ours.
        if pin(cpu).is_ok() {
            work()?;
        }
    }
    set_affinity(&allowed, "the CPUs of before".to_owned())
}

/// The CPU the calling thread is on; it stays there only if it is bound.
pub fn current_cpu() -> usize {
    // SAFETY: takes no pointers.
    usize::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// Makes the calling thread `SCHED_FIFO`: it cuts into every ordinary thread of its CPU as soon as it can run.
pub fn real_time(priority: u8) -> Result<(), SysError> {
    let param = libc::sched_param { sched_priority: libc::c_int::from(priority) };
    // SAFETY: `param` is a valid sched_param; pid 0 is the calling thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) };
    check(result, "sched_setscheduler(SCHED_FIFO)", format!("priority {priority}")).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_cpu() {
        let last = *allowed_cpus().expect("the set").last().expect("at least one CPU");
        let seen = std::thread::spawn(move || {
            pin(last).expect("an allowed CPU");
            allowed_cpus().expect("the set")
        });
        assert_eq!(seen.join().expect("no panic"), [last]);
    }

    #[test]
    fn every_cpu_is_visited_and_the_thread_comes_back() {
        let before = allowed_cpus().expect("the set");
        let mut visited = Vec::new();
        on_each_cpu(|| {
            visited.extend(allowed_cpus()?);
            Ok(())
        })
        .expect("a tour");
        assert!(before.iter().all(|cpu| visited.contains(cpu)), "{visited:?} of {before:?}");
        assert_eq!(allowed_cpus().expect("the set"), before);
    }

    #[test]
    fn work_on_a_cpu_runs_there() {
        let last = *allowed_cpus().expect("the set").last().expect("at least one CPU");
        assert_eq!(on_cpu(last, || Ok::<_, SysError>(current_cpu())).expect("an allowed CPU"), last);
    }

    #[test]
    fn a_cpu_that_is_not_there_is_an_error() {
        assert_eq!(pin(1023).expect_err("no such CPU").call, "sched_setaffinity");
    }
}

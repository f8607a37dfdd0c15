//! A child process that shares the parent's pages and touches none of them:
//! [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html).

use std::time::Duration;

use super::{SysError, check, clock};

/// How long a killed child may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running child; dropping it kills it and does not wait.
#[derive(Debug)]
pub struct Child(libc::pid_t);

impl Child {
    /// Forks a child that waits for its end. It dies with the thread that forked it.
    pub fn fork() -> Result<Self, SysError> {
        // SAFETY: a clone without flags is a fork. The child makes system calls only: it takes no lock that another thread of
        // the parent may have held, which the C library's own fork would do.
        let pid = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
        if pid == 0 {
            live();
        }
        let pid = libc::pid_t::try_from(pid).unwrap_or(-1);
        check(pid, "clone", "this process").map(Self)
    }

    /// Its process id.
    pub fn id(&self) -> i32 {
        self.0
    }

    /// Kills it and waits until it is gone.
    pub fn end(self) -> Result<(), SysError> {
        self.kill();
        let deadline = clock::now() + u64::try_from(PATIENCE.as_nanos()).unwrap_or(u64::MAX);
        loop {
            // SAFETY: the status is not asked for.
            let result = unsafe { libc::waitpid(self.0, std::ptr::null_mut(), libc::WNOHANG) };
            if check(result, "waitpid", "the forked child")? != 0 {
                // Its id may be another's from now on.
                std::mem::forget(self);
                return Ok(());
            }
            if clock::now() > deadline {
                return Err(SysError::new("waitpid", "the forked child", std::io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn kill(&self) {
        // SAFETY: takes no pointers; the child is not waited for yet, so the id is still its own.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The child's life. It keeps nobody from seeing the end of the parent's output.
fn live() -> ! {
    // SAFETY: system calls without pointers.
    unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        for fd in 0..3 {
            libc::syscall(libc::SYS_close, fd);
        }
        loop {
            libc::syscall(libc::SYS_ppoll, 0, 0, 0, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_lives_until_it_is_ended() {
        let child = Child::fork().expect("forks");
        let alive = || std::path::Path::new(&format!("/proc/{}", child.id())).exists();
        assert!(child.id() > 0 && alive());
        let path = format!("/proc/{}", child.id());
        child.end().expect("ends");
        assert!(!std::path::Path::new(&path).exists());
    }
}

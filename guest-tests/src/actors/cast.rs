//! The named threads, each of them waiting for something to do.

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use twinboot_protocol::orders::Actor;

use super::{Performed, Scene};
use crate::error::Error;
use crate::sys::{SysError, clock, sched};

/// How long a thread may take to get to its CPU, in seconds.
const PATIENCE: u64 = 15;

/// Bytes of a thread's stack: what an operation needs, since every page of it is locked.
const STACK: usize = 256 << 10;

/// One operation for one thread.
pub(super) struct Task {
    pub scene: Arc<dyn Scene>,
    pub operation: String,
    pub object: Option<String>,
}

/// A thread that is back from an operation.
pub(super) struct Back {
    pub actor: usize,
    /// From the first to the last instruction of the operation, nanoseconds.
    pub elapsed_ns: u64,
    /// None where the test's own code panicked.
    pub performed: Option<Result<Performed, SysError>>,
}

/// The threads, started and idle. Dropping it lets the idle ones go; one that is stuck in the kernel stays there.
pub struct Cast {
    pub(super) actors: Vec<Actor>,
    pub(super) posts: Vec<Sender<Task>>,
    pub(super) backs: Receiver<Back>,
}

impl Cast {
    /// Starts a thread for each of `names` on the CPU of the same index.
    pub fn start(names: &[String], cpus: &[usize]) -> Result<Self, Error> {
        let (back, backs) = mpsc::channel();
        let (mut actors, mut posts) = (Vec::new(), Vec::new());
        for (index, (name, &cpu)) in names.iter().zip(cpus).enumerate() {
            let (post, tasks) = mpsc::channel();
            let (ready, settled) = mpsc::channel();
            let back = back.clone();
            thread::Builder::new()
                .name(name.clone())
                .stack_size(STACK)
                .spawn(move || {
                    let placed = sched::pin(cpu).map(|()| sched::thread_id());
                    let begin = placed.is_ok();
                    warm_up();
                    if ready.send(placed).is_ok() && begin {
                        act(index, &tasks, &back);
                    }
                })
                .map_err(|source| SysError::new("pthread_create", name, source))?;
            let tid = settled
                .recv_timeout(Duration::from_secs(PATIENCE))
                .map_err(|_| Error::InterfererGone { seconds: PATIENCE, attempt: 0 })??;
            actors.push(Actor { name: name.clone(), tid, cpu: u32::try_from(cpu).ok() });
            posts.push(post);
        }
        Ok(Self { actors, posts, backs })
    }
}

/// Gets the memory that telling of an operation takes. A thread whose first allocation or first line of output faulted
/// would come by the very points of the kernel at which its operation is to be held.
fn warm_up() {
    std::hint::black_box(vec![1_u8; 64 << 10]);
}

/// A thread's life. What it does besides the operation is a wait on a futex before and a wake after it.
fn act(actor: usize, tasks: &Receiver<Task>, back: &Sender<Back>) {
    while let Ok(Task { scene, operation, object }) = tasks.recv() {
        let begin = clock::now();
        let perform = || scene.perform(actor, &operation, object.as_deref());
        let performed = panic::catch_unwind(AssertUnwindSafe(perform)).ok();
        let elapsed_ns = clock::now().saturating_sub(begin);
        if back.send(Back { actor, elapsed_ns, performed }).is_err() {
            return;
        }
    }
}

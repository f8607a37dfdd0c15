//! Several guests that share the points of a sweep. Knows nothing of guests: what tries a point is a [`Prober`].

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::interleave::Error;
use crate::journal::entry::ConsoleProblem;
use crate::journal::interleaving::{Exclusion, ForcedOutcome, ThreadState};

/// How often a point is tried before it is given up as lost.
pub const TRIES: u32 = 3;

/// Tries lost one after the other, over all points, after which the sweep is given up.
const MOST_LOST: u32 = 12;

/// Guests that did not come up one after the other, after which the sweep is given up.
const MOST_FAILED: u32 = 3;

/// What tries points, one after the other.
pub trait Prober: Send + 'static {
    /// Holds the victim at `address` while the others act. Safe to leave only at its end.
    fn probe(&mut self, address: u64) -> impl Future<Output = Probed> + Send;

    /// Ends it; what its kernel has complained about and not told before.
    fn end(self) -> impl Future<Output = Vec<ConsoleProblem>> + Send;
}

/// Where probers come from.
pub trait Probers: Send + Sync + 'static {
    /// What they are.
    type Prober: Prober;

    /// Another one.
    fn start(&self) -> impl Future<Output = Result<Self::Prober, Error>> + Send;
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// How it ended; none when twinboot was interrupted.
    pub outcome: Option<ForcedOutcome>,
    /// Where the threads were.
    pub threads: Vec<ThreadState>,
    /// What the kernel complained about.
    pub problems: Vec<ConsoleProblem>,
    /// The same prober can try another point.
    pub orderly: bool,
}

/// What came of one point.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Which.
    pub address: u64,
    /// How it ended.
    pub outcome: ForcedOutcome,
    /// Where the threads were.
    pub threads: Vec<ThreadState>,
    /// What the kernel complained about, in all tries.
    pub problems: Vec<ConsoleProblem>,
    /// Wall time of all tries in seconds.
    pub seconds: f64,
}

/// Tries every one of `addresses` with up to `jobs` probers at a time, and tells of each as soon as it is known. `first` is
/// one that is there already.
pub async fn work<P: Probers>(
    probers: Arc<P>,
    first: Option<P::Prober>,
    jobs: usize,
    addresses: &[u64],
    tell: &mpsc::Sender<Tried>,
    cancel: &CancellationToken,
) -> Result<(), Error> {
    let points = addresses.iter().map(|&address| Job {
        address,
        waited: None,
        tries: 0,
        lost: None,
        problems: Vec::new(),
        seconds: 0.0,
    });
    let shared = Arc::new(Shared {
        desk: Mutex::new(Desk { waiting: points.collect(), ..Desk::default() }),
        changed: Notify::new(),
    });
    let mut workers = JoinSet::new();
    let mut first = first;
    for _ in 0..jobs.clamp(1, addresses.len().max(1)) {
        let worker = Worker {
            shared: shared.clone(),
            probers: probers.clone(),
            prober: first.take(),
            tell: tell.clone(),
            cancel: cancel.clone(),
        };
        workers.spawn(worker.run());
    }
    while let Some(ended) = workers.join_next().await {
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    shared.desk().failure.take().map_or(Ok(()), Err)
}

struct Job {
    address: u64,
    /// The function in which somebody was seen to wait, at the try before.
    waited: Option<String>,
    tries: u32,
    /// The last reason why a try was lost, if one was.
    lost: Option<String>,
    problems: Vec<ConsoleProblem>,
    seconds: f64,
}

#[derive(Default)]
struct Desk {
    waiting: VecDeque<Job>,
    /// Points being tried: they may come back.
    out: usize,
    /// Functions of which it is known that others wait in them for the victim: seen twice at one point.
    waits: HashSet<String>,
    lost_in_a_row: u32,
    /// Some point has said something.
    said: bool,
    failed_in_a_row: u32,
    failure: Option<Error>,
}

struct Shared {
    desk: Mutex<Desk>,
    changed: Notify,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next point; none when there is none left and none can come back.
    async fn take(&self) -> Option<Job> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before looking: a change in between must not be missed.
            changed.as_mut().enable();
            {
                let mut desk = self.desk();
                if desk.failure.is_some() {
                    return None;
                }
                if let Some(job) = desk.waiting.pop_front() {
                    desk.out += 1;
                    return Some(job);
                }
                if desk.out == 0 {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// A point is done, or goes to the end of the queue.
    fn give_back(&self, again: Option<Job>) {
        let mut desk = self.desk();
        desk.out -= 1;
        desk.waiting.extend(again);
        self.changed.notify_waiters();
    }

    fn fail(&self, error: Error) {
        self.desk().failure.get_or_insert(error);
        self.changed.notify_waiters();
    }
}

struct Worker<P: Probers> {
    shared: Arc<Shared>,
    probers: Arc<P>,
    prober: Option<P::Prober>,
    tell: mpsc::Sender<Tried>,
    cancel: CancellationToken,
}

impl<P: Probers> Worker<P> {
    async fn run(mut self) {
        while !self.cancel.is_cancelled() {
            let Some(job) = self.shared.take().await else { break };
            let again = self.attend(job).await;
            self.shared.give_back(again);
        }
        if let Some(prober) = self.prober.take() {
            prober.end().await;
        }
    }

    /// Tries a point once. Returns it when it is to be tried again.
    async fn attend(&mut self, mut job: Job) -> Option<Job> {
        let mut prober = match self.prober.take() {
            Some(prober) => prober,
            None => match self.start().await {
                Some(prober) => prober,
                None => return Some(job),
            },
        };
        let begun = Instant::now();
        let mut came = prober.probe(job.address).await;
        job.seconds += begun.elapsed().as_secs_f64();
        if came.orderly {
            self.prober = Some(prober);
        } else {
            came.problems.extend(prober.end().await);
        }
        job.problems.append(&mut came.problems);
        let outcome = came.outcome?;
        job.tries += 1;
        let lost = match &outcome {
            ForcedOutcome::Lost { reason } => Some(Some(reason.clone())),
            ForcedOutcome::Excluded { why: Exclusion::TookAnotherWay, .. } => Some(None),
            _ => None,
        };
        let Some(reason) = lost else {
            {
                let mut desk = self.shared.desk();
                (desk.lost_in_a_row, desk.said) = (0, true);
            }
            if self.is_doubtful(&mut job, &outcome) {
                return Some(job);
            }
            self.report(job, outcome, came.threads).await;
            return None;
        };
        let in_a_row = {
            let mut desk = self.shared.desk();
            // A point that the victim happened to come to when it was followed says nothing against the rest.
            desk.lost_in_a_row += u32::from(reason.is_some() || !desk.said);
            desk.lost_in_a_row
        };
        if in_a_row >= MOST_LOST {
            let reason = reason.unwrap_or_else(|| "the victim did not come through the point".to_owned());
            self.shared.fail(Error::GivenUp { rounds: in_a_row, reason });
            return None;
        }
        job.lost = reason.or(job.lost);
        if job.tries < TRIES {
            return Some(job);
        }
        let outcome = job.lost.clone().map_or(outcome, |reason| ForcedOutcome::Lost { reason });
        self.report(job, outcome, came.threads).await;
        None
    }

    /// Whether an exclusion is to be seen again before it counts. On a busy host a thread that would come through by itself
    /// (one that waits for another CPU's answer, say) can look as if it waited for the victim. The same function twice at one
    /// point is no accident, and stands for the rest of the sweep.
    fn is_doubtful(&self, job: &mut Job, outcome: &ForcedOutcome) -> bool {
        let ForcedOutcome::Excluded { why: Exclusion::Blocked { function, .. }, .. } = outcome else { return false };
        let mut desk = self.shared.desk();
        if desk.waits.contains(function) {
            return false;
        }
        if job.waited.as_ref() == Some(function) {
            desk.waits.insert(function.clone());
            return false;
        }
        job.waited = Some(function.clone());
        job.tries < TRIES
    }

    async fn report(&mut self, job: Job, outcome: ForcedOutcome, threads: Vec<ThreadState>) {
        let Job { address, problems, seconds, .. } = job;
        // Nobody listens to a sweep that has ended.
        let _ = self.tell.send(Tried { address, outcome, threads, problems, seconds }).await;
    }

    async fn start(&mut self) -> Option<P::Prober> {
        match self.probers.start().await {
            Ok(prober) => {
                self.shared.desk().failed_in_a_row = 0;
                Some(prober)
            }
            Err(error) => {
                let in_a_row = {
                    let mut desk = self.shared.desk();
                    desk.failed_in_a_row += 1;
                    desk.failed_in_a_row
                };
                if error.is_the_plans() || matches!(error, Error::Interrupted) || in_a_row >= MOST_FAILED {
                    self.shared.fail(error);
                }
                None
            }
        }
    }
}

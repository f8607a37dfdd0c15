//! Workers that share the points of a sweep. They know nothing of guests: a [`PointTester`] tests a
//! point.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::crash::CrashReport;
use crate::interleave::Error;
use crate::journal::interleaving::{Exclusion, ForcedOutcome, ThreadState};

/// Tries of a point before it counts as lost.
pub const TRIES: u32 = 3;

/// Lost tries in a row, over all points, after which the sweep is given up.
const MOST_LOST: u32 = 12;

/// Guests that failed to start in a row, after which the sweep is given up.
const MOST_FAILED: u32 = 3;

/// Tests points, one after the other.
pub trait PointTester: Send + 'static {
    /// Runs a round with the victim held at `address`. Not cancel safe.
    fn test_point(&mut self, address: u64) -> impl Future<Output = TryResult> + Send;

    /// Ends the guest. Returns crash reports that it has not handed out before.
    fn end(self) -> impl Future<Output = Vec<CrashReport>> + Send;
}

/// Starts testers.
pub trait TesterPool: Send + Sync + 'static {
    /// The testers it starts.
    type Tester: PointTester;

    /// Starts another tester.
    fn start(&self) -> impl Future<Output = Result<Self::Tester, Error>> + Send;
}

/// The result of one try.
#[derive(Debug, Clone, PartialEq)]
pub struct TryResult {
    /// How it ended; none if twinboot was interrupted.
    pub outcome: Option<ForcedOutcome>,
    /// Where the threads were.
    pub threads: Vec<ThreadState>,
    /// New crash reports.
    pub problems: Vec<CrashReport>,
    /// The tester can go on to another point.
    pub orderly: bool,
}

/// The result of one point.
#[derive(Debug, Clone, PartialEq)]
pub struct TriedPoint {
    /// Address of the point.
    pub address: u64,
    /// How it ended.
    pub outcome: ForcedOutcome,
    /// Where the threads were.
    pub threads: Vec<ThreadState>,
    /// Crash reports of all tries.
    pub problems: Vec<CrashReport>,
    /// Wall time of all tries in seconds.
    pub seconds: f64,
}

/// Tests every address with up to `jobs` testers at a time and sends each result as soon as it is
/// known. `first` is a tester that runs already.
pub async fn work<P: TesterPool>(
    testers: Arc<P>,
    first: Option<P::Tester>,
    jobs: usize,
    addresses: &[u64],
    results: &mpsc::Sender<TriedPoint>,
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
        queue: Mutex::new(Queue { waiting: points.collect(), ..Queue::default() }),
        changed: Notify::new(),
    });
    let mut workers = JoinSet::new();
    let mut first = first;
    for _ in 0..jobs.clamp(1, addresses.len().max(1)) {
        let worker = Worker {
            shared: shared.clone(),
            testers: testers.clone(),
            tester: first.take(),
            results: results.clone(),
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
    shared.queue().failure.take().map_or(Ok(()), Err)
}

struct Job {
    address: u64,
    /// The function in which a thread was blocked in the previous try.
    waited: Option<String>,
    tries: u32,
    /// Why the last lost try was lost.
    lost: Option<String>,
    problems: Vec<CrashReport>,
    seconds: f64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Points under test, which may come back.
    out: usize,
    /// Functions known to wait for the victim: a thread was blocked there twice at the same point.
    waits: HashSet<String>,
    lost_in_a_row: u32,
    /// Some point had a conclusive result.
    said: bool,
    failed_in_a_row: u32,
    failure: Option<Error>,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next point; none if no point is left and none can come back.
    async fn take(&self) -> Option<Job> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers before the check, so that no change in between is missed.
            changed.as_mut().enable();
            {
                let mut queue = self.queue();
                if queue.failure.is_some() {
                    return None;
                }
                if let Some(job) = queue.waiting.pop_front() {
                    queue.out += 1;
                    return Some(job);
                }
                if queue.out == 0 {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// Marks a point as done, or puts it back at the end of the queue.
    fn put_back(&self, again: Option<Job>) {
        let mut queue = self.queue();
        queue.out -= 1;
        queue.waiting.extend(again);
        self.changed.notify_waiters();
    }

    fn fail(&self, error: Error) {
        self.queue().failure.get_or_insert(error);
        self.changed.notify_waiters();
    }
}

struct Worker<P: TesterPool> {
    shared: Arc<Shared>,
    testers: Arc<P>,
    tester: Option<P::Tester>,
    results: mpsc::Sender<TriedPoint>,
    cancel: CancellationToken,
}

impl<P: TesterPool> Worker<P> {
    async fn run(mut self) {
        while !self.cancel.is_cancelled() {
            let Some(job) = self.shared.take().await else { break };
            let again = self.try_once(job).await;
            self.shared.put_back(again);
        }
        if let Some(tester) = self.tester.take() {
            tester.end().await;
        }
    }

    /// Tests a point once. Returns it if it needs another try.
    async fn try_once(&mut self, mut job: Job) -> Option<Job> {
        let mut tester = match self.tester.take() {
            Some(tester) => tester,
            None => match self.start().await {
                Some(tester) => tester,
                None => return Some(job),
            },
        };
        let begun = Instant::now();
        let mut came = tester.test_point(job.address).await;
        job.seconds += begun.elapsed().as_secs_f64();
        if came.orderly {
            self.tester = Some(tester);
        } else {
            came.problems.extend(tester.end().await);
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
                let mut queue = self.shared.queue();
                (queue.lost_in_a_row, queue.said) = (0, true);
            }
            if self.is_doubtful(&mut job, &outcome) {
                return Some(job);
            }
            self.report(job, outcome, came.threads).await;
            return None;
        };
        let in_a_row = {
            let mut queue = self.shared.queue();
            // A point that the victim only reached by chance during the trace is no sign that the
            // rest fails.
            queue.lost_in_a_row += u32::from(reason.is_some() || !queue.said);
            queue.lost_in_a_row
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

    /// Whether an exclusion needs a second try before it counts. On a busy host, a thread that
    /// would go on by itself (because it waits for another CPU, say) can look blocked by the
    /// victim. The same function twice at one point is no accident and is trusted for the rest of
    /// the sweep.
    fn is_doubtful(&self, job: &mut Job, outcome: &ForcedOutcome) -> bool {
        let ForcedOutcome::Excluded { why: Exclusion::Blocked { function, .. }, .. } = outcome else { return false };
        let mut queue = self.shared.queue();
        if queue.waits.contains(function) {
            return false;
        }
        if job.waited.as_ref() == Some(function) {
            queue.waits.insert(function.clone());
            return false;
        }
        job.waited = Some(function.clone());
        job.tries < TRIES
    }

    async fn report(&mut self, job: Job, outcome: ForcedOutcome, threads: Vec<ThreadState>) {
        let Job { address, problems, seconds, .. } = job;
        // The receiver is gone once the sweep has ended.
        let _ = self.results.send(TriedPoint { address, outcome, threads, problems, seconds }).await;
    }

    async fn start(&mut self) -> Option<P::Tester> {
        match self.testers.start().await {
            Ok(tester) => {
                self.shared.queue().failed_in_a_row = 0;
                Some(tester)
            }
            Err(error) => {
                let in_a_row = {
                    let mut queue = self.shared.queue();
                    queue.failed_in_a_row += 1;
                    queue.failed_in_a_row
                };
                if error.is_the_plans() || matches!(error, Error::Interrupted) || in_a_row >= MOST_FAILED {
                    self.shared.fail(error);
                }
                None
            }
        }
    }
}

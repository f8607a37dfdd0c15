//! The workers, with testers that follow a script.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::workers::{PointTester, TRIES, TesterPool, TriedPoint, TryResult, work};
use crate::crash::CrashReport;
use crate::interleave::Error;
use crate::journal::interleaving::{Exclusion, ForcedOutcome};

/// Outcomes at each address, try by try; the last one repeats.
type Outcomes = HashMap<u64, Vec<ForcedOutcome>>;

#[derive(Default)]
struct Toys {
    script: Mutex<Outcomes>,
    started: AtomicU32,
    ended: AtomicU32,
    /// Starts that fail before one succeeds.
    failing: AtomicU32,
    tries: Mutex<Vec<(u32, u64)>>,
    /// Interrupts the sweep at this address.
    stop_at: Option<(u64, CancellationToken)>,
}

struct Toy(u32, Arc<Toys>);

struct Shop(Arc<Toys>);

impl TesterPool for Shop {
    type Tester = Toy;

    async fn start(&self) -> Result<Toy, Error> {
        if self.0.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::Lost("no guest".to_owned()));
        }
        Ok(Toy(self.0.started.fetch_add(1, Ordering::SeqCst), self.0.clone()))
    }
}

impl PointTester for Toy {
    async fn test_point(&mut self, address: u64) -> TryResult {
        self.1.tries.lock().expect("no panic").push((self.0, address));
        tokio::task::yield_now().await;
        let mut outcome = {
            let mut script = self.1.script.lock().expect("no panic");
            let next = script.get_mut(&address);
            next.map_or(ForcedOutcome::Clean, |tries| if tries.len() > 1 { tries.remove(0) } else { tries[0].clone() })
        };
        if let Some((at, cancel)) = &self.1.stop_at
            && *at == address
        {
            cancel.cancel();
            return TryResult { outcome: None, threads: Vec::new(), problems: Vec::new(), orderly: false };
        }
        let orderly = !matches!(outcome, ForcedOutcome::Crashed { .. });
        if let ForcedOutcome::Lost { reason } = &mut outcome {
            reason.push('!');
        }
        TryResult { outcome: Some(outcome), threads: Vec::new(), problems: Vec::new(), orderly }
    }

    async fn end(self) -> Vec<CrashReport> {
        self.1.ended.fetch_add(1, Ordering::SeqCst);
        Vec::new()
    }
}

async fn sweep(toys: Toys, jobs: usize, cancel: &CancellationToken) -> (Result<(), Error>, Vec<TriedPoint>, Arc<Toys>) {
    let toys = Arc::new(toys);
    let addresses: Vec<u64> = (1..=20).collect();
    let (results, mut told) = mpsc::channel(1);
    let listen = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(points) = told.recv().await {
            all.push(points);
        }
        all
    });
    let done = work(Arc::new(Shop(toys.clone())), None, jobs, &addresses, &results, cancel).await;
    drop(results);
    let mut points = listen.await.expect("no panic");
    points.sort_by_key(|it| it.address);
    assert_eq!(toys.started.load(Ordering::SeqCst), toys.ended.load(Ordering::SeqCst), "no tester is left behind");
    (done, points, toys)
}

fn lost(reason: &str) -> ForcedOutcome {
    ForcedOutcome::Lost { reason: reason.to_owned() }
}

fn another_way() -> ForcedOutcome {
    ForcedOutcome::Excluded { step: 1, why: Exclusion::TookAnotherWay, damage: None }
}

#[tokio::test]
async fn every_point_is_told_of_once_and_shared_out() {
    let (done, points, toys) = sweep(Toys::default(), 3, &CancellationToken::new()).await;
    done.expect("ends well");
    assert_eq!(points.iter().map(|it| it.address).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert_eq!(toys.started.load(Ordering::SeqCst), 3);
    let tries = toys.tries.lock().expect("no panic").clone();
    assert_eq!(tries.len(), 20);
    assert!((0..3).all(|toy| tries.iter().any(|(who, _)| *who == toy)), "{tries:?}");
}

#[tokio::test]
async fn a_lost_point_is_tried_three_times_and_a_crash_costs_the_guest() {
    let script = Outcomes::from([
        (3, vec![lost("late"), ForcedOutcome::Clean]),
        (5, vec![lost("late"), another_way(), another_way()]),
        (7, vec![another_way()]),
        (9, vec![ForcedOutcome::Crashed { reason: "panic".to_owned() }]),
    ]);
    let toys = Toys { script: Mutex::new(script), ..Toys::default() };
    let (done, points, toys) = sweep(toys, 2, &CancellationToken::new()).await;
    done.expect("ends well");
    assert_eq!(points.len(), 20);
    let outcome = |address: u64| points.iter().find(|it| it.address == address).expect("told of").outcome.clone();
    let tries = |address: u64| toys.tries.lock().expect("no panic").iter().filter(|(_, it)| *it == address).count();
    assert_eq!((outcome(3), tries(3)), (ForcedOutcome::Clean, 2));
    assert_eq!((outcome(5), tries(5)), (lost("late!"), 3), "not every try took another path");
    assert_eq!((outcome(7), tries(7)), (another_way(), usize::try_from(TRIES).expect("fits")));
    assert_eq!((outcome(9), tries(9)), (ForcedOutcome::Crashed { reason: "panic".to_owned() }, 1));
    assert_eq!(toys.started.load(Ordering::SeqCst), 3, "one for the crashed one");
}

#[tokio::test]
async fn an_exclusion_counts_when_it_was_seen_twice() {
    let blocked = |function: &str| ForcedOutcome::Excluded {
        step: 3,
        why: Exclusion::Blocked { function: function.to_owned(), for_ms: 130 },
        damage: None,
    };
    let script = Outcomes::from([
        (2, vec![blocked("flush_tlb"), ForcedOutcome::Clean]),
        (4, vec![blocked("do_swap_page")]),
        (18, vec![blocked("do_swap_page"), ForcedOutcome::Clean]),
    ]);
    let toys = Toys { script: Mutex::new(script), ..Toys::default() };
    let (done, points, toys) = sweep(toys, 1, &CancellationToken::new()).await;
    done.expect("ends well");
    let outcome = |address: u64| points.iter().find(|it| it.address == address).expect("told of").outcome.clone();
    let tries = |address: u64| toys.tries.lock().expect("no panic").iter().filter(|(_, it)| *it == address).count();
    assert_eq!((outcome(2), tries(2)), (ForcedOutcome::Clean, 2));
    assert_eq!((outcome(4), tries(4)), (blocked("do_swap_page"), 2));
    assert_eq!((outcome(18), tries(18)), (ForcedOutcome::Clean, 2), "it came before the second look at another");
}

#[tokio::test]
async fn a_guest_that_comes_up_in_the_end_is_enough() {
    let toys = Toys { failing: AtomicU32::new(2), ..Toys::default() };
    let (done, points, _) = sweep(toys, 1, &CancellationToken::new()).await;
    done.expect("ends well");
    assert_eq!(points.len(), 20);
    let toys = Toys { failing: AtomicU32::new(100), ..Toys::default() };
    let (done, points, _) = sweep(toys, 2, &CancellationToken::new()).await;
    assert!(matches!(&done, Err(Error::Lost(reason)) if reason == "no guest"), "{done:?}");
    assert!(points.is_empty());
}

#[tokio::test]
async fn a_sweep_that_only_loses_is_given_up() {
    let script = (1..=20).map(|address| (address, vec![lost("gone")])).collect();
    let toys = Toys { script: Mutex::new(script), ..Toys::default() };
    let (done, points, toys) = sweep(toys, 2, &CancellationToken::new()).await;
    assert!(matches!(&done, Err(Error::GivenUp { rounds: 12, reason }) if reason == "gone!"), "{done:?}");
    assert!(points.is_empty(), "{points:?}");
    assert!(toys.tries.lock().expect("no panic").len() <= 13);
}

#[tokio::test]
async fn an_interrupt_ends_it_and_keeps_what_was_told() {
    let cancel = CancellationToken::new();
    let toys = Toys { stop_at: Some((6, cancel.clone())), ..Toys::default() };
    let (done, points, _) = sweep(toys, 1, &cancel).await;
    assert!(matches!(done, Err(Error::Interrupted)), "{done:?}");
    assert_eq!(points.iter().map(|it| it.address).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
}

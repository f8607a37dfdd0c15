//! Rounds on a scripted guest. The clock is paused and jumps to the next deadline, so no test
//! waits.

use std::collections::VecDeque;
use std::time::Duration;

use twinboot_protocol::orders::{Answer, Damage, Order};
use twinboot_protocol::{CorruptionKind, SwapEntry};

use super::{RoundEnd, RoundResult, RoundSpec, run_round};
use crate::diagram::{Action, Diagram, Hold, Step};
use crate::interleave::control::{BreakAction, End, Event, GuestControl, TaskSnapshot, TaskState};
use crate::interleave::latency::OperationLatency;
use crate::journal::interleaving::{Exclusion, ForcedOutcome};
use kernel_debug::Frame;
use kernel_debug::Point;

const VICTIM: i32 = 71;
const INTERFERER: i32 = 72;
const POINT: u64 = 0xffff_ffff_8110_0000;
const LATER: u64 = 0xffff_ffff_8110_0100;

type Reaction = Box<dyn FnMut(&str) -> Vec<Event> + Send>;

/// Passes every request to `react` as text, which returns the events that follow.
struct ScriptedGuest {
    react: Reaction,
    snapshots: fn(i32) -> TaskSnapshot,
    log: Vec<String>,
    queue: VecDeque<Event>,
}

impl ScriptedGuest {
    fn ask(&mut self, words: String) {
        self.queue.extend((self.react)(&words));
        self.log.push(words);
    }
}

impl GuestControl for ScriptedGuest {
    async fn order(&mut self, order: Order) -> Result<(), End> {
        self.ask(match order {
            Order::Prepare { .. } => "prepare".to_owned(),
            Order::Begin { thread, operation, .. } => format!("{thread} {operation}"),
            Order::Judge => "judge".to_owned(),
            Order::End => "end".to_owned(),
        });
        Ok(())
    }

    async fn next(&mut self) -> Event {
        match self.queue.pop_front() {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    async fn watch(&mut self, tid: i32, addresses: &[u64], how: BreakAction) -> Result<(), End> {
        self.ask(format!("watch {tid} {:x} {how:?}", addresses[0]));
        Ok(())
    }

    async fn unwatch(&mut self, tid: i32) -> Result<(), End> {
        self.ask(format!("unwatch {tid}"));
        Ok(())
    }

    async fn release(&mut self, tid: i32) -> Result<(), End> {
        self.ask(format!("release {tid}"));
        Ok(())
    }

    async fn look(&mut self, tids: &[i32]) -> Result<Vec<TaskSnapshot>, End> {
        self.ask("look".to_owned());
        Ok(tids.iter().map(|&tid| (self.snapshots)(tid)).collect())
    }
}

fn stack(functions: &[&str]) -> Vec<Frame> {
    let frame =
        |name: &&str| Frame { address: POINT, function: (*name).to_owned(), offset: Some(0), file: None, line: None };
    functions.iter().map(frame).collect()
}

fn waits_for_the_pin(_: i32) -> TaskSnapshot {
    TaskSnapshot { state: TaskState::Sleeping, stack: stack(&["schedule", "do_swap_page", "handle_mm_fault"]) }
}

fn works(_: i32) -> TaskSnapshot {
    TaskSnapshot { state: TaskState::Kernel, stack: stack(&["shrink_folio_list", "reclaim_pages"]) }
}

fn done(thread: &str) -> Event {
    let thread = thread.to_owned();
    Event::Answer(Answer::Done { thread, elapsed_ns: 1000, saw: Some("generation 3".to_owned()), refused: None })
}

fn prepared() -> Event {
    Event::Answer(Answer::Prepared { round: 5, entry: Some(SwapEntry { kind: 0, offset: 15 }) })
}

fn judged(damage: Option<Damage>) -> Event {
    let entry = Some(SwapEntry { kind: 0, offset: 15 });
    Event::Answer(Answer::Judged { round: 5, damage, entry_before: entry, entry_after: entry })
}

fn damage() -> Damage {
    Damage {
        object: "page".to_owned(),
        kind: CorruptionKind::LostUpdate,
        expected: "generation 4".to_owned(),
        found: "generation 3".to_owned(),
    }
}

fn operate(thread: usize, operation: &str) -> Step {
    let action = Action::Operate { operation: operation.to_owned(), object: Some("page".to_owned()), started: false };
    step(thread, action)
}

fn reach(thread: usize) -> Step {
    step(thread, Action::Reach(Point::Entry(vec!["f".to_owned()])))
}

fn step(thread: usize, action: Action) -> Step {
    Step { thread, action, row: 0, text: "words".to_owned() }
}

/// The swap-in race.
fn drawing(hold: Hold) -> Diagram {
    Diagram {
        threads: vec!["victim".to_owned(), "interferer".to_owned()],
        steps: vec![
            operate(0, "read"),
            reach(0),
            step(0, Action::Hold(hold)),
            operate(1, "write"),
            operate(1, "pageout"),
            step(0, Action::Release),
        ],
        drawing: Vec::new(),
    }
}

async fn result(
    diagram: &Diagram,
    held: bool,
    snapshots: fn(i32) -> TaskSnapshot,
    react: Reaction,
) -> (RoundResult, Vec<String>) {
    let addresses = |(index, step): (usize, &Step)| match step.action {
        Action::Reach(_) if index > 1 => vec![LATER],
        Action::Reach(_) => vec![POINT],
        _ => Vec::new(),
    };
    let points: Vec<Vec<u64>> = diagram.steps.iter().enumerate().map(addresses).collect();
    let deadline = Duration::from_secs(5);
    let spec = RoundSpec { diagram, points: &points, tids: &[VICTIM, INTERFERER], deadline, round: 5, held };
    let mut guest = ScriptedGuest { react, snapshots, log: Vec::new(), queue: VecDeque::new() };
    let result = run_round(&mut guest, &spec, &mut OperationLatency::default()).await;
    (result, guest.log)
}

/// A guest in which every step succeeds and whose oracle reports `damage`.
fn willing(damage: Option<Damage>) -> Reaction {
    Box::new(move |words| match words {
        "prepare" => vec![prepared()],
        "victim read" => vec![Event::Held { tid: VICTIM }],
        "interferer write" | "interferer pageout" => vec![done("interferer")],
        "release 71" => vec![done("victim")],
        "judge" => vec![judged(damage.clone())],
        _ => Vec::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_drawing_is_played_in_its_order_and_the_oracle_decides() {
    for damage in [Some(damage()), None] {
        let (result, log) = result(&drawing(Hold::Sleep), true, works, willing(damage.clone())).await;
        let wanted = damage.map_or(ForcedOutcome::Clean, |damage| ForcedOutcome::Corrupt { damage });
        assert_eq!(result.ended, RoundEnd::Outcome(wanted));
        assert!(result.orderly && result.steps.iter().all(|step| step.taken));
        assert_eq!(result.steps[0].saw.as_deref(), Some("generation 3"));
        assert_eq!(result.entry_before, result.entry_after);
        let states: Vec<_> = result.threads.iter().map(|thread| thread.state.as_str()).collect();
        assert_eq!(states, ["held", "idle"], "as they stood when the last hold did");
        let order = [
            "prepare",
            "watch 71 ffffffff81100000 Sleep",
            "victim read",
            "interferer write",
            "interferer pageout",
            "look",
            "release 71",
            "judge",
        ];
        assert_eq!(log, order);
    }
}

#[tokio::test(start_paused = true)]
async fn without_holds_the_same_operations_begin_in_the_same_order_and_nobody_is_watched() {
    let react: Reaction = Box::new(|words| match words {
        "prepare" => vec![prepared()],
        "victim read" => vec![done("victim")],
        "interferer write" | "interferer pageout" => vec![done("interferer")],
        "judge" => vec![judged(None)],
        _ => Vec::new(),
    });
    let (result, log) = result(&drawing(Hold::Sleep), false, works, react).await;
    assert_eq!(result.ended, RoundEnd::Outcome(ForcedOutcome::Clean));
    assert_eq!(log, ["prepare", "victim read", "interferer write", "interferer pageout", "judge"]);
}

/// The interferer's write returns only after the victim was released.
fn pinned() -> Reaction {
    Box::new(|words| match words {
        "release 71" => vec![done("victim"), done("interferer")],
        "interferer write" => Vec::new(),
        words => willing(None)(words),
    })
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_thread_is_seen_to_wait_and_then_goes_on_is_excluded() {
    let (result, log) = result(&drawing(Hold::Sleep), true, waits_for_the_pin, pinned()).await;
    let RoundEnd::Outcome(ForcedOutcome::Excluded {
        step: 3,
        why: Exclusion::Blocked { function, for_ms },
        damage: None,
    }) = &result.ended
    else {
        panic!("{:?}", result.ended)
    };
    assert_eq!(function, "do_swap_page");
    assert!((60..1000).contains(for_ms), "{for_ms}");
    assert!(result.orderly, "the next round can be result in this guest");
    assert_eq!(log.iter().filter(|words| *words == "look").count(), 4);
    assert_eq!(log[log.len() - 2..], ["release 71", "judge"]);
    assert_eq!(result.steps.iter().map(|step| step.taken).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(result.threads[1].state, "sleeping");
    assert_eq!(result.threads[1].stack[1].function, "do_swap_page");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_not_seen_to_wait_is_lost() {
    let (result, _) = result(&drawing(Hold::Sleep), true, works, pinned()).await;
    let RoundEnd::Outcome(ForcedOutcome::Lost { reason }) = &result.ended else { panic!("{:?}", result.ended) };
    assert!(reason.contains("step 4 (`interferer`: `words`)") && reason.contains("not seen to wait"), "{reason}");
    assert!(result.orderly, "it came back after all");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_never_comes_back_is_lost_whatever_was_seen() {
    let react: Reaction = Box::new(|words| match words {
        "release 71" => vec![done("victim")],
        words => pinned()(words),
    });
    let (result, _) = result(&drawing(Hold::Sleep), true, waits_for_the_pin, react).await;
    let RoundEnd::Outcome(ForcedOutcome::Lost { reason }) = &result.ended else { panic!("{:?}", result.ended) };
    assert!(reason.contains("`interferer` did not come back") && reason.contains("no exclusion"), "{reason}");
    assert!(!result.orderly);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_long_with_nobody_held_is_lost_and_nobody_asks_why_it_waits() {
    let mut diagram = drawing(Hold::Sleep);
    diagram.steps = vec![operate(1, "write")];
    let react: Reaction = Box::new(|words| if words == "prepare" { vec![prepared()] } else { Vec::new() });
    let (result, log) = result(&diagram, true, waits_for_the_pin, react).await;
    assert!(matches!(result.ended, RoundEnd::Outcome(ForcedOutcome::Lost { .. })), "{:?}", result.ended);
    assert_eq!(log.iter().filter(|words| *words == "look").count(), 1, "only for the report");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_comes_back_without_its_point_took_another_way() {
    let react: Reaction = Box::new(|words| match words {
        "victim read" => vec![done("victim")],
        words => willing(None)(words),
    });
    let (result, log) = result(&drawing(Hold::Sleep), true, works, react).await;
    let excluded = ForcedOutcome::Excluded { step: 1, why: Exclusion::TookAnotherWay, damage: None };
    assert_eq!(result.ended, RoundEnd::Outcome(excluded));
    assert_eq!(log[log.len() - 2..], ["unwatch 71", "judge"]);
    assert!(result.orderly);
}

#[tokio::test(start_paused = true)]
async fn an_illegal_hold_is_no_round_at_all() {
    let react: Reaction = Box::new(|words| match words {
        "victim read" => {
            vec![Event::Illegal { tid: VICTIM, address: POINT, why: "preempt count 1".to_owned() }]
        }
        words => willing(None)(words),
    });
    let (result, _) = result(&drawing(Hold::Sleep), true, works, react).await;
    assert_eq!(result.ended, RoundEnd::Illegal { step: 1, address: POINT, why: "preempt count 1".to_owned() });
    assert!(!result.orderly);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_dies_while_threads_are_let_go_has_crashed() {
    let react: Reaction = Box::new(|words| match words {
        "release 71" => vec![Event::Ended(End::Crashed("the guest's kernel panicked".to_owned()))],
        words => pinned()(words),
    });
    let (result, _) = result(&drawing(Hold::Sleep), true, waits_for_the_pin, react).await;
    let crashed = ForcedOutcome::Crashed { reason: "the guest's kernel panicked".to_owned() };
    assert_eq!(result.ended, RoundEnd::Outcome(crashed));
    assert!(!result.orderly);
}

#[tokio::test(start_paused = true)]
async fn a_thread_does_not_run_past_a_second_point_while_the_first_is_noted() {
    let mut diagram = drawing(Hold::Freeze);
    diagram.steps.insert(2, reach(0));
    let mut caught = 0;
    let react: Reaction = Box::new(move |words| match words {
        "victim read" => vec![Event::Held { tid: VICTIM }],
        "release 71" => {
            caught += 1;
            vec![if caught == 1 { Event::Held { tid: VICTIM } } else { done("victim") }]
        }
        words => willing(None)(words),
    });
    let (result, log) = result(&diagram, true, works, react).await;
    assert_eq!(result.ended, RoundEnd::Outcome(ForcedOutcome::Clean));
    assert_eq!(result.threads[0].state, "frozen");
    let begin = log.iter().position(|words| words == "victim read").expect("it began");
    assert_eq!(log[begin - 1], "watch 71 ffffffff81100000 Freeze");
    assert_eq!(log[begin + 1..begin + 3], ["watch 71 ffffffff81100100 Freeze", "release 71"]);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_slow_by_nature_is_left_alone_for_longer() {
    let mut usual = OperationLatency::default();
    usual.note("fork", None, Duration::from_millis(30));
    usual.note("fork", None, Duration::from_millis(20));
    assert_eq!(usual.patience("fork", None), Duration::from_millis(120));
    assert_eq!(usual.patience("fork", Some("page")), Duration::from_millis(60));
}

#[tokio::test(start_paused = true)]
async fn a_thread_whose_answer_is_late_is_not_blocked() {
    fn waits_for_orders(_: i32) -> TaskSnapshot {
        TaskSnapshot {
            state: TaskState::Sleeping,
            stack: stack(&["schedule", "futex_wait_queue", "futex_wait", "do_futex"]),
        }
    }
    let mut looks = 0;
    let react: Reaction = Box::new(move |words| match words {
        "look" => {
            looks += 1;
            if looks == 20 { vec![done("interferer")] } else { Vec::new() }
        }
        "interferer write" => Vec::new(),
        words => willing(Some(damage()))(words),
    });
    let (result, _) = result(&drawing(Hold::Sleep), true, waits_for_orders, react).await;
    assert_eq!(result.ended, RoundEnd::Outcome(ForcedOutcome::Corrupt { damage: damage() }));
}

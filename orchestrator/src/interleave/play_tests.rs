//! Rounds on a scene that answers as told. The clock stands still and jumps to the next deadline, so nothing here waits.

use std::collections::VecDeque;
use std::time::Duration;

use twinboot_protocol::orders::{Answer, Damage, Order};
use twinboot_protocol::{CorruptionKind, SwapEntry};

use super::play::{Ended, Played, Script, play};
use super::scene::{Catch, End, Happening, Posture, Scene, Sight};
use super::usual::Usual;
use crate::diagram::{Action, Diagram, Hold, Point, Step};
use crate::journal::interleaving::{Exclusion, ForcedOutcome, Frame};

const VICTIM: i32 = 71;
const INTERFERER: i32 = 72;
const POINT: u64 = 0xffff_ffff_8110_0000;
const LATER: u64 = 0xffff_ffff_8110_0100;

type Reaction = Box<dyn FnMut(&str) -> Vec<Happening> + Send>;

/// Everything that is asked of it, in words, goes to `react`, which says what happens next.
struct Told {
    react: Reaction,
    sights: fn(i32) -> Sight,
    log: Vec<String>,
    queue: VecDeque<Happening>,
}

impl Told {
    fn ask(&mut self, words: String) {
        self.queue.extend((self.react)(&words));
        self.log.push(words);
    }
}

impl Scene for Told {
    async fn order(&mut self, order: Order) -> Result<(), End> {
        self.ask(match order {
            Order::Prepare { .. } => "prepare".to_owned(),
            Order::Begin { thread, operation, .. } => format!("{thread} {operation}"),
            Order::Judge => "judge".to_owned(),
            Order::End => "end".to_owned(),
        });
        Ok(())
    }

    async fn next(&mut self) -> Happening {
        match self.queue.pop_front() {
            Some(happening) => happening,
            None => std::future::pending().await,
        }
    }

    async fn watch(&mut self, tid: i32, addresses: &[u64], how: Catch) -> Result<(), End> {
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

    async fn look(&mut self, tids: &[i32]) -> Result<Vec<Sight>, End> {
        self.ask("look".to_owned());
        Ok(tids.iter().map(|&tid| (self.sights)(tid)).collect())
    }
}

fn stack(functions: &[&str]) -> Vec<Frame> {
    let frame =
        |name: &&str| Frame { address: POINT, function: (*name).to_owned(), offset: Some(0), file: None, line: None };
    functions.iter().map(frame).collect()
}

fn waits_for_the_pin(_: i32) -> Sight {
    Sight { posture: Posture::Sleeping, stack: stack(&["schedule", "do_swap_page", "handle_mm_fault"]) }
}

fn works(_: i32) -> Sight {
    Sight { posture: Posture::Kernel, stack: stack(&["shrink_folio_list", "reclaim_pages"]) }
}

fn done(thread: &str) -> Happening {
    let thread = thread.to_owned();
    Happening::Answer(Answer::Done { thread, elapsed_ns: 1000, saw: Some("generation 3".to_owned()), refused: None })
}

fn prepared() -> Happening {
    Happening::Answer(Answer::Prepared { round: 5, entry: Some(SwapEntry { kind: 0, offset: 15 }) })
}

fn judged(damage: Option<Damage>) -> Happening {
    let entry = Some(SwapEntry { kind: 0, offset: 15 });
    Happening::Answer(Answer::Judged { round: 5, damage, entry_before: entry, entry_after: entry })
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

/// The drawing of the issue.
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

async fn played(diagram: &Diagram, held: bool, sights: fn(i32) -> Sight, react: Reaction) -> (Played, Vec<String>) {
    let addresses = |(index, step): (usize, &Step)| match step.action {
        Action::Reach(_) if index > 1 => vec![LATER],
        Action::Reach(_) => vec![POINT],
        _ => Vec::new(),
    };
    let points: Vec<Vec<u64>> = diagram.steps.iter().enumerate().map(addresses).collect();
    let deadline = Duration::from_secs(5);
    let script = Script { diagram, points: &points, tids: &[VICTIM, INTERFERER], deadline, round: 5, held };
    let mut scene = Told { react, sights, log: Vec::new(), queue: VecDeque::new() };
    let played = play(&mut scene, &script, &mut Usual::default()).await;
    (played, scene.log)
}

/// A guest in which everything goes as drawn, and whose oracle says `damage`.
fn willing(damage: Option<Damage>) -> Reaction {
    Box::new(move |words| match words {
        "prepare" => vec![prepared()],
        "victim read" => vec![Happening::Held { tid: VICTIM }],
        "interferer write" | "interferer pageout" => vec![done("interferer")],
        "release 71" => vec![done("victim")],
        "judge" => vec![judged(damage.clone())],
        _ => Vec::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn a_drawing_is_played_in_its_order_and_the_oracle_decides() {
    for damage in [Some(damage()), None] {
        let (played, log) = played(&drawing(Hold::Sleep), true, works, willing(damage.clone())).await;
        let wanted = damage.map_or(ForcedOutcome::Clean, |damage| ForcedOutcome::Corrupt { damage });
        assert_eq!(played.ended, Ended::Outcome(wanted));
        assert!(played.orderly && played.steps.iter().all(|step| step.taken));
        assert_eq!(played.steps[0].saw.as_deref(), Some("generation 3"));
        assert_eq!(played.entry_before, played.entry_after);
        let states: Vec<_> = played.threads.iter().map(|thread| thread.state.as_str()).collect();
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
    let (played, log) = played(&drawing(Hold::Sleep), false, works, react).await;
    assert_eq!(played.ended, Ended::Outcome(ForcedOutcome::Clean));
    assert_eq!(log, ["prepare", "victim read", "interferer write", "interferer pageout", "judge"]);
}

/// The interferer's write comes back only after the victim was let go.
fn pinned() -> Reaction {
    Box::new(|words| match words {
        "release 71" => vec![done("victim"), done("interferer")],
        "interferer write" => Vec::new(),
        words => willing(None)(words),
    })
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_thread_is_seen_to_wait_and_then_goes_on_is_excluded() {
    let (played, log) = played(&drawing(Hold::Sleep), true, waits_for_the_pin, pinned()).await;
    let Ended::Outcome(ForcedOutcome::Excluded { step: 3, why: Exclusion::Blocked { function, for_ms }, damage: None }) =
        &played.ended
    else {
        panic!("{:?}", played.ended)
    };
    assert_eq!(function, "do_swap_page");
    assert!((60..1000).contains(for_ms), "{for_ms}");
    assert!(played.orderly, "the next round can be played in this guest");
    assert_eq!(log.iter().filter(|words| *words == "look").count(), 4);
    assert_eq!(log[log.len() - 2..], ["release 71", "judge"]);
    assert_eq!(played.steps.iter().map(|step| step.taken).collect::<Vec<_>>(), [true, true, true, false]);
    assert_eq!(played.threads[1].state, "sleeping");
    assert_eq!(played.threads[1].stack[1].function, "do_swap_page");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_not_seen_to_wait_is_lost() {
    let (played, _) = played(&drawing(Hold::Sleep), true, works, pinned()).await;
    let Ended::Outcome(ForcedOutcome::Lost { reason }) = &played.ended else { panic!("{:?}", played.ended) };
    assert!(reason.contains("step 4 (`interferer`: `words`)") && reason.contains("not seen to wait"), "{reason}");
    assert!(played.orderly, "it came back after all");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_never_comes_back_is_lost_whatever_was_seen() {
    let react: Reaction = Box::new(|words| match words {
        "release 71" => vec![done("victim")],
        words => pinned()(words),
    });
    let (played, _) = played(&drawing(Hold::Sleep), true, waits_for_the_pin, react).await;
    let Ended::Outcome(ForcedOutcome::Lost { reason }) = &played.ended else { panic!("{:?}", played.ended) };
    assert!(reason.contains("`interferer` did not come back") && reason.contains("no exclusion"), "{reason}");
    assert!(!played.orderly);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_takes_long_with_nobody_held_is_lost_and_nobody_asks_why_it_waits() {
    let mut diagram = drawing(Hold::Sleep);
    diagram.steps = vec![operate(1, "write")];
    let react: Reaction = Box::new(|words| if words == "prepare" { vec![prepared()] } else { Vec::new() });
    let (played, log) = played(&diagram, true, waits_for_the_pin, react).await;
    assert!(matches!(played.ended, Ended::Outcome(ForcedOutcome::Lost { .. })), "{:?}", played.ended);
    assert_eq!(log.iter().filter(|words| *words == "look").count(), 1, "only for the report");
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_comes_back_without_its_point_took_another_way() {
    let react: Reaction = Box::new(|words| match words {
        "victim read" => vec![done("victim")],
        words => willing(None)(words),
    });
    let (played, log) = played(&drawing(Hold::Sleep), true, works, react).await;
    let excluded = ForcedOutcome::Excluded { step: 1, why: Exclusion::TookAnotherWay, damage: None };
    assert_eq!(played.ended, Ended::Outcome(excluded));
    assert_eq!(log[log.len() - 2..], ["unwatch 71", "judge"]);
    assert!(played.orderly);
}

#[tokio::test(start_paused = true)]
async fn an_illegal_hold_is_no_round_at_all() {
    let react: Reaction = Box::new(|words| match words {
        "victim read" => {
            vec![Happening::Illegal { tid: VICTIM, address: POINT, why: "preempt count 1".to_owned() }]
        }
        words => willing(None)(words),
    });
    let (played, _) = played(&drawing(Hold::Sleep), true, works, react).await;
    assert_eq!(played.ended, Ended::Illegal { step: 1, address: POINT, why: "preempt count 1".to_owned() });
    assert!(!played.orderly);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_dies_while_threads_are_let_go_has_crashed() {
    let react: Reaction = Box::new(|words| match words {
        "release 71" => vec![Happening::Ended(End::Crashed("the guest's kernel panicked".to_owned()))],
        words => pinned()(words),
    });
    let (played, _) = played(&drawing(Hold::Sleep), true, waits_for_the_pin, react).await;
    let crashed = ForcedOutcome::Crashed { reason: "the guest's kernel panicked".to_owned() };
    assert_eq!(played.ended, Ended::Outcome(crashed));
    assert!(!played.orderly);
}

#[tokio::test(start_paused = true)]
async fn a_thread_does_not_run_past_a_second_point_while_the_first_is_noted() {
    let mut diagram = drawing(Hold::Freeze);
    diagram.steps.insert(2, reach(0));
    let mut caught = 0;
    let react: Reaction = Box::new(move |words| match words {
        "victim read" => vec![Happening::Held { tid: VICTIM }],
        "release 71" => {
            caught += 1;
            vec![if caught == 1 { Happening::Held { tid: VICTIM } } else { done("victim") }]
        }
        words => willing(None)(words),
    });
    let (played, log) = played(&diagram, true, works, react).await;
    assert_eq!(played.ended, Ended::Outcome(ForcedOutcome::Clean));
    assert_eq!(played.threads[0].state, "frozen");
    let begin = log.iter().position(|words| words == "victim read").expect("it began");
    assert_eq!(log[begin - 1], "watch 71 ffffffff81100000 Freeze");
    assert_eq!(log[begin + 1..begin + 3], ["watch 71 ffffffff81100100 Freeze", "release 71"]);
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_is_slow_by_nature_is_left_alone_for_longer() {
    let mut usual = Usual::default();
    usual.note("fork", None, Duration::from_millis(30));
    usual.note("fork", None, Duration::from_millis(20));
    assert_eq!(usual.patience("fork", None), Duration::from_millis(120));
    assert_eq!(usual.patience("fork", Some("page")), Duration::from_millis(60));
}

#[tokio::test(start_paused = true)]
async fn a_thread_whose_answer_is_late_is_not_blocked() {
    fn waits_for_orders(_: i32) -> Sight {
        Sight { posture: Posture::Sleeping, stack: stack(&["schedule", "futex_wait_queue", "futex_wait", "do_futex"]) }
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
    let (played, _) = played(&drawing(Hold::Sleep), true, waits_for_orders, react).await;
    assert_eq!(played.ended, Ended::Outcome(ForcedOutcome::Corrupt { damage: damage() }));
}

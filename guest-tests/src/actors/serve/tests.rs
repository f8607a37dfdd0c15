use std::io::{BufReader, PipeReader, PipeWriter};
use std::sync::Condvar;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use twinboot_protocol::SwapEntry;

use super::*;
use crate::Error;
use crate::actors::{Judgement, offer};
use crate::sys::sched;

/// A door that threads wait at, and a count of those that went through.
#[derive(Default)]
struct Doors {
    open: Mutex<bool>,
    opened: Condvar,
    passed: AtomicU64,
    closing: Condvar,
}

impl Scene for Doors {
    fn operations(&self) -> Vec<Offered> {
        vec![
            offer("open", &["door"], "opens it"),
            offer("pass", &["door", "gate"], "waits until it is open"),
            offer("count", &[], "says how many passed"),
            offer("fall", &[], "panics"),
            offer("fail", &[], "is refused"),
        ]
    }

    fn prepare(&self) -> Result<Option<SwapEntry>, Error> {
        *self.open.lock().expect("not poisoned") = false;
        if self.passed.swap(0, Relaxed) > 2 { Err(Error::NoSwap) } else { Ok(Some(SwapEntry { kind: 1, offset: 2 })) }
    }

    fn perform(&self, actor: usize, operation: &str, object: Option<&str>) -> Result<Performed, SysError> {
        match (operation, object) {
            ("open", Some("door")) => {
                *self.open.lock().expect("not poisoned") = true;
                self.opened.notify_all();
                Ok(Performed::default())
            }
            ("pass", Some("door")) => {
                let open = self.open.lock().expect("not poisoned");
                drop(self.opened.wait_while(open, |open| !*open).expect("not poisoned"));
                Ok(Performed::saw(format!("passed as number {}", self.passed.fetch_add(1, Relaxed) + 1)))
            }
            ("pass", _) => {
                let never = self.open.lock().expect("not poisoned");
                drop(self.closing.wait_while(never, |_| true).expect("not poisoned"));
                Ok(Performed::default())
            }
            ("count", _) => Ok(Performed::saw(format!("thread {actor} counts {}", self.passed.load(Relaxed)))),
            ("fall", _) => panic!("as ordered"),
            _ => Err(SysError::new("madvise", "a door", io::ErrorKind::InvalidInput.into())),
        }
    }

    fn judge(&self) -> Result<Judgement, Error> {
        Ok(Judgement {
            entry_after: Some(SwapEntry { kind: 0, offset: self.passed.load(Relaxed) }),
            ..Judgement::default()
        })
    }
}

/// The host's side of a test with threads `a` and `b`.
struct Host {
    orders: Option<PipeWriter>,
    answers: BufReader<PipeReader>,
    test: JoinHandle<io::Result<bool>>,
}

impl Host {
    /// Starts it and takes its offer.
    fn start() -> Self {
        let (orders_out, orders) = io::pipe().expect("a pipe");
        let (answers, answers_in) = io::pipe().expect("a pipe");
        let test = thread::spawn(move || {
            let cpu = sched::allowed_cpus().expect("the set")[0];
            let cast = Cast::start(&["a".to_owned(), "b".to_owned()], &[cpu, cpu]).expect("two threads");
            let scene: Arc<dyn Scene> = Arc::new(Doors::default());
            serve(BufReader::new(orders_out), answers_in, cast, &scene)
        });
        let mut host = Self { orders: Some(orders), answers: BufReader::new(answers), test };
        let Answer::Offer { threads, operations } = host.answer() else { panic!("an offer comes first") };
        assert_eq!(threads.iter().map(|actor| actor.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(threads[0].tid > 0 && threads[0].tid != threads[1].tid && threads[0].cpu.is_some());
        assert_eq!(operations.len(), 5);
        host
    }

    fn send(&mut self, line: &str) {
        writeln!(self.orders.as_mut().expect("open"), "{line}").expect("is read");
    }

    fn order(&mut self, order: &Order) -> Answer {
        self.send(&serde_json::to_string(order).expect("plain data"));
        self.answer()
    }

    fn begin(&mut self, thread: &str, operation: &str, object: Option<&str>) {
        let (thread, operation) = (thread.to_owned(), operation.to_owned());
        let order = Order::Begin { thread, operation, object: object.map(str::to_owned) };
        self.send(&serde_json::to_string(&order).expect("plain data"));
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn prepare(&mut self) {
        let entry = Some(SwapEntry { kind: 1, offset: 2 });
        assert_eq!(self.order(&Order::Prepare { round: 7 }), Answer::Prepared { round: 7, entry });
    }

    /// Who is back, and what it says.
    fn done(&mut self) -> (String, Option<String>, Option<String>) {
        match self.answer() {
            Answer::Done { thread, saw, refused, .. } => (thread, saw, refused),
            other => panic!("{other:?}"),
        }
    }

    fn failed(&mut self) -> String {
        match self.answer() {
            Answer::Failed { message } => message,
            other => panic!("{other:?}"),
        }
    }

    /// Closes the orders; how the test ended.
    fn hang_up(mut self) -> bool {
        self.orders = None;
        self.test.join().expect("no panic").expect("no broken pipe")
    }
}

#[test]
fn threads_are_told_of_as_they_come_back_not_as_they_were_sent() {
    let mut host = Host::start();
    host.prepare();
    host.begin("a", "pass", Some("door"));
    host.begin("b", "count", None);
    assert_eq!(host.done(), ("b".to_owned(), Some("thread 1 counts 0".to_owned()), None));
    host.begin("b", "open", Some("door"));
    let mut back = [host.done(), host.done()];
    back.sort();
    assert_eq!(back[0], ("a".to_owned(), Some("passed as number 1".to_owned()), None));
    assert_eq!(back[1], ("b".to_owned(), None, None));
    let (entry_before, entry_after) = (None, Some(SwapEntry { kind: 0, offset: 1 }));
    assert_eq!(host.order(&Order::Judge), Answer::Judged { round: 7, damage: None, entry_before, entry_after });
    host.send(r#"{"order":"end"}"#);
    assert!(host.hang_up());
}

#[test]
fn a_thread_that_never_comes_back_keeps_nobody_from_ending() {
    let mut host = Host::start();
    host.prepare();
    host.begin("a", "pass", Some("gate"));
    host.begin("b", "count", None);
    assert_eq!(host.done().0, "b");
    host.begin("a", "count", None);
    assert!(host.failed().contains("`a` has not come back"));
    assert!(
        matches!(host.order(&Order::Judge), Answer::Failed { message } if message.contains("judge") && message.contains(": a"))
    );
    let again = host.order(&Order::Prepare { round: 8 });
    assert!(matches!(again, Answer::Failed { message } if message.contains("prepare")));
    assert!(host.hang_up());
}

#[test]
fn impossible_orders_are_refused_with_what_is_possible_and_the_test_goes_on() {
    let mut host = Host::start();
    assert!(matches!(host.order(&Order::Judge), Answer::Failed { message } if message.contains("before a round")));
    host.begin("a", "count", None);
    assert!(host.failed().contains("before a round"));
    host.prepare();
    for (thread, operation, object, says) in [
        ("c", "count", None, "there are: a, b"),
        ("a", "cuont", None, "did you mean `count`?"),
        ("a", "pass", Some("dor"), "did you mean `door`?"),
        ("a", "pass", None, "door, gate"),
        ("a", "count", Some("door"), "takes no object"),
    ] {
        host.begin(thread, operation, object);
        let message = host.failed();
        assert!(message.contains(says), "{message}");
    }
    for line in ["", "{", r#"{"order":"dance"}"#, "\u{7f}"] {
        host.send(line);
        assert!(host.failed().contains("is no order"), "{line:?}");
    }
    host.begin("b", "fail", None);
    let (thread, saw, refused) = host.done();
    assert_eq!((thread.as_str(), saw), ("b", None));
    assert!(refused.expect("refused").starts_with("madvise on a door failed"));
    host.begin("a", "fall", None);
    assert!(host.failed().contains("`a` panicked"));
    host.begin("a", "count", None);
    assert_eq!(host.done().0, "a", "it is at work again");
    assert!(host.hang_up());
}

#[test]
fn a_scene_that_can_not_be_set_ends_the_test() {
    let mut host = Host::start();
    host.prepare();
    host.begin("a", "open", Some("door"));
    host.done();
    for _ in 0..3 {
        host.begin("b", "pass", Some("door"));
        host.done();
    }
    let answer = host.order(&Order::Prepare { round: 9 });
    assert!(matches!(answer, Answer::Failed { message } if message.contains("round 9") && message.contains("swap")));
    assert!(!host.hang_up());
}

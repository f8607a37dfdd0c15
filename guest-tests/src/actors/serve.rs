//! The host's orders, one a line, and the answers.

use std::io::{self, BufRead, Write};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use twinboot_protocol::orders::{Actor, Answer, Offered, Order};

use super::cast::{Back, Task};
use super::refusal::{Refusal, check_operation, find_thread};
use super::{Cast, Performed, Scene, line};
use crate::error::chain;
use crate::sys::SysError;

/// Where answers are written, and which threads are at work; shared with the thread that tells of operations' ends.
struct Desk<W> {
    out: Mutex<W>,
    busy: Vec<AtomicBool>,
    actors: Vec<Actor>,
}

impl<W: Write> Desk<W> {
    fn lock(&self) -> MutexGuard<'_, W> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, answer: &Answer) -> io::Result<()> {
        line(&mut *self.lock(), answer)
    }

    /// The names of the threads at work.
    fn busy(&self) -> Vec<&str> {
        let names = self.actors.iter().zip(&self.busy);
        names.filter(|(_, busy)| busy.load(Acquire)).map(|(actor, _)| actor.name.as_str()).collect()
    }

    fn require_idle(&self, order: &'static str) -> Result<(), Refusal> {
        let busy = self.busy();
        if busy.is_empty() { Ok(()) } else { Err(Refusal::Running { order, busy: busy.join(", ") }) }
    }
}

/// Offers what `scene` has and carries out `orders` until they end, whatever a thread is stuck in by then. False when the
/// test could not go on.
pub fn serve<W: Write + Send + 'static>(
    orders: impl BufRead,
    answers: W,
    cast: Cast,
    scene: &Arc<dyn Scene>,
) -> io::Result<bool> {
    let Cast { actors, posts, backs } = cast;
    let busy = actors.iter().map(|_| AtomicBool::new(false)).collect();
    let desk = Arc::new(Desk { out: Mutex::new(answers), busy, actors });
    let operations = scene.operations();
    desk.answer(&Answer::Offer { threads: desk.actors.clone(), operations: operations.clone() })?;
    let teller = Arc::clone(&desk);
    thread::Builder::new().name("teller".to_owned()).spawn(move || tell(&teller, &backs))?;
    let mut round = None;
    for order in orders.lines() {
        let order = order?;
        let begun = match serde_json::from_str(&order) {
            Err(error) => Err(Refusal::Garbled { line: order, reason: error.to_string() }),
            Ok(Order::End) => break,
            Ok(Order::Begin { thread, operation, object }) => {
                let begin = check_begin(&desk, &operations, round, &thread, &operation, object.as_deref());
                begin.map(|actor| {
                    desk.busy[actor].store(true, Release);
                    // Fails only when the thread is gone, which a test's own panic can't do.
                    let _ = posts[actor].send(Task { scene: Arc::clone(scene), operation, object });
                })
            }
            Ok(Order::Prepare { round: number }) => match desk.require_idle("prepare") {
                Err(refusal) => Err(refusal),
                Ok(()) => match scene.prepare() {
                    Ok(entry) => {
                        round = Some(number);
                        desk.answer(&Answer::Prepared { round: number, entry })?;
                        Ok(())
                    }
                    Err(error) => return give_up(&desk, &format!("cannot prepare round {number}: {}", chain(&error))),
                },
            },
            Ok(Order::Judge) => match (desk.require_idle("judge"), round) {
                (Err(refusal), _) => Err(refusal),
                (_, None) => Err(Refusal::Unprepared("judge")),
                (Ok(()), Some(number)) => match scene.judge() {
                    Ok(judgement) => {
                        round = None;
                        let super::Judgement { damage, entry_before, entry_after } = judgement;
                        desk.answer(&Answer::Judged { round: number, damage, entry_before, entry_after })?;
                        Ok(())
                    }
                    Err(error) => return give_up(&desk, &format!("cannot judge round {number}: {}", chain(&error))),
                },
            },
        };
        if let Err(refusal) = begun {
            desk.answer(&Answer::Failed { message: refusal.to_string() })?;
        }
    }
    // Whoever counts as idle has been told of once the desk is free.
    drop(desk.lock());
    Ok(true)
}

fn give_up<W: Write>(desk: &Desk<W>, message: &str) -> io::Result<bool> {
    desk.answer(&Answer::Failed { message: message.to_owned() })?;
    Ok(false)
}

fn check_begin<W: Write>(
    desk: &Desk<W>,
    operations: &[Offered],
    round: Option<u64>,
    thread: &str,
    operation: &str,
    object: Option<&str>,
) -> Result<usize, Refusal> {
    let actor = find_thread(&desk.actors, thread)?;
    check_operation(operations, operation, object)?;
    if round.is_none() {
        return Err(Refusal::Unprepared("begin an operation"));
    }
    if desk.busy[actor].load(Acquire) { Err(Refusal::Busy(thread.to_owned())) } else { Ok(actor) }
}

/// Tells of each operation's end as it comes. The threads themselves don't write: that would take them through more of the
/// kernel than their operation.
fn tell<W: Write>(desk: &Desk<W>, backs: &Receiver<Back>) {
    for Back { actor, elapsed_ns, performed } in backs {
        let answer = done(&desk.actors[actor].name, elapsed_ns, performed);
        let mut out = desk.lock();
        desk.busy[actor].store(false, Release);
        if line(&mut *out, &answer).is_err() {
            // The host is gone; the orders end as well.
            return;
        }
    }
}

fn done(thread: &str, elapsed_ns: u64, performed: Option<Result<Performed, SysError>>) -> Answer {
    let thread = thread.to_owned();
    match performed {
        Some(Ok(Performed { saw, refused })) => Answer::Done { thread, elapsed_ns, saw, refused },
        Some(Err(error)) => Answer::Done { thread, elapsed_ns, saw: None, refused: Some(chain(&error)) },
        None => Answer::Failed { message: format!("thread `{thread}` panicked, its message is on standard error") },
    }
}

#[cfg(test)]
mod tests;

//! Threads that act out a drawn interleaving: they do what the host orders, one operation at a time, and the host alone
//! decides when. See [`twinboot_protocol::orders`] for what is said.
//!
//! A test brings a [`Scene`]: the operations it offers, how a round begins and what must hold at its end. [`run`] does the
//! rest.

mod cast;
pub mod history;
mod refusal;
mod serve;

use std::io::{self, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use twinboot_protocol::orders::{Answer, Damage, Offered};
use twinboot_protocol::{Failure, Preflight, Record, SwapEntry};

pub use cast::Cast;
pub use serve::serve;

use crate::error::{Error, chain};
use crate::sys::{SysError, memory, sched};

/// What the threads act on.
pub trait Scene: Send + Sync {
    /// What a thread can be told to do.
    fn operations(&self) -> Vec<Offered>;

    /// Brings every object into the state in which a round begins, whatever an earlier round left behind. No operation is
    /// under way. Returns the swap entry of the object at stake, where it has one.
    fn prepare(&self) -> Result<Option<SwapEntry>, Error>;

    /// Does one of the operations offered, in the thread number `actor` (from 0). It may take as long as the kernel likes. A
    /// failed system call is a refusal and the round goes on.
    fn perform(&self, actor: usize, operation: &str, object: Option<&str>) -> Result<Performed, SysError>;

    /// Looks what came of the round. No operation is under way.
    fn judge(&self) -> Result<Judgement, Error>;
}

/// What came of one operation, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Performed {
    /// What it saw or did.
    pub saw: Option<String>,
    /// What the kernel refused.
    pub refused: Option<String>,
}

impl Performed {
    /// There is something to tell.
    pub fn saw(text: impl Into<String>) -> Self {
        Self { saw: Some(text.into()), refused: None }
    }

    /// The kernel did not do it.
    pub fn refused(text: impl Into<String>) -> Self {
        Self { saw: None, refused: Some(text.into()) }
    }
}

/// What came of a round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// What must not be.
    pub damage: Option<Damage>,
    /// Swap entry of the object at stake before the round.
    pub entry_before: Option<SwapEntry>,
    /// Its swap entry after the last operation that swapped it out.
    pub entry_after: Option<SwapEntry>,
}

/// `operation` done to one of `objects`, or to nothing where there are none.
pub fn offer(operation: &str, objects: &[&str], about: &str) -> Offered {
    let objects = objects.iter().map(|&object| object.to_owned()).collect();
    Offered { name: operation.to_owned(), objects, about: about.to_owned() }
}

/// The threads' names as an argument has them, `victim,interferer`: at least one, each a word of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl FromStr for Names {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        let names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
        for (at, name) in names.iter().enumerate() {
            if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(format!("thread {} has no usable name: give names such as victim,interferer", at + 1));
            }
            if names[..at].contains(name) {
                return Err(format!("two threads are called `{name}`"));
            }
        }
        Ok(Self(names))
    }
}

/// Starts the threads `names`, thread *i* bound to CPU *i* modulo the CPUs, and serves the orders on standard input until it
/// ends. `scene` makes what they act on, told the CPU of each thread.
///
/// The exit code is 0 after a good end, 1 when the test could not go on or nobody reads.
pub fn run(
    names: &[String],
    preflight: Result<Preflight, Error>,
    scene: impl FnOnce(&Preflight, &[usize]) -> Result<Arc<dyn Scene>, Error>,
) -> ExitCode {
    match perform(names, preflight, scene) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error is all that is left; if that is gone as well, the exit code says it.
            let _ = writeln!(io::stderr(), "error: writing the answers failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn perform(
    names: &[String],
    preflight: Result<Preflight, Error>,
    scene: impl FnOnce(&Preflight, &[usize]) -> Result<Arc<dyn Scene>, Error>,
) -> io::Result<bool> {
    let preflight = match preflight {
        Ok(preflight) => preflight,
        Err(error) => {
            let failure = Failure { message: chain(&error), stuck: false };
            line(&mut io::stdout(), &Record::Failure(failure))?;
            return Ok(false);
        }
    };
    line(&mut io::stdout(), &Record::Preflight(preflight.clone()))?;
    let set = || {
        let places = places(names.len())?;
        // The threads come first, so that their stacks are locked with everything else, and the scene's memory is not.
        let cast = Cast::start(names, &places)?;
        memory::lock_all()?;
        Ok::<_, Error>((cast, scene(&preflight, &places)?))
    };
    match set() {
        Ok((cast, scene)) => serve(io::stdin().lock(), io::stdout(), cast, &scene),
        Err(error) => {
            line(&mut io::stdout(), &Answer::Failed { message: chain(&error) })?;
            Ok(false)
        }
    }
}

/// A CPU for each of `actors` threads. The calling thread moves to the CPUs that are left, if any: it must not disturb them.
fn places(actors: usize) -> Result<Vec<usize>, Error> {
    let cpus = sched::allowed_cpus()?;
    if let Some(spare) = cpus.get(actors..).filter(|spare| !spare.is_empty()) {
        sched::bind(spare)?;
    }
    Ok(cpus.iter().copied().cycle().take(actors).collect())
}

/// One line, handed over at once.
fn line(out: &mut impl Write, content: &impl serde::Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(content)?;
    bytes.push(b'\n');
    out.write_all(&bytes)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_of_their_own() {
        assert_eq!(Names::from_str("victim, interferer,3rd").expect("three").0, ["victim", "interferer", "3rd"]);
        for wrong in ["", "a,,b", "a,b,a", "two words", "a,\t"] {
            assert!(Names::from_str(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}

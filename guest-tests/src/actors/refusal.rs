//! Orders that can't be carried out.

use twinboot_protocol::orders::{Actor, Offered};

/// How alike two words are to be for one to be suggested for the other (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.75;

/// Why an order was not carried out. The test goes on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Refusal {
    #[error("`{line}` is no order: {reason}")]
    Garbled { line: String, reason: String },
    #[error("no thread is called `{name}`{near}; there are: {known}")]
    Thread { name: String, near: String, known: String },
    #[error("no operation is called `{name}`{near}; there are: {known}")]
    Operation { name: String, near: String, known: String },
    #[error("`{operation}` can't be done to `{object}`{near}; it is done to: {known}")]
    Object { operation: String, object: String, near: String, known: String },
    #[error("`{operation}` needs something to be done to: {known}")]
    NoObject { operation: String, known: String },
    #[error("`{operation}` takes no object, and got `{object}`")]
    SpareObject { operation: String, object: String },
    #[error("thread `{0}` has not come back from its last operation")]
    Busy(String),
    #[error("can't {order} while these threads have not come back: {busy}")]
    Running { order: &'static str, busy: String },
    #[error("can't {0} before a round is prepared")]
    Unprepared(&'static str),
}

/// The word of `known` that `name` may have been meant for, in brackets.
fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|word| (strsim::jaro_winkler(name, word), word))
        .filter(|&(likeness, _)| likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, word)| format!(" (did you mean `{word}`?)"))
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(", ")
}

/// The index of thread `name`.
pub(super) fn find_thread(actors: &[Actor], name: &str) -> Result<usize, Refusal> {
    let names = || actors.iter().map(|actor| actor.name.as_str());
    names().position(|known| known == name).ok_or_else(|| Refusal::Thread {
        name: name.to_owned(),
        near: near(name, names()),
        known: list(names()),
    })
}

/// Checks that `operation` is offered for `object`.
pub(super) fn check_operation(offered: &[Offered], operation: &str, object: Option<&str>) -> Result<(), Refusal> {
    let names = || offered.iter().map(|offer| offer.name.as_str());
    let Some(offer) = offered.iter().find(|offer| offer.name == operation) else {
        let near = near(operation, names());
        return Err(Refusal::Operation { name: operation.to_owned(), near, known: list(names()) });
    };
    let objects = || offer.objects.iter().map(String::as_str);
    let operation = operation.to_owned();
    match object {
        None if offer.objects.is_empty() => Ok(()),
        None => Err(Refusal::NoObject { operation, known: list(objects()) }),
        Some(object) if offer.objects.is_empty() => Err(Refusal::SpareObject { operation, object: object.to_owned() }),
        Some(object) if objects().any(|known| known == object) => Ok(()),
        Some(object) => Err(Refusal::Object {
            operation,
            object: object.to_owned(),
            near: near(object, objects()),
            known: list(objects()),
        }),
    }
}

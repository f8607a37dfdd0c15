//! Checks a diagram against what the guest test offers, before the first round.

use twinboot_protocol::orders::{Actor, Offered};

use crate::diagram::{Action, Diagram};
use crate::suggest;

/// What `diagram` needs and the test does not offer, one sentence each.
pub fn against_offer(diagram: &Diagram, threads: &[Actor], operations: &[Offered]) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in &diagram.threads {
        if !threads.iter().any(|actor| actor.name == *name) {
            wrong.push(format!("the guest test started no thread `{name}`"));
        }
    }
    for step in &diagram.steps {
        if let Action::Operate { operation, object, .. } = &step.action
            && let Some(sentence) = operate(operation, object.as_deref(), operations)
        {
            wrong.push(format!("`{}: {}`: {sentence}", diagram.threads[step.thread], step.text));
        }
    }
    wrong.dedup();
    wrong
}

/// Why a test with these `operations` cannot do `operation`; none if it can.
pub fn operate(operation: &str, object: Option<&str>, operations: &[Offered]) -> Option<String> {
    let Some(offered) = operations.iter().find(|offered| offered.name == operation) else {
        let names = operations.iter().map(|offered| offered.name.as_str());
        return Some(format!("the guest test has no operation `{operation}`{}", instead(operation, names)));
    };
    let objects = offered.objects.iter().map(String::as_str);
    match object {
        None if offered.objects.is_empty() => None,
        None => Some(format!("`{operation}` needs something to be done to{}", instead("", objects))),
        Some(object) if offered.objects.is_empty() => {
            Some(format!("`{operation}` is done to nothing: leave `{object}` out"))
        }
        Some(object) if offered.objects.iter().any(|known| known == object) => None,
        Some(object) => Some(format!("`{operation}` knows no `{object}`{}", instead(object, objects))),
    }
}

/// Suggests the nearest known word, or lists all of them.
fn instead<'a>(found: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match suggest::nearest(found, known.iter().copied()) {
        Some(word) => format!("; {}", suggest::question(word)),
        None if known.is_empty() => String::new(),
        None => format!("; there are {}", known.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_the_test_does_not_know_are_named_with_what_it_does() {
        let offered = |name: &str, objects: &[&str]| Offered {
            name: name.to_owned(),
            objects: objects.iter().map(|object| (*object).to_owned()).collect(),
            about: String::new(),
        };
        let operations = [offered("read", &["page", "hole"]), offered("pageout", &["page"]), offered("swapoff", &[])];
        let say = |operation, object| operate(operation, object, &operations).unwrap_or_default();
        assert_eq!(say("read", Some("page")), "");
        assert_eq!(say("swapoff", None), "");
        assert_eq!(say("raed", Some("page")), "the guest test has no operation `raed`; did you mean `read`?");
        assert_eq!(say("fork", None), "the guest test has no operation `fork`; there are `read`, `pageout`, `swapoff`");
        assert_eq!(say("read", Some("pag")), "`read` knows no `pag`; did you mean `page`?");
        assert_eq!(say("read", None), "`read` needs something to be done to; there are `page`, `hole`");
        assert_eq!(say("swapoff", Some("page")), "`swapoff` is done to nothing: leave `page` out");
    }
}

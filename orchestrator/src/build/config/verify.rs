//! Holding the configuration that came out against what was asked.

use std::fmt;
use std::path::Path;

use super::expr::Expr;
use super::kconfig::{self, Definition};
use super::{Asked, Error, Values};

/// An option that came out otherwise than asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was asked, and where.
    pub asked: Asked,
    /// What came out, `n` for nothing.
    pub got: String,
    /// Why, as far as the tree's Kconfig files tell.
    pub reason: Reason,
}

/// Why an option did not come out as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The tree has no such option.
    Unknown,
    /// The tree's Kconfig files do not show why.
    Unclear,
    /// Sentences, one for each thing that is missing.
    Because(Vec<String>),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { name, value, origin, .. } = &self.asked;
        if self.reason == Reason::Unknown {
            return write!(
                f,
                "CONFIG_{name}={value} ({origin}): this tree has no such option; take it out, or put `# optional` on the line before"
            );
        }
        write!(f, "CONFIG_{name}={value} ({origin}): came out as CONFIG_{name}={}", self.got)?;
        match &self.reason {
            Reason::Because(reasons) => reasons.iter().try_for_each(|reason| write!(f, "\n    {reason}")),
            Reason::Unknown | Reason::Unclear => f.write_str(
                "\n    its dependencies look met: another option excludes or forces it (a choice, a range, a `select`)",
            ),
        }
    }
}

/// Checks every option that was asked for in the result, and explains those that differ from the tree's Kconfig files.
///
/// `arch` is the folder under `arch/` that Kconfig reads. `=n`, `is not set` and absence are the same; an option marked
/// optional may be absent.
pub fn verify(asked: &[Asked], result: &Values, tree: &Path, arch: &str) -> Result<(), Error> {
    let differs = |asked: &&Asked| {
        let got = result.get(&asked.name);
        got != asked.value && !(asked.optional && got == "n")
    };
    let problems: Vec<Problem> = asked.iter().filter(differs).map(|asked| explain(asked, result, tree, arch)).collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::Unmet { problems }) }
}

fn explain(asked: &Asked, result: &Values, tree: &Path, arch: &str) -> Problem {
    let known = kconfig::find(tree, arch, &asked.name);
    let got = result.get(&asked.name).to_owned();
    let reason = if known.definitions.is_empty() {
        Reason::Unknown
    } else if asked.value == "n" {
        let by: Vec<&String> = known.selected_by.iter().filter(|by| result.get(by) != "n").collect();
        match by.as_slice() {
            [] => Reason::Unclear,
            by => Reason::Because(vec![format!("it is selected by {}", names(by))]),
        }
    } else {
        let mut reasons: Vec<String> =
            known.definitions.iter().flat_map(|definition| unmet(definition, asked, result)).collect();
        if !known.definitions.iter().any(|definition| definition.prompt) {
            let by: Vec<&String> = known.selected_by.iter().collect();
            reasons.push(match by.as_slice() {
                [] => "it has no prompt, so only its own default can set it".to_owned(),
                by => format!("it has no prompt, so only an option that selects it can set it: {}", names(by)),
            });
        }
        if reasons.is_empty() { Reason::Unclear } else { Reason::Because(reasons) }
    };
    Problem { asked: asked.clone(), got, reason }
}

/// At most six names.
fn names(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(6).map(|name| name.as_str()).collect();
    let more = if names.len() > shown.len() { " …" } else { "" };
    shown.join(", ") + more
}

/// The terms of a definition's dependencies that keep the option from the value that was asked for.
fn unmet(definition: &Definition, asked: &Asked, result: &Values) -> Vec<String> {
    let least = if asked.value == "m" { 1 } else { 2 };
    let mut reasons = Vec::new();
    for need in &definition.needs {
        for term in terms(Expr::parse(&need.expr)) {
            if term.eval(result).is_none_or(|value| value >= least) {
                continue;
            }
            let values: Vec<String> =
                term.symbols().into_iter().map(|symbol| format!("{symbol}={}", result.get(symbol))).collect();
            let expr = need.expr.split_whitespace().collect::<Vec<_>>().join(" ");
            reasons.push(format!("{} needs `{expr}`, but {}", need.at, values.join(", ")));
        }
    }
    reasons
}

/// The parts of a conjunction.
fn terms(expr: Expr) -> Vec<Expr> {
    match expr {
        Expr::And(left, right) => terms(*left).into_iter().chain(terms(*right)).collect(),
        other => vec![other],
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_fragment;
    use super::*;

    const KCONFIG: &str = "config BASE\n\tbool \"b\"\n\nif BASE\nconfig INNER\n\tbool \"i\"\n\tdepends on OTHER && MORE\nendif\n\nconfig HIDDEN\n\tbool\n\nconfig SELECTOR\n\tbool \"s\"\n\tselect HIDDEN\n\nconfig FREE\n\tbool \"f\"\n";

    fn said(fragment: &str, result: &str) -> String {
        let dir = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(dir.path().join("Kconfig"), KCONFIG).expect("writes");
        let asked = parse_fragment(fragment, Path::new("f.config")).expect("is a fragment");
        match verify(&asked, &Values::parse(result), dir.path(), "x86") {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_came_out_as_asked_is_fine() {
        let fragment = "CONFIG_BASE=y\n# CONFIG_INNER is not set\n# CONFIG_NOWHERE is not set\nCONFIG_FREE=n\n# optional\nCONFIG_NEWER=y\n";
        assert_eq!(said(fragment, "CONFIG_BASE=y\n"), "");
    }

    #[test]
    fn a_vanished_option_names_its_unmet_dependencies() {
        let text = said("\nCONFIG_INNER=y\n", "CONFIG_BASE=y\nCONFIG_MORE=m\n");
        assert!(text.contains("CONFIG_INNER=y (f.config:2): came out as CONFIG_INNER=n"), "{text}");
        assert!(text.contains("Kconfig:7 needs `OTHER && MORE`, but OTHER=n"), "{text}");
        assert!(text.contains("but MORE=m"), "{text}");
        assert!(!text.contains("BASE=y,"), "what is met is not named: {text}");
        let text = said("CONFIG_INNER=y\n", "CONFIG_OTHER=y\nCONFIG_MORE=y\n");
        assert!(text.contains("Kconfig:4 needs `BASE`, but BASE=n"), "{text}");
    }

    #[test]
    fn an_unknown_a_hidden_and_a_forced_option_are_worded_apart() {
        assert!(said("CONFIG_NOWHERE=y\n", "").contains("this tree has no such option"));
        assert!(said("CONFIG_HIDDEN=y\n", "").contains("only an option that selects it can set it: SELECTOR"));
        let forced = said("# CONFIG_HIDDEN is not set\n", "CONFIG_HIDDEN=y\nCONFIG_SELECTOR=y\n");
        assert!(forced.contains("it is selected by SELECTOR"), "{forced}");
        assert!(said("CONFIG_FREE=y\n", "").contains("its dependencies look met"));
    }

    #[test]
    fn optional_allows_absence_and_not_another_value() {
        assert_eq!(said("# optional\nCONFIG_FREE=y\n", ""), "");
        assert!(said("# optional\nCONFIG_FREE=y\n", "CONFIG_FREE=m\n").contains("came out as CONFIG_FREE=m"));
    }
}

//! Compares the resulting configuration with the requested options.

use std::path::Path;

use super::expr::Expr;
use super::kconfig::{self, Definition, Kind, Known};
use super::options::{Asked, Error, Problem, Reason, Values};

/// Checks every option that was asked for in the result, and explains those that differ from the
/// tree's Kconfig files.
///
/// `arch` is the folder under `arch/` that Kconfig reads. `=n`, `is not set` and absence are the
/// same; an option marked optional may be absent.
pub fn verify(asked: &[Asked], result: &Values, tree: &Path, arch: &str) -> Result<(), Error> {
    let differs = |asked: &&Asked| {
        let got = result.get(&asked.name);
        !(same(got, &asked.value) || asked.optional && got == "n")
    };
    let problems: Vec<Problem> = asked.iter().filter(differs).map(|asked| explain(asked, result, tree, arch)).collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::Unmet { problems }) }
}

fn explain(asked: &Asked, result: &Values, tree: &Path, arch: &str) -> Problem {
    let known = kconfig::find(tree, arch, &asked.name);
    let got = result.get(&asked.name).to_owned();
    if known.definitions.is_empty() {
        return Problem { asked: asked.clone(), got, reason: Reason::Unknown };
    }
    let mut reasons: Vec<String> = misfit(&known, asked).into_iter().collect();
    if reasons.is_empty() {
        reasons.extend(module(&known, asked, &got, result));
        reasons.extend(selected(&known, asked, &got, result));
        reasons.extend(out_of_range(&known, asked, result));
        if asked.value != "n" {
            reasons.extend(known.definitions.iter().flat_map(|definition| unmet(definition, asked, result)));
        }
        if !known.definitions.iter().any(|definition| definition.prompt) {
            let by: Vec<&String> = known.selected_by.iter().collect();
            reasons.push(match by.as_slice() {
                [] => "it has no prompt, so only its own default can set it".to_owned(),
                by => format!("it has no prompt, so only an option that selects it can set it: {}", names(by)),
            });
        }
        if reasons.is_empty() {
            reasons.extend(chosen(&known, asked, result));
        }
    }
    let reason = if reasons.is_empty() { Reason::Unclear } else { Reason::Because(reasons) };
    Problem { asked: asked.clone(), got, reason }
}

/// Whether two values are equal; hexadecimal numbers may lack `0x` and be in capitals.
fn same(got: &str, asked: &str) -> bool {
    let digits = |value: &str| value.to_ascii_lowercase().trim_start_matches("0x").to_owned();
    got == asked || (got.starts_with("0x") && digits(got) == digits(asked))
}

/// Why the value does not fit the option's type.
fn misfit(known: &Known, asked: &Asked) -> Option<String> {
    let kind = known.definitions.iter().find_map(|definition| definition.kind)?;
    let value = asked.value.as_str();
    let digits = value.strip_prefix('-').unwrap_or(value);
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let text = value.trim_matches('"');
    let (fits, what) = match kind {
        Kind::Bool => (matches!(value, "y" | "n"), "it is a bool, which is y or n".to_owned()),
        Kind::Tristate => (matches!(value, "y" | "m" | "n"), "it is a tristate, which is y, m or n".to_owned()),
        Kind::Text => (value.starts_with('"'), format!("it is a text, which stands in double quotes: \"{text}\"")),
        Kind::Int => (whole, "it is a whole number, written without quotes and without a leading 0".to_owned()),
        Kind::Hex => {
            let digits = value.trim_start_matches("0x").trim_start_matches("0X");
            let fits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            (fits, "it is a hexadecimal number, such as 0x1000".to_owned())
        }
    };
    // A number or a text that is asked to be `n` is asked to be away.
    let away = value == "n" && matches!(kind, Kind::Text | Kind::Int | Kind::Hex);
    (!fits && !away).then_some(what)
}

/// Why the option is no module.
fn module(known: &Known, asked: &Asked, got: &str, result: &Values) -> Option<String> {
    let off = asked.value == "m" && result.get("MODULES") == "n";
    let by_choice = asked.value == "m" && got != "m" && known.choice.is_some();
    if off {
        Some("nothing can be a module, because MODULES=n: write y, or ask for CONFIG_MODULES=y too".to_owned())
    } else {
        by_choice.then(|| "it stands in a choice, of which one option is y and no other is anything".to_owned())
    }
}

/// The options that select it at a higher value than requested.
fn selected(known: &Known, asked: &Asked, got: &str, result: &Values) -> Option<String> {
    let least = match (asked.value.as_str(), got) {
        ("n", _) => "m",
        ("m", "y") => "y",
        _ => return None,
    };
    let holds = |by: &&String| result.get(by) == "y" || result.get(by) == least;
    let by: Vec<&String> = known.selected_by.iter().filter(holds).collect();
    (!by.is_empty()).then(|| format!("it is selected by {}", names(&by)))
}

/// The range that the number is not in.
fn out_of_range(known: &Known, asked: &Asked, result: &Values) -> Option<String> {
    let number = |text: &str| {
        let text = if text.starts_with(|c: char| c.is_ascii_uppercase()) { result.get(text) } else { text };
        match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => i128::from_str_radix(digits, 16).ok(),
            None => text.parse::<i128>().ok(),
        }
    };
    let value = number(&asked.value)?;
    let ranges = known.definitions.iter().flat_map(|definition| &definition.ranges);
    // The first range whose condition holds is the one that counts.
    let range = ranges.into_iter().find(|range| {
        range.condition.as_ref().is_none_or(|condition| Expr::parse(condition).eval(result) != Some(0))
    })?;
    let [low, high] = &range.bounds;
    let inside = number(low).is_none_or(|low| low <= value) && number(high).is_none_or(|high| value <= high);
    (!inside).then(|| format!("{} allows {low} to {high}", range.at))
}

/// The option of the same choice that is set instead.
fn chosen(known: &Known, asked: &Asked, result: &Values) -> Option<String> {
    let choice = known.choice.as_ref()?;
    let others = || choice.members.iter().filter(|member| **member != asked.name);
    if asked.value == "n" {
        let others: Vec<&String> = others().collect();
        return Some(format!("one option of the choice at {} is always set: ask for {}", choice.at, names(&others)));
    }
    let set = others().find(|member| result.get(member) == "y")?;
    Some(format!("of the choice at {} one option can be set, and that is {set}", choice.at))
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
        said_of(KCONFIG, fragment, result)
    }

    fn said_of(kconfig: &str, fragment: &str, result: &str) -> String {
        let dir = tempfile::tempdir().expect("a scratch folder");
        std::fs::write(dir.path().join("Kconfig"), kconfig).expect("writes");
        let asked = parse_fragment(fragment.as_bytes(), Path::new("f.config")).expect("is a fragment");
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
        assert!(said("CONFIG_FREE=y\n", "").contains("only Kconfig itself can tell"));
    }

    #[test]
    fn the_type_the_range_and_the_choice_are_named() {
        let kconfig = "config MODULES\n\tbool \"m\"\n\nconfig TRI\n\ttristate \"t\"\n\nconfig SHIFT\n\tint \"s\"\n\
                       \trange 20 25 if TRI\n\trange 12 25\n\nconfig START\n\thex \"x\"\n\trange 0x100 0x200\n\nconfig NAME\n\
                       \tstring \"n\"\n\nchoice\n\tprompt \"c\"\nconfig ONE\n\tbool \"1\"\nconfig TWO\n\tbool \"2\"\nendchoice\n\n\
                       config PICK\n\tbool \"p\"\n\tselect TRI\n";
        for (fragment, result, why) in [
            ("CONFIG_TRI=m", "", "because MODULES=n"),
            ("CONFIG_TRI=m", "CONFIG_TRI=y", "because MODULES=n"),
            ("CONFIG_TRI=m", "CONFIG_MODULES=y\nCONFIG_TRI=y\nCONFIG_PICK=y", "it is selected by PICK"),
            ("CONFIG_TRI=100", "CONFIG_MODULES=y", "it is a tristate, which is y, m or n"),
            ("CONFIG_ONE=m", "CONFIG_MODULES=y", "it is a bool, which is y or n"),
            ("CONFIG_SHIFT=99", "CONFIG_SHIFT=25", "Kconfig:10 allows 12 to 25"),
            ("CONFIG_SHIFT=15", "CONFIG_TRI=y\nCONFIG_SHIFT=20", "Kconfig:9 allows 20 to 25"),
            ("CONFIG_SHIFT=\"15\"", "", "it is a whole number"),
            ("CONFIG_SHIFT=015", "", "without a leading 0"),
            ("CONFIG_SHIFT=y", "", "it is a whole number"),
            ("CONFIG_START=0x300", "CONFIG_START=0x200", "Kconfig:14 allows 0x100 to 0x200"),
            ("CONFIG_NAME=15", "", "stands in double quotes: \"15\""),
            ("CONFIG_ONE=y", "CONFIG_TWO=y", "and that is TWO"),
            ("# CONFIG_ONE is not set", "CONFIG_ONE=y", "ask for TWO"),
        ] {
            let text = said_of(kconfig, fragment, result);
            assert!(text.contains(why), "{fragment}: {text}");
        }
        for (fragment, result) in
            [("CONFIG_START=0X1A0", "CONFIG_START=0x1a0"), ("CONFIG_START=1a0", "CONFIG_START=0x1a0")]
        {
            assert_eq!(said_of(kconfig, fragment, result), "", "{fragment}");
        }
    }

    #[test]
    fn optional_allows_absence_and_not_another_value() {
        assert_eq!(said("# optional\nCONFIG_FREE=y\n", ""), "");
        assert!(said("# optional\nCONFIG_FREE=y\n", "CONFIG_FREE=m\n").contains("came out as CONFIG_FREE=m"));
    }
}

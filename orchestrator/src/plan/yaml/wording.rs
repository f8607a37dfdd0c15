//! Turns serde's messages into words for people who write YAML.

use crate::suggest;

/// An error of serde's in other words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wording {
    pub message: String,
    pub hint: Option<String>,
    /// The error is about the key that the path ends with, not about its value.
    pub about_key: bool,
    /// The key that is missing from the map at the path.
    pub missing: Option<String>,
}

/// Explains a serde error. `spelled` is the offending scalar as it is written in the file. Messages
/// of `serde::de::Error`'s provided methods are understood; others are kept as they are.
pub(super) fn explain(error: &str, spelled: Option<&str>) -> Wording {
    let value = |message: String, hint| Wording { message, hint, about_key: false, missing: None };
    if let Some(rest) = error.strip_prefix("unknown field ") {
        let (key, known) = unknown(rest);
        let hint = guess(&key, &known);
        return Wording { message: format!("unknown key `{key}`"), hint, about_key: true, missing: None };
    }
    if let Some(rest) = error.strip_prefix("unknown variant ") {
        let (found, known) = unknown(rest);
        return value(format!("found '{found}', expected {}", one_of(&known)), guess_near(&found, &known));
    }
    if let Some(rest) = error.strip_prefix("missing field ") {
        let key = quoted(rest).into_iter().next().unwrap_or_default();
        return Wording { message: format!("missing key `{key}`"), hint: None, about_key: false, missing: Some(key) };
    }
    let mismatch = error.strip_prefix("invalid type: ").or_else(|| error.strip_prefix("invalid value: "));
    if let Some((found, expected)) = mismatch.and_then(|rest| rest.rsplit_once(", expected ")) {
        let scalar = matches!(found.split_once(" `"), Some(("integer" | "floating point" | "boolean", _)));
        let found = match spelled.filter(|_| scalar && !found.starts_with("boolean")) {
            Some(spelled) => format!("number {spelled}"),
            None => told(found),
        };
        let text = expected == "a string" || expected.starts_with("text or");
        let hint = spelled.filter(|_| scalar && text).map(|spelled| format!("write it in quotes: '{spelled}'"));
        return value(format!("found {found}, expected {}", wanted(expected)), hint);
    }
    value(error.to_owned(), None)
}

/// Removes the place from a syntax error; it is printed in front anyway.
pub(super) fn syntax(error: &str) -> String {
    let mut parts = error.split(" at line ");
    let mut message = format!("cannot be read as YAML: {}", parts.next().unwrap_or_default());
    for part in parts {
        // `3 column 1, while parsing a flow node`
        message.push_str(part.find(',').map_or("", |comma| &part[comma..]));
    }
    message
}

fn guess_near(found: &str, known: &[String]) -> Option<String> {
    suggest::did_you_mean(found, known.iter().map(String::as_str))
}

fn guess(found: &str, known: &[String]) -> Option<String> {
    suggest::did_you_mean_or(found, known.iter().map(String::as_str), "known here")
}

fn one_of(known: &[String]) -> String {
    match known {
        [] => "nothing".to_owned(),
        [only] => format!("'{only}'"),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

/// The word that was not known, and those that are.
fn unknown(rest: &str) -> (String, Vec<String>) {
    let (found, known) = rest.rsplit_once(", expected ").unwrap_or((rest, ""));
    (found.trim_matches('`').to_owned(), quoted(known))
}

/// Words in backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn told(found: &str) -> String {
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    let bare = value.trim_start_matches("point ").trim_matches('`');
    match kind {
        "string" => format!("text '{}'", value.trim_matches('"')),
        "integer" | "floating" => format!("number {bare}"),
        "boolean" => bare.to_owned(),
        "map" => "a map".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit" | "null" | "Option" => "nothing".to_owned(),
        _ => found.to_owned(),
    }
}

fn wanted(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "text".to_owned(),
        "a sequence" => "a list".to_owned(),
        _ if expected.starts_with("struct ") || expected == "a map" => "a map".to_owned(),
        _ if expected.starts_with("enum ") => "a word".to_owned(),
        _ => expected.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_unknown_shape_stays_as_it_is() {
        assert_eq!(explain("the moon is full", None).message, "the moon is full");
    }
}

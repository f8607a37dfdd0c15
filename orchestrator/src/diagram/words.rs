//! What the words of one cell say.

use super::{Action, Hold, Wrong, point, slip};

/// Words that stand alone.
const KEYWORDS: [&str; 4] = ["hold", "freeze", "release", "finish"];
const START: &str = "start";

/// Reads a cell; `set_in` when it begins to the right of where its thread's name does.
///
/// `hold`, `freeze`, `release` and `finish` are what they say. Whatever has a `:`, a `+` or a `|` in it is a point of the
/// kernel, and whatever has two words an operation. That leaves a single word: set in it is a point, the function's first
/// instruction, and under the thread's name it is an operation.
pub(super) fn read(text: &str, set_in: bool) -> Result<Action, Wrong> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["hold"] => return Ok(Action::Hold(Hold::Sleep)),
        ["freeze"] => return Ok(Action::Hold(Hold::Freeze)),
        ["release"] => return Ok(Action::Release),
        ["finish"] => return Ok(Action::Finish),
        _ => {}
    }
    if text.contains([':', '+', '|']) {
        return point::point(text).map(Action::Reach);
    }
    match words.as_slice() {
        [] => Err(Wrong::new(0, 1, "this is empty", "write what the thread does")),
        [word] if slip(word, KEYWORDS).is_some() => {
            let near = slip(word, KEYWORDS).unwrap_or_default();
            Err(Wrong::new(0, len(word), format!("'{word}' means nothing here"), &format!("did you mean `{near}`?")))
        }
        [word] if *word == START => Err(Wrong::new(0, len(word), "`start` what?", "such as `start write page`")),
        [_] if set_in => point::point(text).map(Action::Reach),
        [keyword, _, ..] if KEYWORDS.contains(keyword) => {
            let message = format!("found words behind `{keyword}`, which stands alone");
            Err(Wrong::new(0, len(text), message, "a row says one thing of one thread; a comment begins with #"))
        }
        [START, words @ ..] => {
            let skipped = len(text) - len(text.trim_start()[START.len()..].trim_start());
            operate(words, true).map_err(|wrong| wrong.after(skipped))
        }
        words => operate(words, false),
    }
}

/// `OPERATION` or `OPERATION OBJECT`; nothing is known of either here.
fn operate(words: &[&str], started: bool) -> Result<Action, Wrong> {
    let mut at = 0;
    for word in words {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if let Some(wrong) = word.chars().position(|c| !legal(c)) {
            let hint = "an operation is a word of the guest test's and what it is done to: `read page`";
            return Err(Wrong::new(at + wrong, 1, format!("'{word}' is no operation"), hint));
        }
        at += len(word) + 1;
    }
    let (operation, object) = match words {
        [operation] => (operation, None),
        [operation, object] => (operation, Some((*object).to_owned())),
        [operation, object, rest @ ..] => {
            let rest_len = len(&rest.join(" "));
            let hint = "an operation has one or two words, such as `read page`; a comment begins with #";
            let message = format!("found more words behind `{operation} {object}`");
            return Err(Wrong::new(len(operation) + len(object) + 2, rest_len, message, hint));
        }
        [] => return Err(Wrong::new(0, 1, "an operation is missing here", "such as `read page`")),
    };
    Ok(Action::Operate { operation: (*operation).to_owned(), object, started })
}

/// Reads an operation alone, with what it is done to: `write page`.
///
/// # Errors
///
/// What is wrong with it and what to do, in one text.
pub fn parse_operation(text: &str) -> Result<(String, Option<String>), String> {
    match read(text, false).map_err(Wrong::told)? {
        Action::Operate { operation, object, started: false } => Ok((operation, object)),
        _ => Err(format!("'{text}' is no operation of a guest test, such as `read page`")),
    }
}

fn len(text: &str) -> usize {
    text.chars().count()
}

//! Points of the kernel, as they are written.

use kernel_debug::{Names, Point};

use super::model::{Action, Hold, Wrong};
use crate::suggest;

/// What stands behind a function's colon.
const PLACES: [&str; 3] = ["after", "before", "return"];
const FORMS: &str = "a point is `function`, `function: after callee`, `function: before callee`, `function: return`, \
                     `function+0x1f` or `file.c:line`";

/// Reads a point: `do_swap_page: after swap_readpage|swap_read_folio`. Whether a kernel has it is
/// not looked at.
///
/// # Errors
///
/// What is wrong with it and what to do, in one text.
pub fn parse_point(text: &str) -> Result<Point, String> {
    point(text).map_err(Wrong::told)
}

/// Reads a function's name with its alternatives: `swap_readpage|swap_read_folio`.
///
/// # Errors
///
/// What is wrong with it and what to do, in one text.
pub fn parse_names(text: &str) -> Result<Names, String> {
    let hint = "one name, or several with `|` between them: `swap_readpage|swap_read_folio`";
    names(text).map_err(|wrong| format!("{} ({hint})", wrong.message))
}

/// Reads a point, or says which of its characters are wrong.
pub(super) fn point(text: &str) -> Result<Point, Wrong> {
    if let Some(colon) = text.rfind(':') {
        let before = &text[..colon];
        let (lead, rest) = trimmed(&text[colon + 1..]);
        let rest_at = count(&text[..=colon]) + lead;
        return if rest.starts_with(|c: char| c.is_ascii_digit()) {
            line(before, rest, rest_at)
        } else {
            place(before, rest, rest_at)
        };
    }
    if let Some(plus) = text.find('+') {
        let function = names(&text[..plus])?;
        return offset(&text[plus + 1..]).map(|bytes| Point::Offset(function, bytes)).ok_or_else(|| {
            let wrong = text[plus + 1..].trim();
            let message = format!("'{wrong}' is no offset in a function");
            Wrong::new(count(&text[..=plus]), count(wrong), message, "it is a number of bytes: `do_swap_page+0x1f`")
        });
    }
    names(text).map(Point::Entry)
}

/// `file.c:3811`.
fn line(file: &str, digits: &str, digits_at: usize) -> Result<Point, Wrong> {
    let (lead, file) = trimmed(file);
    let legal = |c: char| c.is_alphanumeric() || "._-+/".contains(c);
    if let Some(wrong) = file.chars().position(|c| !legal(c)) {
        return Err(Wrong::new(lead + wrong, 1, "this cannot stand in the name of a source file", FORMS));
    }
    if !file.contains('.') {
        let hint = "a line is named with its file, such as `mm/memory.c:3811`; an offset is `function+0x1f`";
        return Err(Wrong::new(lead, count(file), format!("'{file}' is no source file"), hint));
    }
    match digits.parse() {
        Ok(number) if number > 0 => Ok(Point::Line(file.to_owned(), number)),
        _ => {
            let message = format!("'{digits}' is no line number");
            Err(Wrong::new(digits_at, count(digits), message, "lines are counted from 1: `mm/memory.c:3811`"))
        }
    }
}

/// `function: after callee`, `function: before callee` or `function: return`.
fn place(function: &str, rest: &str, rest_at: usize) -> Result<Point, Wrong> {
    let function = names(function)?;
    let word = rest.split(char::is_whitespace).next().unwrap_or_default();
    let (lead, callee) = trimmed(&rest[word.len()..]);
    let callee_at = rest_at + count(word) + lead;
    match word {
        "after" | "before" if callee.is_empty() => {
            let message = format!("`{word}` what?");
            Err(Wrong::new(
                rest_at,
                count(word),
                message,
                &format!("name the function that is called: `{word} callee`"),
            ))
        }
        "after" => Ok(Point::After(function, names(callee).map_err(|wrong| wrong.after(callee_at))?)),
        "before" => Ok(Point::Before(function, names(callee).map_err(|wrong| wrong.after(callee_at))?)),
        "return" if callee.is_empty() => Ok(Point::Return(function)),
        "return" => {
            Err(Wrong::new(callee_at, count(callee), format!("found '{callee}' behind `return`"), "take it out"))
        }
        "" => Err(Wrong::new(rest_at.saturating_sub(1), 1, "nothing stands behind the colon", FORMS)),
        _ => {
            let hint = suggest::one_letter_off(word, PLACES)
                .or_else(|| suggest::nearest(word, PLACES))
                .map_or_else(|| FORMS.to_owned(), suggest::question);
            Err(Wrong::new(rest_at, count(word), format!("found '{word}', expected after, before or return"), &hint))
        }
    }
}

/// A number of bytes, `0x1f` or `31`; what kernel messages add, the size in
/// `do_swap_page+0x1f/0x890`, is passed over.
fn offset(text: &str) -> Option<u64> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+')),
        None => text.parse().ok().filter(|_| !text.starts_with('+')),
    };
    let text = text.trim();
    match text.split_once('/') {
        Some((offset, size)) => number(size).and_then(|_| number(offset)),
        None => number(text),
    }
}

/// A function's name with its alternatives, `swap_readpage|swap_read_folio`.
fn names(text: &str) -> Result<Names, Wrong> {
    let mut names = Vec::new();
    let mut at = 0;
    for part in text.split('|') {
        let (lead, name) = trimmed(part);
        // `.`: what compilers append, `swap_readpage.isra.0`.
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        if name.is_empty() {
            return Err(Wrong::new(at, count(part), "a function's name is missing here", FORMS));
        }
        if name.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return Err(Wrong::new(at + lead, count(name), format!("'{name}' is no function's name"), FORMS));
        }
        if let Some(wrong) = name.chars().position(|c| !legal(c)) {
            let message = format!("'{name}' is no function's name");
            return Err(Wrong::new(at + lead + wrong, 1, message, FORMS));
        }
        names.push(name.to_owned());
        at += count(part) + 1;
    }
    Ok(names)
}

/// A text without the blanks around it, and how many there were before it.
fn trimmed(text: &str) -> (usize, &str) {
    let start = text.trim_start();
    (count(text) - count(start), start.trim_end())
}

fn count(text: &str) -> usize {
    text.chars().count()
}

/// Words that stand alone.
const KEYWORDS: [&str; 4] = ["hold", "freeze", "release", "finish"];
const START: &str = "start";

/// Reads a cell; `set_in` when it begins to the right of where its thread's name does.
///
/// `hold`, `freeze`, `release` and `finish` are what they say. Whatever has a `:`, a `+` or a `|`
/// in it is a point of the kernel, and whatever has two words an operation. That leaves a single
/// word: set in it is a point, the function's first instruction, and under the thread's name it is
/// an operation.
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
        return point(text).map(Action::Reach);
    }
    match words.as_slice() {
        [] => Err(Wrong::new(0, 1, "this is empty", "write what the thread does")),
        [word] if suggest::one_letter_off(word, KEYWORDS).is_some() => {
            let meant = suggest::one_letter_off(word, KEYWORDS).unwrap_or_default();
            Err(Wrong::new(0, len(word), format!("'{word}' means nothing here"), &suggest::question(meant)))
        }
        [word] if *word == START => Err(Wrong::new(0, len(word), "`start` what?", "such as `start write page`")),
        [_] if set_in => point(text).map(Action::Reach),
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

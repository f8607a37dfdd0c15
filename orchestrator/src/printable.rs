//! Text from outside (a guest's, a plan's, a journal's, another program's) made fit for a terminal: whatever a terminal would
//! act on is shown as `\u{..}`. Everything that twinboot prints for people comes through here.

use std::io::{self, Write};

/// Control characters, direction marks and overrides, line separators, and the two code points that XML 1.0 has no way to
/// write.
pub fn is_unsafe(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
        || matches!(letter, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// `text` on one line, without white space around it; line breaks and tabs become spaces.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.trim().chars() {
        match letter {
            '\n' | '\r' | '\t' => line.push(' '),
            letter if is_unsafe(letter) => line.extend(letter.escape_unicode()),
            letter => line.push(letter),
        }
    }
    line
}

/// As [`one_line`], with the spaces it begins with: a drawn line, whose columns matter.
pub fn indented_line(text: &str) -> String {
    let text = text.trim_end();
    let indent = text.len() - text.trim_start_matches(' ').len();
    format!("{}{}", &text[..indent], one_line(text))
}

/// `text` with its line breaks. A line after the first is indented by two spaces at least, so that none of them can pass for
/// a line of twinboot's own.
pub fn paragraph(text: &str) -> String {
    let mut lines = text.trim_end().lines();
    let first = lines.next().map(indented_line).unwrap_or_default();
    lines.map(indented_line).fold(first, |text, line| {
        let indent = if line.is_empty() || line.starts_with("  ") { "" } else { "  " };
        text + "\n" + indent + &line
    })
}

/// `text` with each unsafe character but line breaks and tabs replaced by question marks, byte for byte: for a text into
/// which offsets point.
pub fn same_length(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        if is_unsafe(letter) && !matches!(letter, '\n' | '\t') {
            safe.extend(std::iter::repeat_n('?', letter.len_utf8()));
        } else {
            safe.push(letter);
        }
        safe
    })
}

/// JSON whose strings hold nothing that a terminal would act on: such characters become `\uXXXX`, which reads back the
/// same. Outside strings JSON has none of them but the line breaks that `serde_json` puts between values.
pub fn json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter != '\n' && is_unsafe(letter) {
            text.extend(format!("\\u{:04x}", u32::from(letter)).chars());
        } else {
            text.push(letter);
        }
    }
    text
}

/// A writer for people: escapes what is unsafe but line breaks and tabs, turns the serial line's `\r\n` into `\n`, and bytes
/// that are not UTF-8 into U+FFFD.
#[derive(Debug)]
pub struct Printable<W: Write> {
    to: W,
    /// The beginning of a character, or a carriage return, whose rest has yet to come.
    rest: Vec<u8>,
}

impl<W: Write> Printable<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self { to, rest: Vec::new() }
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let mut end = all.len() - unfinished(&all);
        if all[..end].ends_with(b"\r") {
            end -= 1;
        }
        self.rest = all.split_off(end);
        let mut safe = String::with_capacity(all.len());
        let text = String::from_utf8_lossy(&all).replace("\r\n", "\n");
        for letter in text.chars() {
            if is_unsafe(letter) && !matches!(letter, '\n' | '\t') {
                safe.extend(letter.escape_unicode());
            } else {
                safe.push(letter);
            }
        }
        self.to.write_all(safe.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// How many bytes at the end are the beginning of a character that needs more of them.
fn unfinished(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(3);
    let begins = |length: &usize| {
        let tail = &bytes[bytes.len() - length..];
        tail[0] >= 0xc0 && std::str::from_utf8(tail).is_err_and(|error| error.error_len().is_none())
    };
    (1..=longest).find(begins).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(chunks: &[&[u8]]) -> String {
        let mut out = Printable::new(Vec::new());
        for chunk in chunks {
            out.write_all(chunk).expect("a vector takes all");
        }
        String::from_utf8(out.to).expect("text")
    }

    #[test]
    fn what_a_terminal_acts_on_is_shown() {
        assert_eq!(printed(&[b"a\x1b[2J\x07\r\nb\tc\rd\n"]), "a\\u{1b}[2J\\u{7}\nb\tc\\u{d}d\n");
        assert_eq!(printed(&["\u{202e}x\u{9b}y\u{e9}\n".as_bytes()]), "\\u{202e}x\\u{9b}y\u{e9}\n");
        assert_eq!(paragraph("a\n\u{1b}]0;x\nfixed\n   c\n"), "a\n  \\u{1b}]0;x\n  fixed\n   c");
        let text = "a\u{1b}b\u{9b}c\u{202e}d\n";
        assert_eq!((same_length(text).as_str(), same_length(text).len()), ("a?b??c???d\n", text.len()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// However a text is cut into pieces, it comes out the same, and safe.
        #[test]
        fn pieces_make_no_difference(text in "[a\r\n\t\u{1b}\u{9b}\u{e9}\u{202e}\u{1f600}]{0,20}", cut in any::<prop::sample::Index>()) {
            let text = text + "\n";
            let at = cut.index(text.len());
            let whole = printed(&[text.as_bytes()]);
            prop_assert_eq!(&printed(&[&text.as_bytes()[..at], &text.as_bytes()[at..]]), &whole);
            prop_assert!(!whole.chars().any(|letter| is_unsafe(letter) && !matches!(letter, '\n' | '\t')));
        }

        #[test]
        fn no_bytes_are_lost_for_good(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let whole = printed(&[&bytes, b"end\n"]);
            prop_assert!(whole.ends_with("end\n"));
        }
    }
}

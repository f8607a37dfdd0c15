//! Patches as they come: mails, mailboxes and plain diffs, turned into the diffs that they carry.
//!
//! What counts as a diff is what `git am` takes for one (git-am(1)): lines that begin at the left margin, behind the message.
//! A diff that a message quotes, indented, is part of the message.

use mailparse::{MailHeaderMap, ParsedMail, parse_mail};

use super::info::Hunk;

/// A message of a patch file, or a plain diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its text, decoded, with one `\n` a line.
    pub text: Vec<u8>,
    /// Its diffs alone, without anything around them; empty if it carries none.
    pub diff: Vec<u8>,
    /// `(2, 7)` of `[PATCH v3 2/7]`.
    pub number: Option<(u32, u32)>,
}

/// What a patch file holds that cannot be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsupported {
    /// `*** a/f` and `--- b/f`.
    ContextDiff,
    /// `GIT binary patch`.
    Binary,
    /// A file of mode 120000.
    Link,
}

/// The messages of a patch file, in the order of their series, cover letters left out.
pub fn messages(bytes: &[u8]) -> Vec<Message> {
    let mut found: Vec<Message> = split(bytes).into_iter().map(message).collect();
    if found.len() > 1 && found.iter().any(|it| !it.diff.is_empty()) {
        found.retain(|it| !it.diff.is_empty());
    }
    // Mailboxes come in the order of delivery. Without numbers, or with those of several series, that is all there is.
    let total = found.first().and_then(|first| first.number).map(|(_, total)| total);
    if total.is_some() && found.iter().all(|it| it.number.map(|(_, of)| of) == total) {
        found.sort_by_key(|it| it.number);
    }
    found
}

/// What of a message's diffs is not supported, if anything is.
pub fn unsupported(message: &Message) -> Option<Unsupported> {
    let lines: Vec<&[u8]> = lines(&message.text).collect();
    let begins = |at: usize, with: &[u8]| lines.get(at).is_some_and(|line: &&[u8]| line.starts_with(with));
    let context =
        (0..lines.len()).any(|at| begins(at, b"*** ") && begins(at + 1, b"--- ") && begins(at + 2, b"***************"));
    let link = |line: &&[u8]| line.ends_with(b"mode 120000") && !line.starts_with(b" ");
    match () {
        () if context => Some(Unsupported::ContextDiff),
        () if lines.contains(&b"GIT binary patch".as_slice()) => Some(Unsupported::Binary),
        () if lines.iter().any(link) => Some(Unsupported::Link),
        () => None,
    }
}

/// The file's messages, each without the line that a mailbox begins it with.
fn split(bytes: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let (mut at, mut blank) = (0, true);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if blank && is_separator(line) {
            starts.push((at, at + line.len()));
        }
        blank = line.trim_ascii().is_empty();
        at += line.len();
    }
    // Whatever stands before the first separator belongs to no message; a file without one is a single message.
    match starts.first() {
        Some((0, _)) => {
            let ends = starts.iter().skip(1).map(|(start, _)| *start).chain(std::iter::once(bytes.len()));
            starts.iter().zip(ends).map(|((_, body), end)| &bytes[*body..end]).collect()
        }
        _ => vec![bytes],
    }
}

/// `From 1234abcd… Mon Sep 17 00:00:00 2001`, as `git format-patch` and mail programs begin a message.
fn is_separator(line: &[u8]) -> bool {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    words.next() == Some("From")
        && words.clone().count() >= 6
        && text.split_ascii_whitespace().any(|word| word.len() == 8 && word.matches(':').count() == 2)
}

fn message(raw: &[u8]) -> Message {
    let text = one_newline(decoded(raw).unwrap_or_else(|| raw.to_vec()));
    Message { diff: diff(&text), number: number(&text), text }
}

/// The text of a mail: its headers, and those of its parts that carry a diff, decoded; none for what is no mail.
fn decoded(raw: &[u8]) -> Option<Vec<u8>> {
    let head = raw.split(|&byte| byte == b'\n').take_while(|line| !line.trim_ascii().is_empty());
    let is_header = |line: &[u8]| {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        line.starts_with(b" ")
            || line.starts_with(b"\t")
            || (name.len() < line.len() && name.iter().all(u8::is_ascii_graphic))
    };
    let encoded = |line: &[u8]| {
        let lower = line.to_ascii_lowercase();
        lower.starts_with(b"content-transfer-encoding:") || lower.starts_with(b"content-type:")
    };
    let head: Vec<&[u8]> = head.collect();
    if !head.iter().all(|line| is_header(line)) || !head.iter().any(|line| encoded(line)) {
        return None;
    }
    let mail = parse_mail(raw).ok()?;
    let mut text = Vec::new();
    if let Some(subject) = mail.headers.get_first_value("Subject") {
        text.extend_from_slice(format!("Subject: {}\n\n", subject.replace(['\n', '\r'], " ")).as_bytes());
    }
    let carries = |body: &Vec<u8>| !diff(&one_newline(body.clone())).is_empty();
    let (with, without): (Vec<_>, Vec<_>) = leaves(&mail).into_iter().filter_map(body).partition(carries);
    for body in if with.is_empty() { without } else { with } {
        text.extend(body);
        if !text.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    Some(text)
}

fn leaves<'a, 'b>(mail: &'b ParsedMail<'a>) -> Vec<&'b ParsedMail<'a>> {
    if mail.subparts.is_empty() { vec![mail] } else { mail.subparts.iter().flat_map(leaves).collect() }
}

fn body(part: &ParsedMail<'_>) -> Option<Vec<u8>> {
    let raw = part.get_body_raw().ok()?;
    let is = |name: &str, value: &str| part.ctype.params.get(name).is_some_and(|it| it.eq_ignore_ascii_case(value));
    Some(if is("format", "flowed") { unflowed(&raw, is("delsp", "yes")) } else { raw })
}

/// Text without the soft line breaks of RFC 3676.
fn unflowed(raw: &[u8], delete_space: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for line in raw.split_inclusive(|&byte| byte == b'\n') {
        let ending = if line.ends_with(b"\r\n") { 2 } else { usize::from(line.ends_with(b"\n")) };
        let (text, end) = line.split_at(line.len() - ending);
        let text = text.strip_prefix(b" ").unwrap_or(text);
        if text.ends_with(b" ") && text != b"-- " {
            out.extend_from_slice(if delete_space { &text[..text.len() - 1] } else { text });
        } else {
            out.extend_from_slice(text);
            out.extend_from_slice(end);
        }
    }
    out
}

/// The same with `\n` at the end of each line, where a program on the way has made `\r\n` of all of them. Carriage returns of
/// the patched file stay: its headers have none.
fn one_newline(text: Vec<u8>) -> Vec<u8> {
    let header = |line: &[u8]| {
        [b"--- ".as_slice(), b"+++ ", b"@@ -", b"diff --git "].iter().any(|start| line.starts_with(start))
    };
    let mut headers = text.split(|&byte| byte == b'\n').filter(|line| header(line)).peekable();
    if headers.peek().is_none() || !headers.all(|line| line.ends_with(b"\r")) {
        return text;
    }
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\r\n") {
            Some(bare) => out.extend([bare, b"\n"].concat()),
            None => out.extend_from_slice(line),
        }
    }
    out
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

/// Header lines of a diff, besides those of its files and hunks (git-diff(1), "Generating patch text with -p").
const EXTENDED: [&[u8]; 11] = [
    b"diff --git ",
    b"index ",
    b"old mode ",
    b"new mode ",
    b"new file mode ",
    b"deleted file mode ",
    b"similarity index ",
    b"rename from ",
    b"rename to ",
    b"copy from ",
    b"copy to ",
];

/// The diffs of a text: file headers and hunks, without anything else. A last line without its newline gets one.
fn diff(text: &[u8]) -> Vec<u8> {
    let lines: Vec<&[u8]> = lines(text).collect();
    let mut out: Vec<&[u8]> = Vec::new();
    let (mut at, mut pending) = (0, Vec::new());
    let mut in_file = false;
    while let Some(&line) = lines.get(at) {
        at += 1;
        let next_begins = |with: &[u8]| lines.get(at).is_some_and(|next| next.starts_with(with));
        if line.starts_with(b"--- ") && next_begins(b"+++ ") {
            out.append(&mut pending);
            out.extend([line, lines[at]]);
            at += 1;
            in_file = true;
        } else if let Some(mut hunk) = in_file.then(|| Hunk::of(&String::from_utf8_lossy(line))).flatten() {
            out.push(line);
            while !hunk.is_over() || next_is_marker(&lines, at) {
                let Some(&line) = lines.get(at).filter(|line| hunk.takes(line)) else { break };
                out.push(line);
                at += 1;
            }
        } else if EXTENDED.iter().any(|header| line.starts_with(header)) {
            if line.starts_with(b"diff --git ") {
                // A diff of headers alone, such as a rename or a change of mode.
                out.append(&mut pending);
                in_file = false;
            }
            if line.starts_with(b"diff --git ") || !pending.is_empty() {
                pending.push(line);
            }
        }
    }
    out.append(&mut pending);
    out.into_iter().fold(Vec::new(), |mut text, line| {
        text.extend_from_slice(line);
        text.push(b'\n');
        text
    })
}

fn next_is_marker(lines: &[&[u8]], at: usize) -> bool {
    lines.get(at).is_some_and(|line| line.starts_with(b"\\ No newline"))
}

/// `(2, 7)` of `Subject: [PATCH v3 2/7] mm: …`.
fn number(text: &[u8]) -> Option<(u32, u32)> {
    let subject = lines(text).find_map(|line| line.strip_prefix(b"Subject:"))?;
    let subject = String::from_utf8_lossy(subject);
    let tag = subject.trim_start().strip_prefix('[')?.split_once(']')?.0.to_owned();
    tag.split_ascii_whitespace().find_map(|word| {
        let (number, total) = word.split_once('/')?;
        Some((number.parse().ok()?, total.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n one\n-x = 0;\n+x = 1;\n";

    fn only(text: &str) -> Message {
        let mut found = messages(text.as_bytes());
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn diff_of(text: &str) -> String {
        String::from_utf8(only(text).diff).expect("is text")
    }

    #[test]
    fn plain_diffs_and_mails_come_out_alike() {
        assert_eq!(diff_of(DIFF), DIFF);
        let mail = format!(
            "From 1234abcd Mon Sep 17 00:00:00 2001\nFrom: A <a@b.c>\nSubject: [PATCH] x\n\nWhy.\n---\n f | 2 +-\n\n{DIFF}-- \n2.47.3\n"
        );
        assert_eq!(diff_of(&mail), DIFF);
        assert_eq!(diff_of(&mail.replace('\n', "\r\n")), DIFF, "a program on the way has changed all line ends");
        assert_eq!(diff_of(DIFF.trim_end()), DIFF, "the last newline is cut off");
    }

    #[test]
    fn carriage_returns_of_the_file_stay() {
        let dos = DIFF.replace("one\n", "one\r\n").replace(";\n", ";\r\n");
        assert_eq!(diff_of(&dos), dos);
    }

    #[test]
    fn encoded_mails_are_decoded() {
        let head = "From: A <a@b.c>\nSubject: [PATCH] x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n";
        let quoted = DIFF.replace('=', "=3D").replace(" one\n", "=20o=\nne\n");
        assert_eq!(diff_of(&format!("{head}Content-Transfer-Encoding: quoted-printable\n\nWhy.\n---\n{quoted}")), DIFF);
        let base64 =
            "ZGlmZiAtLWdpdCBhL2YgYi9mCi0tLSBhL2YKKysrIGIvZgpAQCAtMSwyICsxLDIgQEAKIG9uZQot\neCA9IDA7Cit4ID0gMTsK\n";
        assert_eq!(diff_of(&format!("{head}Content-Transfer-Encoding: base64\n\n{base64}")), DIFF);
        let multi = format!(
            "From: A <a@b.c>\nSubject: Re: x\nContent-Type: multipart/mixed; boundary=\"=_b\"\n\n--=_b\nContent-Type: text/plain\n\nSee below.\n\n\
             --=_b\nContent-Type: text/x-patch; name=fix.diff\nContent-Transfer-Encoding: base64\n\n{base64}\n--=_b--\n"
        );
        assert_eq!(diff_of(&multi), DIFF);
        let flowed = DIFF.replace("x = 1;", "x \n= 1;").replace(" one", "  one");
        assert_eq!(diff_of(&format!("{}\n{flowed}", head.replace("utf-8", "utf-8; format=flowed"))), DIFF);
    }

    #[test]
    fn a_quoted_diff_is_part_of_the_message() {
        let quoted = format!("  {}\n", DIFF.trim_end().replace('\n', "\n  "));
        let mail = format!("Subject: [PATCH] x\n\nThis would be wrong:\n\n{quoted}\n---\n{DIFF}\n{quoted}");
        assert_eq!(diff_of(&mail), DIFF);
    }

    #[test]
    fn a_series_comes_in_its_order_without_its_cover_letter() {
        let mail = |number: u32, diff: &str| {
            format!(
                "From 1234abcd Mon Sep 17 00:00:00 2001\nFrom: A <a@b.c>\nSubject: [PATCH v2 {number}/2] x\n\nText.\n---\n{diff}\n"
            )
        };
        let second = DIFF.replace("/f", "/g");
        let found = messages([mail(2, &second), mail(0, ""), mail(1, DIFF)].concat().as_bytes());
        let diffs: Vec<_> = found.iter().map(|it| String::from_utf8_lossy(&it.diff).into_owned()).collect();
        assert_eq!(diffs, [DIFF.to_owned(), second]);
        assert!(only(&mail(0, "")).diff.is_empty());
    }

    #[test]
    fn renames_stay_and_other_forms_are_named() {
        let rename = "diff --git a/f b/g\nsimilarity index 100%\nrename from f\nrename to g\n";
        assert_eq!(diff_of(rename), rename);
        assert_eq!(unsupported(&only(DIFF)), None);
        let link = "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+f\n\\ No newline at end of file\n";
        assert_eq!((unsupported(&only(link)), diff_of(link).as_str()), (Some(Unsupported::Link), link));
        let context = "*** a/f\n--- b/f\n***************\n*** 1,2 ****\n! x\n--- 1,2 ----\n! y\n";
        assert_eq!(unsupported(&only(context)), Some(Unsupported::ContextDiff));
        let binary = "diff --git a/b b/b\nGIT binary patch\nliteral 3\nx\n";
        assert_eq!(unsupported(&only(binary)), Some(Unsupported::Binary));
    }
}

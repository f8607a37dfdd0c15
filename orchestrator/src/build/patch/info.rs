//! What a patch says of itself: its subject, the files it touches, an identity that survives rebasing.

use std::collections::BTreeSet;

use crate::cache::sha256;

/// What is read out of a patch file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// SHA-256 over file names and hunks without white space and line numbers, as `git patch-id --stable` (git-patch-id(1)) sees them.
    pub id: String,
    /// Every file that is touched, made, removed or renamed, as `patch -p1` names it.
    pub files: BTreeSet<String>,
}

/// Reads a plain diff or a mail made by `git format-patch`.
pub fn parse(text: &str) -> Parsed {
    let lines: Vec<&str> = text.lines().collect();
    let mut files = BTreeSet::new();
    let mut identity = String::new();
    let mut at = 0;
    while let Some(&line) = lines.get(at) {
        at += 1;
        if let (Some(old), Some(new)) =
            (line.strip_prefix("--- "), lines.get(at).and_then(|next| next.strip_prefix("+++ ")))
        {
            for name in [old, new].into_iter().filter_map(stripped) {
                identity.push_str(&name);
                identity.push('\n');
                files.insert(name);
            }
            at += 1;
        } else if let Some(mut hunk) = Hunk::of(line) {
            while !hunk.is_over() {
                let Some(&line) = lines.get(at).filter(|line| hunk.takes(line.as_bytes())) else { break };
                at += 1;
                let kept: String = line.split_whitespace().collect();
                identity.push_str(&kept);
                identity.push('\n');
            }
        } else if let Some(names) = line.strip_prefix("diff --git ") {
            files.extend(names.split(' ').filter_map(stripped));
        } else if let Some(name) =
            ["rename from ", "rename to ", "copy from ", "copy to "].iter().find_map(|kind| line.strip_prefix(kind))
        {
            files.insert(name.to_owned());
            identity.push_str(line);
            identity.push('\n');
        }
    }
    Parsed { id: sha256(identity), files }
}

/// Lines that a hunk still has on its old and on its new side.
pub(super) struct Hunk {
    old: u64,
    new: u64,
}

impl Hunk {
    /// The hunk that `@@ -a,b +c,d @@` begins. What is cut off behind the ranges is for patch(1) to complain about.
    pub(super) fn of(line: &str) -> Option<Self> {
        let ranges = line.strip_prefix("@@ -")?.split('@').next()?;
        let (old, new) = ranges.trim_end().split_once(" +")?;
        let count = |range: &str| range.split_once(',').map_or(Some(1), |(_, count)| count.parse().ok());
        Some(Self { old: count(old)?, new: count(new)? })
    }

    /// It has no further line but, perhaps, the remark that its last one has no newline.
    pub(super) fn is_over(&self) -> bool {
        (self.old, self.new) == (0, 0)
    }

    /// Counts a line; false if no hunk has such a line. Programs on the way take the blank of an empty line away.
    pub(super) fn takes(&mut self, line: &[u8]) -> bool {
        let (old, new) = match line.first() {
            Some(b'-') => (1, 0),
            Some(b'+') => (0, 1),
            Some(b' ' | b'\t' | b'\r') | None => (1, 1),
            Some(b'\\') => (0, 0),
            Some(_) => return false,
        };
        (self.old, self.new) = (self.old.saturating_sub(old), self.new.saturating_sub(new));
        true
    }
}

/// A name of a diff header as `patch -p1` uses it: no time stamp, first component taken off; none for `/dev/null`.
fn stripped(name: &str) -> Option<String> {
    let name = match unquoted(name) {
        Some(name) => name,
        None => without_date(name.split('\t').next().unwrap_or(name)).trim_end().to_owned(),
    };
    if name == "/dev/null" {
        return None;
    }
    let (_, rest) = name.split_once('/')?;
    let rest = rest.trim_start_matches('/');
    (!rest.is_empty()).then(|| rest.to_owned())
}

/// A name without the date that some programs put behind blanks: `a/mm/memory.c  2024-01-02 03:04:05`.
fn without_date(name: &str) -> &str {
    let date = |word: &str| {
        let digits = |part: Option<&str>, length| {
            part.is_some_and(|it| it.len() == length && it.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let mut parts = word.split('-');
        digits(parts.next(), 4) && digits(parts.next(), 2) && digits(parts.next(), 2) && parts.next().is_none()
    };
    let found = name.match_indices(' ').find(|(at, _)| name[at + 1..].split(' ').next().is_some_and(date));
    found.map_or(name, |(at, _)| &name[..at])
}

/// The name within `"a/mm/na\303\257ve.c"`, as git quotes unusual names (git-config(1), `core.quotePath`).
fn unquoted(name: &str) -> Option<String> {
    let inside = name.strip_prefix('"')?;
    let (mut bytes, mut rest) = (Vec::new(), inside.bytes().peekable());
    loop {
        match rest.next()? {
            b'"' => return String::from_utf8(bytes).ok(),
            b'\\' => match rest.next()? {
                first @ b'0'..=b'3' => {
                    let digit = |byte: u8| (b'0'..=b'7').contains(&byte).then(|| byte - b'0');
                    let (high, middle, low) = (first - b'0', digit(rest.next()?)?, digit(rest.next()?)?);
                    bytes.push(high << 6 | middle << 3 | low);
                }
                b'n' => bytes.push(b'\n'),
                b't' => bytes.push(b'\t'),
                other => bytes.push(other),
            },
            plain => bytes.push(plain),
        }
    }
}

/// Subject of a `git format-patch` mail, without `[PATCH …]`.
pub fn subject_of(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();

    let start = lines.iter().take_while(|line| !line.starts_with("diff --git ") && !line.starts_with("--- "));
    let at = start.clone().position(|line| line.starts_with("Subject:"))?;
    let mut subject = lines[at]["Subject:".len()..].trim().to_owned();
    // Header fields are continued on lines that begin with white space, RFC 5322 section 2.2.3.
    for more in lines[at + 1..].iter().take_while(|line| line.starts_with([' ', '\t'])) {
        subject.push(' ');
        subject.push_str(more.trim());
    }
    let bare = match subject.split_once(']') {
        Some((tag, rest)) if tag.starts_with('[') => rest.trim(),
        _ => subject.as_str(),
    };
    (!bare.is_empty()).then(|| bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "From 1234 Mon Sep 17 00:00:00 2001\nFrom: A <a@example.org>\nSubject: [PATCH v2 1/3] mm: swap: hold\n the entry\n\nText.\n---\n mm/memory.c | 2 +-\n\ndiff --git a/mm/memory.c b/mm/memory.c\nindex 1..2 100644\n--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -10,3 +10,3 @@ int f(void)\n one\n-two\n+2\n three\n-- \n2.39.2\n";

    #[test]
    fn a_mail_gives_its_folded_subject_and_files() {
        let parsed = parse(MAIL);
        assert_eq!(subject_of(MAIL).as_deref(), Some("mm: swap: hold the entry"));
        assert_eq!(parsed.files.into_iter().collect::<Vec<_>>(), ["mm/memory.c"]);
    }

    #[test]
    fn the_identity_is_that_of_the_change() {
        let id = parse(MAIL).id;
        let plain = "--- old/mm/memory.c\t2024-01-01\n+++ new/mm/memory.c\t2024-01-02\n@@ -110,3 +112,3 @@\n  one\n-two\n+2\n three\n";
        assert_eq!(parse(plain).id, id, "line numbers, white space, mail and signature do not matter");
        assert_ne!(parse(&MAIL.replace("+2", "+3")).id, id);
        assert_ne!(parse(&MAIL.replace("mm/memory.c", "mm/shmem.c")).id, id);
    }

    #[test]
    fn made_removed_and_renamed_files_are_seen() {
        let text = "--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\ndiff --git a/from b/to\nrename from from\nrename to to\n";
        let files: Vec<_> = parse(text).files.into_iter().collect();
        assert_eq!(files, ["from", "gone", "new", "to"]);
    }

    #[test]
    fn quoted_names_and_dates_behind_blanks_are_read() {
        let files = |text: &str| parse(text).files.into_iter().collect::<Vec<_>>();
        assert_eq!(files("--- /dev/null\n+++ \"b/mm/na\\303\\257ve.c\"\n@@ -0,0 +1 @@\n+x\n"), ["mm/na\u{ef}ve.c"]);
        assert_eq!(
            files("--- a/mm/a.c   2024-01-02 03:04:05\n+++ b/mm/a.c 2024-01-02 03:04:06 +0100\n@@ -1 +1 @@\n-x\n+y\n"),
            ["mm/a.c"]
        );
        assert_eq!(files("--- a/a b-c.c\n+++ b/a b-c.c\n@@ -1 +1 @@\n-x\n+y\n"), ["a b-c.c"]);
    }

    #[test]
    fn a_plain_text_touches_nothing() {
        assert!(parse("Subject: hello\n\nno diff here\n").files.is_empty());
    }
}

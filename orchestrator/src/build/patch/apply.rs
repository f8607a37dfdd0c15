//! Running GNU patch in a folder that holds copies of the touched files.

use std::path::Path;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::{Error, Loaded};
use crate::process::{self, Line, exit_text};

/// Lines of rejected hunks that an error shows.
const REJECT_LINES: usize = 60;

/// Applies `patches` in order to the tree in `dir`, which must be a scratch copy: a failure leaves it half changed.
/// Returns a note for every hunk that applied with an offset or with fuzz.
pub async fn apply(patches: &[Loaded], dir: &Path, cancel: &CancellationToken) -> Result<Vec<String>, Error> {
    let aside = process::run_dir::make(&std::env::temp_dir())
        .map_err(|source| Error::Scratch { path: std::env::temp_dir(), source })?;
    let mut notes = Vec::new();
    let diffs: Vec<(&Loaded, &Vec<u8>)> =
        patches.iter().flat_map(|patch| patch.diffs.iter().map(move |diff| (patch, diff))).collect();
    for (patch, diff) in diffs {
        let input = aside.path().join("patch");
        let reject = aside.path().join("reject");
        std::fs::write(&input, diff).map_err(|source| Error::Scratch { path: input.clone(), source })?;
        let mut command = Command::new("patch");
        command.env_clear().env("LC_ALL", "C").current_dir(dir);
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.args(["-p1", "--forward", "--batch", "--no-backup-if-mismatch", "--fuzz=2", "--binary"]);
        if patch.info.reverse {
            command.arg("--reverse");
        }
        command.arg("--reject-file").arg(&reject).arg("--input").arg(&input);
        let mut said = Vec::new();
        let status = process::stream(command, cancel, |line| {
            let (Line::Out(text) | Line::Err(text)) = line;
            said.push(text.to_owned());
        })
        .await?;
        let heard = Heard::listen(&said);
        let rejected =
            std::fs::read(&reject).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let _ = std::fs::remove_file(&reject);
        let failures = heard.all_failures();
        // Only a patch that is there as a whole is there.
        if let (Some(file), true) = (heard.already.first(), heard.failures.is_empty() && heard.other.is_empty()) {
            return Err(Error::Already { path: patch.path.clone(), file: file.clone(), reverse: patch.info.reverse });
        }
        if !status.success() || !failures.is_empty() {
            let failures = if failures.is_empty() {
                vec![format!("patch ended with {}: {}", exit_text(status), said.join(" / "))]
            } else {
                failures
            };
            let reject = shortened(&rejected);
            return Err(Error::Rejected { path: patch.path.clone(), reverse: patch.info.reverse, failures, reject });
        }
        notes.extend(heard.notes.into_iter().map(|note| format!("{}: {note}", patch.info.file)));
    }
    Ok(notes)
}

fn shortened(reject: &str) -> String {
    let lines: Vec<&str> = reject.lines().collect();
    match lines.len().checked_sub(REJECT_LINES) {
        None | Some(0) => lines.join("\n"),
        Some(more) => format!("{}\n… {more} more lines", lines[..REJECT_LINES].join("\n")),
    }
}

/// What GNU patch said, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    notes: Vec<String>,
    failures: Vec<String>,
    /// Files that have the change.
    already: Vec<String>,
    /// Files that do not have it: it applies, or fails.
    other: Vec<String>,
}

impl Heard {
    fn listen(said: &[String]) -> Self {
        let mut heard = Self::default();
        let mut file = String::from("?");
        // The name that patch was looking for, of a file that is not there.
        let mut wanted = None;
        for line in said {
            if let Some(name) = line.strip_prefix("patching file ").or_else(|| line.strip_prefix("checking file ")) {
                name.split(" (").next().unwrap_or(name).trim_matches('\'').clone_into(&mut file);
                heard.other.push(file.clone());
            } else if line.contains("patch detected!") {
                heard.other.retain(|it| *it != file);
                heard.already.push(file.clone());
            } else if let Some(name) = line.strip_prefix("|--- ").or_else(|| line.strip_prefix("|+++ ")) {
                let name = name.split('\t').next().unwrap_or(name).trim_end();
                wanted = Some(name.to_owned()).filter(|name| name != "/dev/null").or(wanted);
            } else if let Some(rest) = line.strip_prefix("Hunk #") {
                if let Some((number, at)) = rest.split_once(" FAILED at ") {
                    heard.failures.push(format!("{file}: hunk {number} at line {}", at.trim_end_matches('.')));
                } else if rest.contains(" succeeded at ") {
                    heard.notes.push(format!("{file}: hunk {}", rest.trim_end_matches('.')));
                }
            } else if line.starts_with("can't find file to patch") {
                heard.failures.push("the tree has no such file".to_owned());
            } else if line.starts_with("Not deleting file ") || line.starts_with("patch: **** ") {
                heard.failures.push(line.clone());
            } else if line.starts_with("No file to patch.") || line.starts_with("Skipping patch.") {
                // patch tells the name after it has said that there is no such file.
                if let (Some(name), Some(last)) = (wanted.take(), heard.failures.last_mut())
                    && last == "the tree has no such file"
                {
                    let bare = name.split_once('/').map_or(name.as_str(), |(_, rest)| rest);
                    *last = format!(
                        "{bare}: the tree has no such file (the patch names `{name}`, of which the first component is taken off; \
                         a patch for `-p0` has none to spare)"
                    );
                }
            }
        }
        heard
    }

    /// Why the patch does not go on as a whole. One that is there in part is told apart by its files.
    fn all_failures(&self) -> Vec<String> {
        let mut all = self.failures.clone();
        if !self.already.is_empty() {
            let there = self.already.iter().map(|file| format!("{file} has the change already"));
            let failed = |file: &&String| all.iter().any(|failure| failure.starts_with(&format!("{file}: ")));
            let rest: Vec<String> =
                self.other.iter().filter(|file| !failed(file)).map(|file| format!("{file} does not have it")).collect();
            let there: Vec<String> = there.collect();
            all.extend(there);
            all.extend(rest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::patch::load;
    use crate::plan::model::Patch;

    const NUMBERS: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
    const FIVE: &str = "--- a/f\n+++ b/f\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n";

    async fn try_on(content: &str, diff: &str, reverse: bool) -> (Result<Vec<String>, Error>, String) {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("makes");
        std::fs::write(tree.join("f"), content).expect("writes");
        let path = dir.path().join("five.patch");
        std::fs::write(&path, diff).expect("writes");
        let loaded = load(&Patch { path, reverse }).expect("reads");
        let result = apply(&[loaded], &tree, &CancellationToken::new()).await;
        (result, std::fs::read_to_string(tree.join("f")).expect("reads"))
    }

    #[tokio::test]
    async fn forward_and_reverse() {
        let (notes, content) = try_on(NUMBERS, FIVE, false).await;
        assert!(notes.expect("applies").is_empty());
        assert_eq!(content, NUMBERS.replace('5', "five"));
        let (notes, back) = try_on(&content, FIVE, true).await;
        assert!(notes.expect("comes out").is_empty());
        assert_eq!(back, NUMBERS);
    }

    #[tokio::test]
    async fn offset_and_fuzz_are_reported() {
        let (notes, _) = try_on(&format!("0\n0\n{NUMBERS}"), FIVE, false).await;
        assert_eq!(notes.expect("applies"), ["five.patch: f: hunk 1 succeeded at 4 (offset 2 lines)"]);
        let (notes, _) = try_on(&NUMBERS.replace('2', "two"), FIVE, false).await;
        assert_eq!(notes.expect("applies"), ["five.patch: f: hunk 1 succeeded at 2 with fuzz 1"]);
    }

    #[tokio::test]
    async fn a_failing_hunk_shows_file_line_and_reject() {
        let (result, content) = try_on(&NUMBERS.replace('5', "V"), FIVE, false).await;
        let text = result.expect_err("does not apply").to_string();
        assert!(text.contains("f: hunk 1 at line 2") && text.contains("+five"), "{text}");
        assert_eq!(content, NUMBERS.replace('5', "V"));
    }

    #[tokio::test]
    async fn what_is_applied_already_is_said_so_both_ways() {
        let (result, _) = try_on(&NUMBERS.replace('5', "five"), FIVE, false).await;
        assert!(matches!(result, Err(Error::Already { reverse: false, .. })), "{result:?}");
        let (result, _) = try_on(NUMBERS, FIVE, true).await;
        assert!(matches!(result, Err(Error::Already { reverse: true, .. })), "{result:?}");
    }

    #[tokio::test]
    async fn a_patch_that_is_half_there_is_not_there() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for (name, text) in
            [("f", NUMBERS.replace('5', "five")), ("g", NUMBERS.to_owned()), ("h", NUMBERS.replace('5', "V"))]
        {
            std::fs::write(dir.path().join(name), text).expect("writes");
        }
        let text = async |diff: String| {
            let path = dir.path().join("half.patch");
            std::fs::write(&path, diff).expect("writes");
            let loaded = load(&Patch { path, reverse: false }).expect("reads");
            apply(&[loaded], dir.path(), &CancellationToken::new()).await.expect_err("is not there").to_string()
        };
        let half = text([FIVE, &FIVE.replace("/f", "/g")].concat()).await;
        assert!(half.contains("f has the change already") && half.contains("g does not have it"), "{half}");
        let third = text([FIVE, &FIVE.replace("/f", "/h")].concat()).await;
        assert!(third.contains("h: hunk 1 at line 2") && third.contains("f has the change already"), "{third}");
    }

    #[tokio::test]
    async fn a_series_comes_out_last_first() {
        let second = FIVE.replace("-5\n+five", "-five\n+cinq");
        let mail = |number: u32, diff: &str| {
            format!("From 1234abcd Mon Sep 17 00:00:00 2001\nSubject: [PATCH {number}/2] x\n\n---\n{diff}\n")
        };
        let series = [mail(1, FIVE), mail(2, &second)].concat();
        let (result, there) = try_on(NUMBERS, &series, false).await;
        result.expect("applies");
        assert_eq!(there, NUMBERS.replace('5', "cinq"));
        let (result, back) = try_on(&there, &series, true).await;
        result.expect("comes out");
        assert_eq!(back, NUMBERS);
    }

    #[tokio::test]
    async fn a_missing_file_is_named() {
        let (result, _) = try_on(NUMBERS, &FIVE.replace("/f", "/mm/gone.c"), false).await;
        let text = result.expect_err("does not apply").to_string();
        assert!(text.contains("no such file") && text.contains("five.patch"), "{text}");
    }

    #[test]
    fn a_patch_that_leaves_the_tree_is_refused() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let path = dir.path().join("evil.patch");
        std::fs::write(&path, FIVE.replace("b/f", "b/../../f")).expect("writes");
        assert!(matches!(load(&Patch { path, reverse: false }), Err(Error::Outside { .. })));
    }
}

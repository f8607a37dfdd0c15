//! Results folders that come from somebody else: `report`, `merge` and `run --resume` read and write in the folders they are
//! given and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

const JOURNAL: &str = include_str!("../data/journal.jsonl");
/// A cell of [`JOURNAL`].
const CELL: &str = "linux-6.1.unpatched.default.anon-preempt";

/// A folder with a results folder `foreign`, which holds a journal and a cell's file, and a folder `mine` that nobody may
/// touch.
pub struct Scene {
    dir: TempDir,
}

impl Scene {
    pub fn new(journal: &str) -> Self {
        let scene = Self { dir: tempfile::tempdir().expect("a scratch folder") };
        std::fs::create_dir_all(scene.at("foreign/cells").join(CELL)).expect("makes");
        std::fs::create_dir_all(scene.at("mine/deep")).expect("makes");
        std::fs::write(scene.at("foreign/journal.jsonl"), journal).expect("writes");
        std::fs::write(scene.at("foreign/cells").join(CELL).join("console.log"), "Linux\n").expect("writes");
        std::fs::write(scene.at("mine/deep/console.log"), "mine").expect("writes");
        scene
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn twinboot(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_twinboot"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.at("home"));
        command.output().expect("twinboot starts")
    }

    /// Every file and link in the scene, with what it holds.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let (mut files, mut folders) = (BTreeMap::new(), vec![self.dir.path().to_path_buf()]);
        while let Some(folder) = folders.pop() {
            files.insert(folder.clone(), Vec::new());
            for entry in std::fs::read_dir(&folder).expect("readable") {
                let path = entry.expect("readable").path();
                let kind = path.symlink_metadata().expect("is there").file_type();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_symlink() {
                    files.insert(
                        path.clone(),
                        std::fs::read_link(&path).expect("a link").into_os_string().into_encoded_bytes(),
                    );
                } else {
                    files.insert(path.clone(), std::fs::read(&path).expect("readable"));
                }
            }
        }
        files
    }

    /// Runs `args`, expects status 2 and each of `said` on standard error, and that nothing was written anywhere.
    fn refuses(&self, args: &[&str], said: &[&str]) {
        let before = self.files();
        let output = self.twinboot(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
        for words in said {
            assert!(text.contains(words), "{args:?} does not say {words:?}: {text}");
        }
        let raw = text.chars().find(|letter| letter.is_control() && *letter != '\n');
        assert_eq!(raw, None, "a control character: {text:?}");
        assert_eq!(self.files(), before, "{args:?} wrote something");
    }
}

/// The line of `journal` that has the first `text`, from 1.
fn line_of(journal: &str, text: &str) -> usize {
    journal.lines().position(|line| line.contains(text)).expect("a line has it") + 1
}

#[test]
fn a_cell_id_that_leads_out_of_the_folder_is_refused() {
    let scene = Scene::new("");
    let absolute = scene.at("mine/deep").display().to_string();
    for id in ["../../mine/deep", "..", ".", "", absolute.as_str(), "a/b", "a\\u0000b", "a\\u001b[2J", "\\u202ea"] {
        let journal = JOURNAL.replace(CELL, id);
        std::fs::write(scene.at("foreign/journal.jsonl"), &journal).expect("writes");
        let line = format!("line {} ", line_of(&journal, id));
        for args in [&["merge", "foreign", "--out", "merged"][..], &["report", "foreign"]] {
            scene.refuses(args, &["foreign/journal.jsonl", &line, "cell id", "hint: "]);
        }
    }
}

/// Keys of a journal whose values become part of paths or of ids.
const NAMES: [&str; 9] = ["plan", "id", "base", "patched", "kernel", "variant", "guest", "test", "cell"];

/// Where such a value stands in `value`, as JSON pointers; patches and the host have keys of the same names.
fn names(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map.iter().filter(|(key, _)| !["patches", "host", "preflight"].contains(&key.as_str()))
            {
                let at = format!("{at}/{key}");
                match inner {
                    Value::String(_) if NAMES.contains(&key.as_str()) => found.push(at),
                    _ => names(inner, &at, found),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                names(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn every_name_of_a_journal_is_checked() {
    let scene = Scene::new("");
    let mut kinds = BTreeSet::new();
    for journal in [JOURNAL, include_str!("../data/forced.jsonl")] {
        for (number, line) in journal.lines().enumerate() {
            let value: Value = serde_json::from_str(line).expect("JSON");
            let mut found = Vec::new();
            names(&value, "", &mut found);
            for place in found {
                let kind = place.split(|c: char| c.is_ascii_digit()).collect::<String>();
                if !kinds.insert(format!("{}{kind}", value["event"])) {
                    continue;
                }
                let mut hostile = value.clone();
                *hostile.pointer_mut(&place).expect("is there") = "../../x".into();
                let lines: Vec<String> = journal
                    .lines()
                    .enumerate()
                    .map(|(at, line)| if at == number { hostile.to_string() } else { line.to_owned() } + "\n")
                    .collect();
                std::fs::write(scene.at("foreign/journal.jsonl"), lines.concat()).expect("writes");
                let line = format!("line {} ", number + 1);
                scene.refuses(&["report", "foreign"], &[&line, "\"../../x\"", "has '/' in it"]);
            }
        }
    }
    assert!(kinds.len() >= 20, "only {kinds:?} were tried");
}

#[test]
fn merge_reads_no_cell_through_a_link() {
    for (link, target) in [("foreign/cells", "mine"), ("foreign/cells/X", "mine/deep")] {
        let scene = Scene::new(JOURNAL);
        let link = scene.at(&link.replace('X', CELL));
        std::fs::remove_dir_all(&link).expect("was there");
        if link.ends_with("cells") {
            std::fs::rename(scene.at("mine/deep"), scene.at("mine").join(CELL)).expect("renames");
        }
        symlink(scene.at(target), &link).expect("links");
        scene.refuses(&["merge", "foreign", "--out", "merged"], &["is not a folder", "hint: "]);
    }
}

#[test]
fn merge_copies_plain_files_alone() {
    let scene = Scene::new(JOURNAL);
    symlink(scene.at("mine/deep/console.log"), scene.at("foreign/cells").join(CELL).join("qemu.log")).expect("links");
    let output = scene.twinboot(&["merge", "foreign", "--out", "merged"]);
    let merged = scene.at("merged/cells").join(CELL);
    assert!(merged.join("console.log").is_file(), "{output:?}");
    assert!(merged.join("qemu.log").symlink_metadata().is_err(), "{output:?}");
}

#[test]
fn a_journal_that_is_no_file_is_refused() {
    let scene = Scene::new(JOURNAL);
    let journal = scene.at("foreign/journal.jsonl");
    std::fs::remove_file(&journal).expect("was there");
    nix::unistd::mkfifo(&journal, nix::sys::stat::Mode::S_IRWXU).expect("makes");
    for args in [&["merge", "foreign", "--out", "merged"][..], &["report", "foreign"]] {
        let output = scene.twinboot(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(!scene.at("merged").exists());
    }
}

#[test]
fn reports_replace_links_and_leave_what_is_behind_them() {
    let scene = Scene::new(JOURNAL);
    for name in ["summary.json", "report.html"] {
        symlink(scene.at("mine/deep/console.log"), scene.at("foreign").join(name)).expect("links");
    }
    scene.twinboot(&["report", "foreign"]);
    assert_eq!(std::fs::read(scene.at("mine/deep/console.log")).expect("is there"), b"mine");
    assert!(is_plain(&scene.at("foreign/summary.json")) && is_plain(&scene.at("foreign/report.html")));
}

fn is_plain(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
}

/// `twinboot … | head -n 1`, with head gone before the first write.
fn into_a_closed_pipe(scene: &Scene, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinboot"));
    command.args(args).current_dir(scene.dir.path()).stdin(Stdio::null()).stderr(Stdio::piped());
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(read);
    command.stdout(write).output().expect("twinboot starts")
}

#[test]
fn a_closed_pipe_ends_quietly() {
    use std::os::unix::process::ExitStatusExt as _;
    let scene = Scene::new(JOURNAL);
    let read = scene.twinboot(&["report", "foreign"]);
    let unread = into_a_closed_pipe(&scene, &["report", "foreign"]);
    assert_eq!(unread.status.code(), read.status.code(), "the verdict's code stays: {unread:?}");
    assert!(unread.stderr.is_empty(), "{unread:?}");
    let schema = into_a_closed_pipe(&scene, &["plan", "schema"]);
    assert_eq!(schema.status.signal(), Some(nix::libc::SIGPIPE), "{schema:?}");
    assert!(schema.stderr.is_empty(), "{schema:?}");
}

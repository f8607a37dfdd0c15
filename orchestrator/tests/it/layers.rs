//! The layering rules of docs/architecture.md. They are checked by reading the imports and paths of every source file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms of the orchestrator, and the rooms that each may name besides itself.
const ROOMS: &[(&str, &[&str])] = &[
    ("analysis", &["crash", "journal"]),
    ("build", &["cache", "causes", "journal", "nofollow", "plan", "process"]),
    ("cache", &["host", "printable"]),
    ("causes", &[]),
    (
        "cli",
        &[
            "analysis",
            "build",
            "cache",
            "causes",
            "crash",
            "interleave",
            "journal",
            "nofollow",
            "plan",
            "printable",
            "process",
            "report",
            "run",
            "simulation",
            "suggest",
            "vm",
        ],
    ),
    ("crash", &[]),
    ("diagram", &["suggest"]),
    ("host", &[]),
    ("interleave", &["build", "cache", "causes", "crash", "diagram", "journal", "plan", "suggest", "vm"]),
    ("journal", &["crash", "diagram", "nofollow"]),
    ("nofollow", &[]),
    ("plan", &["cache", "diagram", "journal", "printable", "suggest"]),
    ("printable", &[]),
    ("process", &["host"]),
    ("report", &["analysis", "build", "crash", "diagram", "journal", "plan", "printable", "run"]),
    (
        "run",
        &[
            "analysis",
            "build",
            "cache",
            "causes",
            "crash",
            "interleave",
            "journal",
            "nofollow",
            "plan",
            "process",
            "vm",
        ],
    ),
    ("simulation", &["analysis", "crash", "journal", "plan", "run"]),
    ("suggest", &[]),
    ("vm", &["build", "cache", "causes", "crash", "host", "journal", "nofollow", "plan", "process"]),
];

/// External crates, and the only files that may name them.
const CRATES: &[(&str, &[&str])] = &[
    ("qapi", &["orchestrator/src/vm/qmp.rs"]),
    ("ssh2", &["orchestrator/src/vm/ssh.rs"]),
    ("indicatif", &["orchestrator/src/report/progress.rs"]),
    ("serde_yaml", &["orchestrator/src/plan/yaml/mod.rs", "orchestrator/src/plan/yaml/loose.rs"]),
    ("clap", &["orchestrator/src/cli", "guest-tests/src"]),
    (
        "tokio",
        &[
            "kernel-debug/src/gdb",
            "orchestrator/src/build",
            "orchestrator/src/cache",
            "orchestrator/src/cli",
            "orchestrator/src/interleave",
            "orchestrator/src/process",
            "orchestrator/src/run",
            "orchestrator/src/vm",
        ],
    ),
];

/// Crates of the workspace, and what they must not name.
const MEMBERS: &[(&str, &[&str])] = &[
    ("guest-tests/src", &["tokio", "twinboot", "kernel_debug"]),
    ("kernel-debug/src", &["twinboot", "racer"]),
    ("protocol/src", &["twinboot", "kernel_debug", "racer", "tokio"]),
];

#[test]
fn every_room_names_only_the_rooms_below_it() {
    let house = House::read("orchestrator/src");
    let mut broken = Vec::new();
    for source in &house.sources {
        let Some(room) = source.room() else { continue };
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
            broken.push(format!("{}: `{room}` is no room that the rules know", source.path));
            continue;
        };
        for (line, path) in &source.paths {
            let Some(other) = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next()) else { continue };
            let is_room = ROOMS.iter().any(|(name, _)| *name == other);
            if is_room && other != room && !allowed.contains(&other) && !source.is_test_line(*line) {
                broken.push(format!("{}:{line}: `{room}` names `{path}`", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn external_crates_are_named_where_they_belong() {
    let mut broken = Vec::new();
    for root in ["orchestrator/src", "kernel-debug/src", "guest-tests/src", "protocol/src"] {
        for source in &House::read(root).sources {
            for (line, path) in &source.paths {
                let first = path.split("::").next().unwrap_or_default();
                let forbidden = MEMBERS.iter().any(|(place, names)| *place == root && names.contains(&first));
                let misplaced = CRATES
                    .iter()
                    .any(|(name, places)| *name == first && !places.iter().any(|place| source.path.starts_with(place)));
                if (forbidden || misplaced) && !source.is_test_line(*line) {
                    broken.push(format!("{}:{line}: names `{path}`", source.path));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Files whose circles are still to be taken apart. The list may only shrink.
const CIRCLES: &[&str] = &[
    "guest-tests/src/swap/operations.rs",
    "kernel-debug/src/gdb/actor.rs",
    "kernel-debug/src/symbols/dwarf.rs",
    "orchestrator/src/report/boot.rs",
    "orchestrator/src/report/html/forced.rs",
    "orchestrator/src/vm/death.rs",
];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for root in ["orchestrator/src", "kernel-debug/src", "guest-tests/src", "protocol/src"] {
        let house = House::read(root);
        let imports = house.imports();
        for circle in circles_of(&imports) {
            if !circle.iter().any(|file| CIRCLES.contains(&file.as_str())) {
                circles.push(circle.into_iter().collect::<Vec<_>>().join(" <-> "));
            }
        }
    }
    assert!(circles.is_empty(), "{} circles:\n{}", circles.len(), circles.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let edge = |from: &str, to: &[&str]| (from.to_owned(), to.iter().map(|to| (*to).to_owned()).collect());
    let graph = BTreeMap::from([edge("a", &["b"]), edge("b", &["c", "d"]), edge("c", &["a"]), edge("d", &[])]);
    let found: Vec<Vec<String>> = circles_of(&graph).into_iter().map(|circle| circle.into_iter().collect()).collect();
    assert_eq!(found, [["a", "b", "c"]]);
}

#[test]
fn paths_are_read_from_imports_and_code() {
    let text =
        "use crate::a::{self, b::{C, D as E}};\nfn f() { super::g::h(); }\n// crate::no\nlet s = \"crate::no\";\n";
    let paths: Vec<String> = paths(text).into_iter().map(|(_, path)| path).collect();
    assert_eq!(paths, ["crate::a", "crate::a::b::C", "crate::a::b::D", "super::g::h"]);
}

/// The sources below a folder.
struct House {
    sources: Vec<Source>,
}

/// A source file and the paths that it names.
struct Source {
    /// Path relative to the workspace.
    path: String,
    /// Modules from the crate's root down to this file.
    module: Vec<String>,
    /// Line, and path as it is written: `crate::plan::model::Plan`.
    paths: Vec<(usize, String)>,
    /// First line of the tests at its end; the number of lines plus one where it has none.
    tests: usize,
}

impl Source {
    fn room(&self) -> Option<&str> {
        self.module.first().map(String::as_str)
    }

    fn is_test_line(&self, line: usize) -> bool {
        line >= self.tests || self.module.iter().any(|name| name == "tests" || name.ends_with("_tests"))
    }
}

impl House {
    fn read(place: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf();
        let sources = files(&root.join(place)).into_iter().map(|file| {
            let text = fs::read_to_string(&file).expect("a readable source");
            let below = file.strip_prefix(root.join(place)).expect("below the root").with_extension("");
            let mut module: Vec<String> = below.iter().map(|part| part.to_str().expect("UTF-8").to_owned()).collect();
            if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
                module.pop();
            }
            Source {
                path: file.strip_prefix(&root).expect("below the workspace").display().to_string(),
                module,
                paths: paths(&text),
                tests: text.lines().position(|line| line.trim() == "#[cfg(test)]").map_or(usize::MAX, |at| at + 1),
            }
        });
        let sources: Vec<Source> = sources.collect();
        assert!(!sources.is_empty(), "{place} has no sources: mend the rule");
        Self { sources }
    }

    /// Which file names which, tests left out. A path leads to the deepest module file that it passes through. A module's
    /// own children may name it and it may name them: that is one subject in several files.
    fn imports(&self) -> BTreeMap<String, BTreeSet<String>> {
        let by_module: BTreeMap<&[String], &Source> =
            self.sources.iter().map(|source| (source.module.as_slice(), source)).collect();
        let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for source in &self.sources {
            let edges = graph.entry(source.path.clone()).or_default();
            for (line, path) in &source.paths {
                if source.is_test_line(*line) {
                    continue;
                }
                let Some(target) = absolute(&source.module, path) else { continue };
                let found = (1..=target.len()).rev().find_map(|depth| by_module.get(&target[..depth]));
                let Some(found) = found else { continue };
                let family = found.module.starts_with(&source.module) || source.module.starts_with(&found.module);
                if found.path != source.path && !family {
                    edges.insert(found.path.clone());
                }
            }
        }
        graph
    }
}

/// The modules of a path that is written in `module`; none for a path into another crate.
fn absolute(module: &[String], path: &str) -> Option<Vec<String>> {
    let mut parts = path.split("::").peekable();
    let mut base = match *parts.peek()? {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        _ => return None,
    };
    parts.next();
    while parts.next_if_eq(&"super").is_some() {
        base.pop()?;
    }
    base.extend(parts.map(str::to_owned));
    Some(base)
}

/// Sets of nodes that reach each other, with more than one member, in order of their first member.
fn circles_of(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<BTreeSet<String>> {
    let reach = |from: &String| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(node) = left.pop() {
            for next in graph.get(&node).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    left.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = graph.keys().map(|node| (node, reach(node))).collect();
    let mut found: Vec<BTreeSet<String>> = Vec::new();
    for (node, targets) in &reached {
        if !targets.contains(*node) || found.iter().any(|circle| circle.contains(*node)) {
            continue;
        }
        let back = targets.iter().filter(|target| reached.get(target).is_some_and(|it| it.contains(*node)));
        found.push(back.cloned().collect());
    }
    found
}

/// Every path of `text` with `::` in it, with its line from 1; groups of an import are taken apart. Comments and strings do
/// not count.
fn paths(text: &str) -> Vec<(usize, String)> {
    let code = without_comments_and_strings(text);
    let mut found = Vec::new();
    let bytes = code.as_bytes();
    let is_word = |at: usize| bytes.get(at).is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let mut at = 0;
    while at < bytes.len() {
        let starts = is_word(at) && (at == 0 || !is_word(at - 1)) && !code[..at].ends_with("::");
        if !starts {
            at += 1;
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let mut end = at;
        while is_word(end) || code[end..].starts_with("::") && is_word(end + 2) {
            end += if is_word(end) { 1 } else { 2 };
        }
        if code[end..].starts_with("::{") {
            let close = matching(&code, end + 2);
            for leaf in leaves(&code[end + 3..close]) {
                let whole =
                    if leaf == "self" { code[at..end].to_owned() } else { format!("{}::{leaf}", &code[at..end]) };
                found.push((line, whole));
            }
            at = close;
        } else {
            if code[at..end].contains("::") {
                found.push((line, code[at..end].to_owned()));
            }
            at = end.max(at + 1);
        }
    }
    found
}

/// The byte after the brace that closes the one at `open`.
fn matching(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, character) in code[open..].char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// The leaves of an import group, each with the path that leads to it.
fn leaves(group: &str) -> Vec<String> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0usize, 0);
    let group = format!("{group},");
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = group[start..at].trim();
                start = at + 1;
                match item.split_once("::{") {
                    Some((path, rest)) => {
                        let inner = leaves(rest.trim_end().trim_end_matches('}'));
                        found.extend(
                            inner
                                .into_iter()
                                .map(|leaf| if leaf == "self" { path.to_owned() } else { format!("{path}::{leaf}") }),
                        );
                    }
                    None if item.is_empty() => {}
                    None => found.push(item.split_whitespace().next().unwrap_or_default().to_owned()),
                }
            }
            _ => {}
        }
    }
    found
}

/// The same text with comments and the contents of strings blanked, line by line.
fn without_comments_and_strings(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_string = false;
    for line in text.lines() {
        let mut characters = line.chars().peekable();
        let mut escaped = false;
        while let Some(character) = characters.next() {
            if in_string {
                in_string = escaped || character != '"';
                escaped = !escaped && character == '\\';
                continue;
            }
            match character {
                '/' if characters.peek() == Some(&'/') => break,
                '"' => in_string = true,
                '\'' if characters.clone().nth(1) == Some('\'') => {
                    characters.nth(1);
                }
                '\'' if characters.clone().next() == Some('\\') => {
                    characters.nth(1);
                    characters.find(|&character| character == '\'');
                }
                _ => out.push(character),
            }
        }
        out.push('\n');
    }
    out
}

fn files(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![place.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

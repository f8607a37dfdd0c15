//! The layering rules of docs/architecture.md, held by reading the sources.

use std::fs;
use std::path::{Path, PathBuf};

/// (folder or file, what it may not name, except in these files)
const RULES: &[(&str, &[&str], &[&str])] = &[
    ("orchestrator/src/plan", &["tokio", "qapi", "ssh2", "crate::run", "crate::vm", "crate::report"], &[]),
    ("orchestrator/src/diagram", &["tokio", "qapi", "ssh2", "crate::run", "crate::vm"], &[]),
    ("orchestrator/src/journal", &["tokio", "qapi", "ssh2", "crate::run", "crate::vm", "crate::report"], &[]),
    ("orchestrator/src/analysis", &["tokio", "qapi", "ssh2", "crate::run", "crate::vm", "crate::report"], &[]),
    ("orchestrator/src/analysis/stats", &["crate::plan", "crate::journal"], &[]),
    ("orchestrator/src/build", &["crate::analysis", "crate::vm", "crate::run", "crate::report", "clap::"], &[]),
    ("orchestrator/src/report", &["tokio", "qapi", "ssh2", "crate::vm"], &[]),
    ("orchestrator/src/run", &["crate::report", "clap::", "indicatif", "crate::cli"], &[]),
    (
        "orchestrator/src/vm",
        &["crate::report", "crate::run", "crate::analysis", "clap::", "indicatif", "crate::cli"],
        &[],
    ),
    (
        "orchestrator/src/debugger",
        &["crate::report", "crate::run", "crate::vm", "clap::", "indicatif", "crate::cli"],
        &[],
    ),
    (
        "orchestrator/src/interleave",
        &["crate::report", "crate::run", "crate::analysis", "clap::", "indicatif", "crate::cli"],
        &[],
    ),
    ("orchestrator/src", &["qapi::"], &["vm/qmp.rs"]),
    ("orchestrator/src", &["ssh2::"], &["vm/ssh.rs"]),
    ("orchestrator/src", &["indicatif::"], &["report/progress.rs"]),
    ("orchestrator/src", &["serde_yaml::"], &["plan/yaml/mod.rs", "plan/yaml/loose.rs"]),
    ("guest-tests/src", &["tokio", "twinboot::"], &[]),
    ("protocol/src", &["twinboot::", "racer", "std::fs", "std::io", "std::net"], &[]),
];

#[test]
fn no_layer_names_what_it_must_not_know() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let mut broken = Vec::new();
    for (place, forbidden, except) in RULES {
        let files = sources(&root.join(place));
        assert!(!files.is_empty(), "{place} has no sources: mend the rule");
        for file in files {
            if except.iter().any(|exception| file.ends_with(exception)) {
                continue;
            }
            let text = fs::read_to_string(&file).expect("a readable source");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for word in forbidden.iter().filter(|word| names(code, word)) {
                    broken.push(format!("{}:{}: names {word}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Whether `code` names `word` as a path of its own, not as the tail of a longer name.
fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
    })
}

fn sources(place: &Path) -> Vec<PathBuf> {
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
    found
}

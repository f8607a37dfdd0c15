//! Source paths as a kernel developer writes them.

/// Joins and tidies a path from the debug information: `dir` may be relative to `base`, `name` to both.
pub(super) fn join(base: &str, dir: &str, name: &str) -> String {
    let whole = if name.starts_with('/') {
        name.to_owned()
    } else if dir.starts_with('/') {
        format!("{dir}/{name}")
    } else {
        format!("{base}/{dir}/{name}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let tidy = parts.join("/");
    if whole.starts_with('/') { format!("/{tidy}") } else { tidy }
}

/// The first of `roots` that the path is under is taken off.
pub(super) fn relative<'a>(path: &'a str, roots: &[String]) -> &'a str {
    roots
        .iter()
        .filter(|root| !root.is_empty())
        .find_map(|root| path.strip_prefix(root.as_str())?.strip_prefix('/'))
        .unwrap_or(path)
}

/// Whether `asked` names this file: all of its path, or its last components.
pub(super) fn names(asked: &str, path: &str) -> bool {
    let asked = asked.trim_start_matches("./");
    path.strip_suffix(asked).is_some_and(|before| before.is_empty() || before.ends_with('/') || asked.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{join, names, relative};

    #[test]
    fn builds_in_and_out_of_the_tree_give_the_same_names() {
        let roots = ["/src/linux".to_owned(), "/obj".to_owned()];
        for (base, dir, name) in [
            ("/src/linux", "", "mm/memory.c"),
            ("/obj", "/src/linux/mm", "memory.c"),
            ("/obj", "../src/linux/mm", "memory.c"),
            ("/obj", ".", "/src/linux/mm/memory.c"),
        ] {
            assert_eq!(relative(&join(base, dir, name), &roots), "mm/memory.c");
        }
        let generated = join("/obj", "./include/generated", "asm-offsets.h");
        assert_eq!(relative(&generated, &roots), "include/generated/asm-offsets.h");
        assert_eq!(relative("/src/linux-next/a.c", &roots), "/src/linux-next/a.c");
    }

    #[test]
    fn a_file_is_named_by_its_last_components() {
        assert!(names("memory.c", "mm/memory.c"));
        assert!(names("mm/memory.c", "mm/memory.c"));
        assert!(!names("memory.c", "drivers/xmemory.c"));
        assert!(!names("mm/memory.c", "memory.c"));
    }
}

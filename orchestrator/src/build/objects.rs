//! An object tree whose build was cut short.
//!
//! `make` removes the targets it is working on when it is asked to end, but not when it is killed: a half-written object
//! with an old command record beside it would then be taken for a good one. Kbuild writes `.x.o.cmd` after `x.o`
//! (scripts/Kbuild.include), so an object that is newer than its record was not finished.

use std::fs;
use std::path::Path;

use super::Error;

/// Final targets, always linked again after a repair.
const FINAL: [&str; 5] = ["vmlinux", "vmlinux.o", "vmlinux.a", "bzImage", "setup.bin"];

/// Removes every target that may be unfinished. Returns how many files went.
pub fn repair(obj: &Path) -> Result<usize, Error> {
    let mut removed = 0;
    let mut folders = vec![obj.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let entry = entry.map_err(Error::io("list", &folder))?;
            let path = entry.path();
            let metadata = path.symlink_metadata().map_err(Error::io("look at", &path))?;
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if metadata.is_file() && is_unfinished(&path, &name, &metadata) {
                fs::remove_file(&path).map_err(Error::io("remove", &path))?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn is_unfinished(path: &Path, name: &str, metadata: &fs::Metadata) -> bool {
    if FINAL.contains(&name) || name.starts_with(".tmp_vmlinux") {
        return true;
    }
    let end = path.extension().unwrap_or_default();
    if name.starts_with('.') && end == "cmd" {
        return !is_whole(path);
    }
    let record = path.with_file_name(format!(".{name}.cmd"));
    let made_by_compiler = ["o", "a", "s"].iter().any(|made| end == *made);
    match record.metadata().and_then(|record| record.modified()) {
        Ok(recorded) => metadata.modified().map_or(true, |made| made > recorded) || !is_whole(&record),
        Err(_) => made_by_compiler,
    }
}

/// A command record ends with a newline.
fn is_whole(record: &Path) -> bool {
    fs::read(record).is_ok_and(|bytes| bytes.ends_with(b"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime};

    #[test]
    fn only_what_may_be_unfinished_goes() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let mm = dir.path().join("mm");
        fs::create_dir(&mm).expect("makes");
        let now = SystemTime::now();
        let put = |name: &str, content: &str, age: u64| {
            fs::write(mm.join(name), content).expect("writes");
            let file = fs::File::options().append(true).open(mm.join(name)).expect("opens");
            file.set_modified(now - Duration::from_secs(age)).expect("sets the time");
        };
        put("done.o", "object", 10);
        put(".done.o.cmd", "cmd\n", 9);
        put("half.o", "obj", 1);
        put(".half.o.cmd", "cmd\n", 5);
        put("unrecorded.o", "obj", 1);
        put("cut.o", "object", 3);
        put(".cut.o.cmd", "cm", 2);
        put("header.h", "text", 1);
        put("vmlinux", "kernel", 1);
        assert_eq!(repair(dir.path()).expect("repairs"), 5);
        let mut left: Vec<_> =
            fs::read_dir(&mm).expect("lists").map(|entry| entry.expect("is there").file_name()).collect();
        left.sort();
        assert_eq!(left, [".done.o.cmd", ".half.o.cmd", "done.o", "header.h"]);
    }
}

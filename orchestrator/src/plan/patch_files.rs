//! What stands for several patches: a folder, a quilt `series` file, a pattern.

use std::path::{Path, PathBuf};

use super::conditions::matches_pattern;

/// Endings of patches in a folder.
const ENDINGS: [&str; 4] = ["patch", "diff", "mbox", "mbx"];

/// Why something that people write for a patch is none, and what to do.
pub fn refusal(name: &str) -> Option<(String, &'static str)> {
    if name == "-" {
        let hint = "save it in a file, or pipe it to `twinboot compare --patch -`";
        return Some(("a plan cannot take a patch from standard input".to_owned(), hint));
    }
    if ["http://", "https://", "ftp://"].iter().any(|scheme| name.starts_with(scheme)) {
        let hint = "a plan has to mean the same tomorrow: save it beside the plan with `b4 am` or `curl -o fix.patch`, \
                    and name that file";
        return Some((format!("patches are not fetched, and '{name}' is an address"), hint));
    }
    None
}

/// The files that `path` stands for, in the order they are applied; none where it is a single file or nothing. A folder
/// with a `series` file is a quilt series.
///
/// # Errors
///
/// What is wrong with a folder or a series.
pub fn expand(path: &Path) -> Result<Option<Vec<PathBuf>>, String> {
    if path.is_dir() {
        let series = path.join("series");
        return if series.is_file() { quilt(&series) } else { folder(path) }.map(Some);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if path.is_file() {
        return if name == "series" { quilt(path).map(Some) } else { Ok(None) };
    }
    if !name.contains(['*', '?']) {
        return Ok(None);
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    let files: Vec<PathBuf> =
        listed(parent)?.into_iter().filter(|file| matches_pattern(&name, &file_name(file))).collect();
    if files.is_empty() {
        return Err(format!("no file in {} matches '{name}'", parent.display()));
    }
    Ok(Some(without_cover(files)))
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let is_patch = |file: &PathBuf| {
        let ending = file.extension().map(|ending| ending.to_string_lossy().into_owned());
        ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
    };
    let files: Vec<PathBuf> = listed(path)?.into_iter().filter(is_patch).collect();
    if files.is_empty() {
        let endings = ENDINGS.map(|ending| format!("*.{ending}")).join(", ");
        return Err(format!("the folder {} has no patches ({endings}) and no quilt `series`", path.display()));
    }
    Ok(without_cover(files))
}

/// `git format-patch` writes the cover letter beside the patches, and it holds no diff.
fn without_cover(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let is_cover = |file: &PathBuf| file_name(file).ends_with("0000-cover-letter.patch");
    if files.iter().all(is_cover) { files } else { files.into_iter().filter(|file| !is_cover(file)).collect() }
}

fn file_name(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The files in a folder by name, so that `0001-…` comes first.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        let mut files =
            std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
        files.retain(|file| file.is_file());
        files.sort();
        Ok(files)
    };
    list().map_err(|error| format!("cannot list the folder {}: {error}", folder.display()))
}

/// The patches that a quilt series names (quilt(1)): one a line, `#` begins a comment, an option such as `-p1` may follow.
fn quilt(series: &Path) -> Result<Vec<PathBuf>, String> {
    let text = std::fs::read_to_string(series).map_err(|error| format!("cannot read {}: {error}", series.display()))?;
    let folder = series.parent().unwrap_or(Path::new("."));
    let mut files = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let at = || format!("{} line {}", series.display(), index + 1);
        let code = if line.trim_start().starts_with('#') { "" } else { line.split(" #").next().unwrap_or(line) };
        let mut words = code.split_whitespace();
        let Some(name) = words.next() else { continue };
        match words.next() {
            None | Some("-p1" | "-pab") => {}
            Some(option) => {
                return Err(format!("{}: '{name}' is applied with {option}, and only -p1 is supported", at()));
            }
        }
        let file = folder.join(name);
        if !file.is_file() {
            return Err(format!("{}: there is no patch {name} beside it", at()));
        }
        files.push(file);
    }
    if files.is_empty() {
        return Err(format!("the quilt series {} names no patch", series.display()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: Option<Vec<PathBuf>>) -> Vec<String> {
        files.expect("several").iter().map(|file| file_name(file)).collect()
    }

    #[test]
    fn a_folder_a_series_and_a_pattern_stand_for_their_patches() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for name in ["0000-cover-letter.patch", "0002-b.patch", "0001-a.patch", "note.txt"] {
            std::fs::write(dir.path().join(name), "").expect("writes");
        }
        assert_eq!(names(expand(dir.path()).expect("lists")), ["0001-a.patch", "0002-b.patch"]);
        assert_eq!(names(expand(&dir.path().join("0002*")).expect("lists")), ["0002-b.patch"]);
        assert_eq!(expand(&dir.path().join("0001-a.patch")).expect("is there"), None);
        assert_eq!(expand(&dir.path().join("nothing.patch")).expect("is no error here"), None);
        let series = dir.path().join("series");
        std::fs::write(&series, "# order\n\n0002-b.patch -p1\n0001-a.patch # last\n").expect("writes");
        for path in [&series, dir.path()] {
            assert_eq!(names(expand(path).expect("reads")), ["0002-b.patch", "0001-a.patch"]);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        assert!(expand(dir.path()).expect_err("is empty").contains("has no patches"));
        assert!(expand(&dir.path().join("*.patch")).expect_err("is empty").contains("matches '*.patch'"));
        let series = dir.path().join("series");
        for (text, words) in [("a.patch\n", "line 1: there is no patch a.patch"), ("# none\n", "names no patch")] {
            std::fs::write(&series, text).expect("writes");
            assert!(expand(&series).expect_err("is wrong").contains(words), "{text}");
        }
        std::fs::write(dir.path().join("a.patch"), "").expect("writes");
        std::fs::write(&series, "a.patch -p0\n").expect("writes");
        assert!(expand(&series).expect_err("is wrong").contains("-p0"));
        assert!(refusal("-").is_some() && refusal("https://example.org/raw").is_some() && refusal("a.patch").is_none());
    }
}

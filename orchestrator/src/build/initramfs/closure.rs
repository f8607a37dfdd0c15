//! Which files a program needs beside it to run, and where the guest's dynamic loader will look for them.
//!
//! The search follows ld.so(8): `DT_RPATH` of the object and of those that brought it in (unless it has a
//! `DT_RUNPATH`), its `DT_RUNPATH`, the cache, the built-in folders. A library is placed where the search of the *guest*
//! finds it: at the path that was looked up, with links followed for its content only, and `$ORIGIN` standing for the
//! folder the object has in the guest.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use super::Error;
use super::elf::{self, Elf, Machine};
use super::host::Contents;
use super::libraries::Libraries;

/// Something the guest needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Need {
    /// The host's file `from`, at `to`.
    File {
        /// Path on the host.
        from: PathBuf,
        /// Absolute path in the guest.
        to: PathBuf,
    },
    /// A link at `at`, since the guest has no `ld.so.cache`.
    Link {
        /// Absolute path in the guest.
        at: PathBuf,
        /// Absolute path in the guest.
        to: PathBuf,
    },
}

/// A folder to search: on the host, and the same one in the guest.
#[derive(Debug, Clone)]
struct Folder {
    host: PathBuf,
    guest: PathBuf,
}

/// An object that is loaded.
struct Loaded {
    host: PathBuf,
    needed: Vec<String>,
    rpath: Vec<Folder>,
    runpath: Option<Vec<Folder>>,
    /// Index of the object that brought it in.
    loader: Option<usize>,
}

/// A library and how it was found.
struct Found {
    host: PathBuf,
    guest: PathBuf,
    elf: Elf,
    by_cache: bool,
}

/// What the ELF file `host` needs when it stands at `guest`: its loader and, transitively, its libraries. Empty for a
/// static program.
pub(super) fn closure(
    host: &Path,
    guest: &Path,
    libraries: &Libraries,
    contents: &mut Contents,
) -> Result<Vec<Need>, Error> {
    let program = read(host, contents)?;
    if program.machine != Machine::HOST {
        return Err(Error::WrongArchitecture {
            path: host.to_path_buf(),
            found: program.machine.to_string(),
            wanted: Machine::HOST.to_string(),
        });
    }
    let mut needs = Vec::new();
    let mut seen = HashSet::new();
    if let Some(interpreter) = &program.interpreter {
        let path = PathBuf::from(interpreter);
        if !path.is_file() {
            return Err(Error::MissingInterpreter { program: host.to_path_buf(), interpreter: interpreter.clone() });
        }
        // libc names the loader among its libraries; it is there already.
        seen.extend(path.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        needs.push(Need::File { from: path.clone(), to: path });
    }
    // The loader reads $ORIGIN of a program from /proc/self/exe, where links are followed.
    let real = host.canonicalize().unwrap_or_else(|_| host.to_path_buf());
    let mut loaded = vec![Loaded::new(host, &real, guest, program, None)];
    let (mut libc_folder, mut by_cache) = (None, Vec::new());
    let mut index = 0;
    while index < loaded.len() {
        for name in std::mem::take(&mut loaded[index].needed) {
            if !seen.insert(name.clone()) {
                continue;
            }
            let found = find(&name, &loaded, index, libraries, contents)?;
            if name.starts_with("libc.") {
                libc_folder = found.guest.parent().map(Path::to_path_buf);
            }
            if found.by_cache {
                by_cache.push((name, found.guest.clone()));
            }
            needs.push(Need::File { from: found.host.clone(), to: found.guest.clone() });
            loaded.push(Loaded::new(&found.host, &found.host, &found.guest, found.elf, Some(index)));
        }
        index += 1;
    }
    // The folder of libc is one that the loader searches without a cache.
    let libc_folder = libc_folder.unwrap_or_else(|| PathBuf::from("/lib"));
    for (name, to) in by_cache {
        let at = libc_folder.join(name);
        if at != to {
            needs.push(Need::Link { at, to });
        }
    }
    Ok(needs)
}

impl Loaded {
    fn new(host: &Path, real: &Path, guest: &Path, elf: Elf, loader: Option<usize>) -> Self {
        let folders = |entries: Vec<String>| entries.iter().map(|entry| expand(entry, real, guest)).collect();
        Self {
            host: host.to_path_buf(),
            needed: elf.needed,
            rpath: folders(elf.rpath),
            runpath: elf.runpath.map(folders),
            loader,
        }
    }
}

/// An `RPATH` entry with `$ORIGIN` filled in for both sides.
fn expand(entry: &str, host: &Path, guest: &Path) -> Folder {
    let side = |object: &Path| {
        let origin = object.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
        normal(Path::new(&entry.replace("${ORIGIN}", &origin).replace("$ORIGIN", &origin)))
    };
    Folder { host: side(host), guest: side(guest) }
}

/// Takes `.` and `..` out; in the guest no folder on the way is a link.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            _ => clean.push(part),
        }
    }
    clean
}

fn read(path: &Path, contents: &mut Contents) -> Result<Elf, Error> {
    let parsed = elf::parse(&contents.get(path)?);
    let parsed = parsed.map_err(|source| Error::Elf { path: path.to_path_buf(), source })?;
    parsed.ok_or_else(|| Error::NotAProgram { path: path.to_path_buf() })
}

fn find(
    name: &str,
    loaded: &[Loaded],
    needed_by: usize,
    libraries: &Libraries,
    contents: &mut Contents,
) -> Result<Found, Error> {
    let same = |path: PathBuf| Folder { host: path.clone(), guest: path };
    let cached = libraries.cached.get(name).into_iter().flatten().map(|path| (same(path.clone()), true));
    let candidates: Vec<(Folder, bool)> = if name.contains('/') {
        vec![(same(PathBuf::from(name)), false)]
    } else {
        let joined = |folder: &Folder| (Folder { host: folder.host.join(name), guest: folder.guest.join(name) }, false);
        let plain = libraries.folders.iter().map(|folder| (same(folder.join(name)), false));
        run_paths(loaded, needed_by).map(joined).chain(cached).chain(plain).collect()
    };
    let mut looked_in = Vec::new();
    for (path, by_cache) in candidates {
        if !path.host.is_absolute() || !path.host.is_file() {
            looked_in.push(path.host.display().to_string());
            continue;
        }
        let elf = read(&path.host, contents)?;
        if elf.machine == Machine::HOST {
            return Ok(Found { host: path.host, guest: path.guest, elf, by_cache });
        }
        // The loader passes over libraries for other machines, too.
        looked_in.push(format!("{} (there, but for {})", path.host.display(), elf.machine));
    }
    if !libraries.cached.contains_key(name) && !name.contains('/') {
        looked_in.push(format!("{} (not listed)", libraries.cache_path.display()));
    }
    Err(Error::MissingLibrary {
        library: name.to_owned(),
        needed_by: loaded[needed_by].host.clone(),
        program: loaded[0].host.clone(),
        looked_in,
    })
}

/// The folders that the objects themselves name, in the loader's order.
fn run_paths(loaded: &[Loaded], needed_by: usize) -> impl Iterator<Item = &Folder> {
    let object = &loaded[needed_by];
    let chain = std::iter::successors(Some(object), |object| object.loader.map(|index| &loaded[index]));
    let ignored = object.runpath.is_some();
    let inherited = chain.filter(move |link| !ignored && link.runpath.is_none()).flat_map(|link| &link.rpath);
    inherited.chain(object.runpath.iter().flatten())
}

#[cfg(test)]
#[path = "closure_tests.rs"]
mod tests;

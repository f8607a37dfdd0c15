//! Where the host's dynamic loader looks for a library that no `RPATH` names: `ld.so.cache`, then its own folders.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::elf::Machine;

/// First bytes of the cache since glibc 2.2 (`CACHEMAGIC_NEW` and `CACHE_VERSION`, sysdeps/generic/dl-cache.h).
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";

/// Size of the cache's header, and of each entry behind it.
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// The loader's knowledge.
#[derive(Debug, Clone, Default)]
pub(super) struct Libraries {
    /// The cache file, for messages.
    pub(super) cache_path: PathBuf,
    /// Paths by library name, best first.
    pub(super) cached: HashMap<String, Vec<PathBuf>>,
    /// Folders searched last.
    pub(super) folders: Vec<PathBuf>,
}

impl Libraries {
    /// What the loader of this machine knows. A missing cache (musl, minimal containers) is no error.
    pub(super) fn of_this_machine() -> Self {
        let cache_path = PathBuf::from("/etc/ld.so.cache");
        let cached = std::fs::read(&cache_path).ok().and_then(|bytes| parse_cache(&bytes)).unwrap_or_default();
        Self { cache_path, cached, folders: default_folders(Machine::HOST) }
    }
}

/// Folders that loaders have built in: Debian's multiarch ones, the 64-bit ones of other distributions, the plain ones.
fn default_folders(machine: Machine) -> Vec<PathBuf> {
    let multiarch = match machine.number {
        object::elf::EM_X86_64 => "x86_64-linux-gnu",
        object::elf::EM_AARCH64 => "aarch64-linux-gnu",
        _ => "riscv64-linux-gnu",
    };
    let folder = |path: &str| PathBuf::from(path);
    vec![
        Path::new("/lib").join(multiarch),
        Path::new("/usr/lib").join(multiarch),
        folder("/lib64"),
        folder("/usr/lib64"),
        folder("/lib"),
        folder("/usr/lib"),
        folder("/usr/local/lib"),
    ]
}

/// Reads `ld.so.cache`; `None` when it is not one. Entries for particular processors are left out, as the guest's is
/// another one and every library has a plain variant.
fn parse_cache(bytes: &[u8]) -> Option<HashMap<String, Vec<PathBuf>>> {
    // Before glibc 2.32 an older table stands in front; string offsets count from the newer header.
    let start = bytes.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let bytes = &bytes[start..];
    let number = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let string = |at: u32| {
        let text = bytes.get(usize::try_from(at).ok()?..)?;
        std::str::from_utf8(text.split(|byte| *byte == 0).next()?).ok()
    };
    let count = usize::try_from(number(MAGIC.len())?).ok()?;
    let mut cached: HashMap<String, Vec<PathBuf>> = HashMap::new();
    for index in 0..count {
        let at = HEADER + index * ENTRY;
        let (name, path) = (string(number(at + 4)?)?, string(number(at + 8)?)?);
        let for_some_processors = number(at + 16)? != 0 || number(at + 20)? != 0 || path.contains("/glibc-hwcaps/");
        if !for_some_processors {
            cached.entry(name.to_owned()).or_default().push(PathBuf::from(path));
        }
    }
    Some(cached)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache file with the given (name, path, hwcap) entries, as ldconfig lays it out.
    fn cache_file(entries: &[(&str, &str, u64)]) -> Vec<u8> {
        let mut table = Vec::new();
        let mut strings = Vec::new();
        let base = HEADER + entries.len() * ENTRY;
        for (name, path, hwcap) in entries {
            let mut place = |text: &str| {
                let at = u32::try_from(base + strings.len()).expect("small");
                strings.extend_from_slice(text.as_bytes());
                strings.push(0);
                at
            };
            let (name, path) = (place(name), place(path));
            for word in [0x0303, name, path, 0] {
                table.extend_from_slice(&word.to_ne_bytes());
            }
            table.extend_from_slice(&hwcap.to_ne_bytes());
        }
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&u32::try_from(entries.len()).expect("small").to_ne_bytes());
        file.resize(HEADER, 0);
        file.extend(table);
        file.extend(strings);
        file
    }

    #[test]
    fn the_cache_lists_plain_variants_in_order() {
        let file = cache_file(&[
            ("libx.so.1", "/lib/glibc-hwcaps/x86-64-v3/libx.so.1", 1 << 62),
            ("libx.so.1", "/lib/a/libx.so.1", 0),
            ("libx.so.1", "/lib32/libx.so.1", 0),
        ]);
        let cached = parse_cache(&file).expect("a cache");
        assert_eq!(cached["libx.so.1"], [PathBuf::from("/lib/a/libx.so.1"), PathBuf::from("/lib32/libx.so.1")]);
        let behind_an_old_table = [b"ld.so-1.7.0".as_slice(), &[0; 37], &file].concat();
        assert_eq!(parse_cache(&behind_an_old_table), Some(cached));
    }

    #[test]
    fn a_damaged_cache_is_no_cache() {
        assert_eq!(parse_cache(b"something else"), None);
        let file = cache_file(&[("libx.so.1", "/lib/a/libx.so.1", 0)]);
        for end in 0..HEADER + ENTRY {
            assert_eq!(parse_cache(&file[..end]), None, "cut at {end}");
        }
    }
}

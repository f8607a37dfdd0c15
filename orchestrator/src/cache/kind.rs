//! The kinds of entries that a cache holds, and the only names that twinboot ever gives to what is in it.

use std::ffi::OsStr;

/// Hex digits of a key.
const KEY_DIGITS: usize = 32;

/// What the name of an entry in the making begins with; the key and a random part follow.
pub(super) const MAKING: &str = ".making-";

/// Names and extension of the answers that are kept as single files.
const ACCEL: (&str, &str) = ("accel-", ".json");

/// A kind of cache entries: a folder below the root, with one entry for each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// What apt answered to a question.
    Apt,
    /// Private roots for apt: settings and package lists of a suite.
    AptRoots,
    /// How a patch goes onto a source.
    Backports,
    /// Mirrors of git repositories.
    Git,
    /// What was found out about this host, a file for each answer.
    Host,
    /// Initramfs archives.
    Images,
    /// Built kernels.
    Kernels,
    /// Saved guests.
    Snapshots,
    /// Downloaded archives and packages.
    Sources,
    /// Source files as a variant has them.
    Text,
    /// Work trees: sources and objects.
    Work,
}

/// What a name in the folder of a kind stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// The entry with this key.
    Entry(String),
    /// An entry with this key that is being made, or was when its maker ended.
    Making(String),
    /// A file that an interrupted replacement of a single-file entry leaves.
    Replacing,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Apt,
        Self::AptRoots,
        Self::Backports,
        Self::Git,
        Self::Host,
        Self::Images,
        Self::Kernels,
        Self::Snapshots,
        Self::Sources,
        Self::Text,
        Self::Work,
    ];

    /// Name of its folder.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::AptRoots => "apt-roots",
            Self::Backports => "backports",
            Self::Git => "git",
            Self::Host => "host",
            Self::Images => "image",
            Self::Kernels => "kernels",
            Self::Snapshots => "snapshots",
            Self::Sources => "sources",
            Self::Text => "text",
            Self::Work => "work",
        }
    }

    /// Name of the entry with this key.
    pub fn entry(self, key: &str) -> String {
        match self {
            Self::Host => format!("{}{key}{}", ACCEL.0, ACCEL.1),
            _ => key.to_owned(),
        }
    }

    /// The kind whose folder has this name.
    pub(super) fn of_folder(name: &OsStr) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.folder() == name)
    }

    /// What `name` in its folder is; none for a name that twinboot never gives.
    pub(super) fn parse(self, name: &OsStr) -> Option<Name> {
        let name = name.to_str()?;
        if self == Self::Host {
            let key = name.strip_prefix(ACCEL.0).and_then(|rest| rest.strip_suffix(ACCEL.1));
            return match key {
                Some(key) => is_key(key).then(|| Name::Entry(key.to_owned())),
                None => name.strip_prefix(".tmp").is_some_and(is_random).then_some(Name::Replacing),
            };
        }
        if is_key(name) {
            return Some(Name::Entry(name.to_owned()));
        }
        let (key, random) = name.strip_prefix(MAKING)?.split_once('-')?;
        (is_key(key) && is_random(random)).then(|| Name::Making(key.to_owned()))
    }

    /// Its entries are single files.
    pub(super) fn is_files(self) -> bool {
        self == Self::Host
    }

    /// Its entries are never changed once they are there, and have a manifest. Those of the others are work in progress, or
    /// know by themselves when they are damaged.
    pub(super) fn is_sealed(self) -> bool {
        match self {
            Self::Backports | Self::Images | Self::Kernels | Self::Snapshots | Self::Sources | Self::Text => true,
            Self::Apt | Self::AptRoots | Self::Git | Self::Host | Self::Work => false,
        }
    }

    /// Name of the lock on the entry with this key.
    pub(super) fn lock(self, key: &str) -> String {
        format!("{}-{key}", self.folder())
    }
}

/// A name that a lock file may have.
pub(super) fn is_lock(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let name = name.strip_suffix(".use").unwrap_or(name);
    // Older twinboots locked an answer about the host by its file name while they pruned it.
    let name = name.strip_suffix(ACCEL.1).unwrap_or(name).replacen("host-accel-", "host-", 1);
    name.rsplit_once('-').is_some_and(|(kind, key)| Kind::of_folder(OsStr::new(kind)).is_some() && is_key(key))
}

/// 32 lowercase hex digits, as [`super::Key`] gives them.
pub(super) fn is_key(text: &str) -> bool {
    text.len() == KEY_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The random part of a temporary name.
fn is_random(text: &str) -> bool {
    !text.is_empty() && text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn only_strict_names_are_taken_for_entries() {
        let parse = |kind: Kind, name: &str| kind.parse(OsStr::new(name));
        let making = format!(".making-{KEY}-aB3xY9");
        assert_eq!(parse(Kind::Work, KEY), Some(Name::Entry(KEY.to_owned())));
        assert_eq!(parse(Kind::Work, &making), Some(Name::Making(KEY.to_owned())));
        assert_eq!(parse(Kind::Host, &format!("accel-{KEY}.json")), Some(Name::Entry(KEY.to_owned())));
        assert_eq!(parse(Kind::Host, ".tmpaB3xY9"), Some(Name::Replacing));
        for name in [
            "notes",
            "",
            &KEY[1..],
            &KEY.to_uppercase(),
            &format!("{KEY}0"),
            &format!("{KEY}.bak"),
            ".making-notes-abc",
            ".making-",
            &format!(".making-{KEY}"),
            &format!(".making-{KEY}-a/b"),
        ] {
            assert_eq!(parse(Kind::Work, name), None, "{name}");
            assert_eq!(parse(Kind::Host, name), None, "{name}");
        }
    }

    #[test]
    fn every_lock_is_known_and_nothing_else() {
        for kind in Kind::ALL {
            assert!(is_lock(OsStr::new(&kind.lock(KEY))) && is_lock(OsStr::new(&format!("{}.use", kind.lock(KEY)))));
            assert_eq!(Kind::of_folder(OsStr::new(kind.folder())), Some(kind));
        }
        assert!(is_lock(OsStr::new(&format!("host-accel-{KEY}.json.use"))));
        for name in ["kernels", KEY, "notes-0123456789abcdef0123456789abcdef", "kernels-x.use", ".use"] {
            assert!(!is_lock(OsStr::new(name)), "{name}");
        }
    }
}

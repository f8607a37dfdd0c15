//! Whether an entry is whole, and what makes it so.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::kind::Kind;
use super::manifest::{self, Manifest, Place};
use super::{Cache, Key, digest};

/// How an entry is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Missing,
    Whole,
    /// In what way: the rest of a sentence about it.
    Damaged(String),
}

impl Cache {
    /// Looks at an entry; what was made by an older twinboot is taken over where its content can be verified.
    pub(super) async fn look(&self, kind: Kind, key: &str) -> State {
        let (dir, key) = (self.path(kind, key), key.to_owned());
        let looked = tokio::task::spawn_blocking(move || look(kind, &key, &dir));
        looked.await.unwrap_or_else(|error| State::Damaged(format!("cannot be read: {error}")))
    }
}

fn look(kind: Kind, key: &str, dir: &Path) -> State {
    match dir.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return State::Damaged("is no folder".to_owned()),
        Err(_) => return State::Missing,
    }
    if !kind.is_sealed() {
        return State::Whole;
    }
    let file = manifest::in_entry(dir);
    let place = Place { dir, file: &file, each_boot: true };
    match Manifest::read(place) {
        Ok(Some(manifest)) => match manifest.verify(place, |_| false) {
            Ok(()) => State::Whole,
            Err(reason) => State::Damaged(format!("is damaged ({reason})")),
        },
        Ok(None) if is_what_its_key_says(kind, key, dir) => {
            // Best effort: without the manifest the next use looks at the content once more.
            let _ = Manifest::of(dir, true).and_then(|manifest| manifest.write(&file));
            State::Whole
        }
        Ok(None) => State::Damaged("was made by an older twinboot and cannot be verified".to_owned()),
        Err(reason) => State::Damaged(format!("is damaged ({reason})")),
    }
}

/// The entry's one file is what its key was made from: a download by its SHA-256, an image by its bytes.
fn is_what_its_key_says(kind: Kind, key: &str, dir: &Path) -> bool {
    let mut files = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let (Some(only), None) = (files.next(), files.next()) else { return false };
    if !only.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    match kind {
        Kind::Sources => {
            let found = File::open(only).and_then(|mut file| digest(&mut file));
            found.is_ok_and(|(_, sha256)| sha256.starts_with(key))
        }
        Kind::Images => fs::read(only).is_ok_and(|bytes| Key::new().part("newc", bytes).finish() == key),
        _ => false,
    }
}

/// Has everything in the new entry `dir` on the disk, with a manifest where the kind has one.
pub(super) async fn finish(kind: Kind, dir: PathBuf) -> io::Result<()> {
    let finished = tokio::task::spawn_blocking(move || {
        let manifest = Manifest::of(&dir, true)?;
        if kind.is_sealed() { manifest.write(&manifest::in_entry(&dir)) } else { Ok(()) }
    });
    finished.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

//! Names in a journal. A journal may come from anybody, and cell ids become folders, so names are checked where they are
//! read and nowhere assumed.

use std::path::{Path, PathBuf};

use serde::de::{Deserialize as _, Deserializer, Error as _};

/// Folder of a results folder that holds a folder for each cell.
pub const CELLS: &str = "cells";

/// Longest name of a file in bytes (`NAME_MAX` of `linux/limits.h`).
const LENGTH_MAX: usize = 255;

/// Longest part of a bad name that an error repeats, in characters.
const SHOWN: usize = 80;

/// A name that no twinboot gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {what} {name} {wrong}: no twinboot writes such a name, so this journal was damaged or made by hand; do not use it"
)]
pub struct BadName {
    /// `cell id`, `kernel name`…
    what: &'static str,
    /// The name in quotes, cut and with control characters escaped.
    name: String,
    wrong: String,
}

/// The id of a cell, known to be one plain file name: the only thing that a cell's folder is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellId<'a>(&'a str);

impl<'a> CellId<'a> {
    /// Checks `id`.
    pub fn new(id: &'a str) -> Result<Self, BadName> {
        check("cell id", id)?;
        Ok(Self(id))
    }

    /// The cell's folder within the folder [`CELLS`] of `results`.
    pub fn folder(self, results: &Path) -> PathBuf {
        results.join(CELLS).join(self.0)
    }
}

/// A name is one plain file name that begins with a letter or a digit or, as names of guest shapes may, with one of
/// `._+-`, without being a link to a folder.
fn check(what: &'static str, name: &str) -> Result<(), BadName> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let wrong = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > LENGTH_MAX {
        format!("is {} bytes long, at most {LENGTH_MAX} are allowed", name.len())
    } else if let Some(wrong) = name.chars().find(|c| !legal(*c)) {
        format!("has {wrong:?} in it")
    } else if matches!(name, "." | "..") {
        "is a folder of every folder".to_owned()
    } else {
        return Ok(());
    };
    let shown = name.chars().take(SHOWN).collect::<String>();
    Err(BadName { what, name: format!("{shown:?}"), wrong })
}

/// For `#[serde(deserialize_with)]`: a name, refused unless it is one plain file name. `$what` says what it names.
macro_rules! names {
    ($($read:ident: $what:literal),+ $(,)?) => {$(
        #[doc = concat!("Reads a ", $what, ".")]
        pub(super) fn $read<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
            let name = String::deserialize(from)?;
            check($what, &name).map_err(D::Error::custom)?;
            Ok(name)
        }
    )+};
}

names! {
    cell_id: "cell id",
    plan: "plan name",
    kernel: "kernel name",
    variant: "variant name",
    guest: "guest name",
    test: "test name",
    interleaving: "interleaving name",
}

/// Reads the name of the variant that another is held against.
pub(super) fn base<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    name.iter().try_for_each(|name| check("variant name", name)).map_err(D::Error::custom)?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_plans_are_taken_and_stay_within_the_results() {
        for id in ["linux-6.1.unpatched.anon-smp", "v6.1-rc1+x86.a.b.cpus4-zram64K", "a", "0.._"] {
            let folder = CellId::new(id).expect("a cell id").folder(Path::new("/results"));
            assert_eq!(folder.parent(), Some(Path::new("/results/cells")), "{id}");
        }
    }

    #[test]
    fn whatever_is_no_plain_file_name_is_refused() {
        let long = "x".repeat(256);
        for id in
            ["", ".", "..", "../x", "/etc", "a/b", "a\\b", "a b", "a\0", "a\n", "\u{1b}[2J", "é", "a\u{202e}b", &long]
        {
            let error = CellId::new(id).expect_err(id).to_string();
            assert!(!error.chars().any(|c| c.is_control() || c == '\u{202e}'), "{error:?}");
        }
    }
}

//! What an image is made from, as its YAML file says. Reading it touches nothing but that file.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, de};

use super::Error;
use crate::plan::yaml;

/// An image recipe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Process 1: a guest program by name, or a path.
    pub init: ProgramRef,
    /// Busybox and its applets: `true` for the host's own, or a path.
    #[serde(default, deserialize_with = "busybox")]
    pub busybox: Option<ProgramRef>,
    /// SSH server: `dropbear` for the host's own, or a path to one.
    #[serde(default)]
    pub ssh: Option<ProgramRef>,
    /// Further programs of the host, by name or path; each comes with its libraries and lands in `/usr/bin`.
    #[serde(default)]
    pub programs: Vec<ProgramRef>,
    /// Further files.
    #[serde(default)]
    pub files: Vec<File>,
    /// Further directories.
    #[serde(default)]
    pub directories: Vec<Directory>,
}

/// A program, by name or by path; a word with a `/` in it is a path, taken from the recipe's folder when relative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramRef {
    /// To be searched for.
    Named(String),
    /// At this place.
    At(PathBuf),
}

/// A file or a whole folder of the host, or a text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where it comes from; a folder is copied with everything in it.
    pub from: Option<PathBuf>,
    /// What it holds, instead of `from`.
    pub content: Option<String>,
    /// Absolute path in the guest.
    pub to: String,
    /// Permissions; 0755 for what is executable on the host and 0644 otherwise when absent.
    pub mode: Option<Mode>,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Absolute path in the guest.
    pub to: String,
    /// Permissions; 0755 when absent.
    pub mode: Option<Mode>,
}

/// Permission bits (chmod(2)), written in octal between quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode(pub u32);

impl Recipe {
    /// Reads a recipe from `text`, the content of `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Error> {
        let recipe: Self = yaml::parse(text, file)?;
        let wrong =
            |key: String, reason: &str| Error::Recipe { recipe: file.to_path_buf(), key, reason: reason.to_owned() };
        for (index, entry) in recipe.files.iter().enumerate() {
            match (&entry.from, &entry.content) {
                (Some(_), None) | (None, Some(_)) => {}
                (Some(_), Some(_)) => {
                    return Err(wrong(format!("files[{index}]"), "has both `from` and `content`; keep one of them"));
                }
                (None, None) => {
                    return Err(wrong(
                        format!("files[{index}]"),
                        "has neither `from` nor `content`; say what the file holds",
                    ));
                }
            }
            if !entry.to.starts_with('/') {
                return Err(wrong(format!("files[{index}].to"), "must be an absolute path in the guest"));
            }
        }
        for (index, entry) in recipe.directories.iter().enumerate() {
            if !entry.to.starts_with('/') {
                return Err(wrong(format!("directories[{index}].to"), "must be an absolute path in the guest"));
            }
        }
        if let Some(ProgramRef::Named(name)) = &recipe.ssh
            && name != "dropbear"
        {
            return Err(wrong("ssh".to_owned(), "must be `dropbear` or a path to a dropbear (with a `/` in it)"));
        }
        Ok(recipe)
    }

    /// Reads a recipe file.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(file).map_err(|source| Error::Io {
            action: "read the image recipe",
            path: file.to_path_buf(),
            source,
        })?;
        Self::parse(&text, file)
    }
}

impl From<&str> for ProgramRef {
    fn from(word: &str) -> Self {
        if word.contains('/') { Self::At(PathBuf::from(word)) } else { Self::Named(word.to_owned()) }
    }
}

impl<'de> Deserialize<'de> for ProgramRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;
        impl de::Visitor<'_> for Word {
            type Value = ProgramRef;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a program's name or path")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<ProgramRef, E> {
                if word.is_empty() {
                    return Err(E::invalid_value(de::Unexpected::Str(word), &self));
                }
                Ok(ProgramRef::from(word))
            }
        }
        deserializer.deserialize_str(Word)
    }
}

fn busybox<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ProgramRef>, D::Error> {
    struct Switch;
    impl de::Visitor<'_> for Switch {
        type Value = Option<ProgramRef>;

        fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
            to.write_str("`true`, `false` or the path of a busybox (with a `/` in it)")
        }

        fn visit_bool<E: de::Error>(self, wanted: bool) -> Result<Self::Value, E> {
            Ok(wanted.then(|| ProgramRef::Named("busybox".to_owned())))
        }

        fn visit_str<E: de::Error>(self, word: &str) -> Result<Self::Value, E> {
            match ProgramRef::from(word) {
                path @ ProgramRef::At(_) => Ok(Some(path)),
                ProgramRef::Named(_) => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
            }
        }
    }
    deserializer.deserialize_any(Switch)
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octal;
        impl de::Visitor<'_> for Octal {
            type Value = Mode;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("permissions in octal between quotes, such as \"0755\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mode, E> {
                let digits = (3..=5).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
                match u32::from_str_radix(text, 8) {
                    Ok(bits) if digits && bits <= 0o7777 => Ok(Mode(bits)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Octal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Recipe, String> {
        Recipe::parse(text, Path::new("recipe.yaml")).map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            format!("{error}{}", source.unwrap_or_default())
        })
    }

    #[test]
    fn the_shortest_recipe_has_an_init_and_nothing_else() {
        let recipe = parse("init: twinboot-init").expect("a recipe");
        assert_eq!(recipe.init, ProgramRef::Named("twinboot-init".to_owned()));
        assert_eq!((recipe.busybox, recipe.ssh), (None, None));
    }

    #[test]
    fn words_with_a_slash_are_paths_and_modes_are_octal() {
        let recipe = parse(
            "init: ./my-init\nbusybox: true\nssh: dropbear\nprograms: [strace, /opt/bin/x]\n\
             files: [{to: /etc/x, content: y, mode: \"0640\"}]\ndirectories: [{to: /mnt}]\n",
        )
        .expect("a recipe");
        assert_eq!(recipe.init, ProgramRef::At(PathBuf::from("./my-init")));
        assert_eq!(recipe.busybox, Some(ProgramRef::Named("busybox".to_owned())));
        assert_eq!(recipe.programs[1], ProgramRef::At(PathBuf::from("/opt/bin/x")));
        assert_eq!(recipe.files[0].mode, Some(Mode(0o640)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, said) in [
            ("init: x\nbusibox: true", "busibox"),
            ("busybox: true", "init"),
            ("init: x\nbusybox: maybe", "`true`, `false`"),
            ("init: x\nssh: openssh", "dropbear"),
            ("init: x\nfiles: [{to: /a}]", "neither `from` nor `content`"),
            ("init: x\nfiles: [{to: /a, from: b, content: c}]", "both `from` and `content`"),
            ("init: x\nfiles: [{to: a, content: c}]", "files[0].to"),
            ("init: x\nfiles: [{to: /a, content: c, mode: 755}]", "octal between quotes"),
            ("init: x\nfiles: [{to: /a, content: c, mode: \"0999\"}]", "octal between quotes"),
            ("init: x\ndirectories: [{to: mnt}]", "directories[0].to"),
            ("init: ''", "name or path"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(said), "{text:?} says {message:?}, not {said:?}");
        }
    }
}

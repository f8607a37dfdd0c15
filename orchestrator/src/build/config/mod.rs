//! Kernel configuration: what was asked, merged over a base, and held against what came out.

mod expr;
mod fragment;
mod kconfig;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use crate::plan::model::ConfigLayer;

pub use fragment::parse_fragment;
pub use verify::{Problem, verify};

/// Why a configuration cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A fragment or base could not be read.
    #[error("cannot read the configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Lines of a fragment are no options.
    #[error("{}", lines.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Syntax {
        /// One for each, by line.
        lines: Vec<BadLine>,
    },
    /// Options came out otherwise than asked.
    #[error("the kernel's configuration is not what was asked for:{}", list(problems))]
    Unmet {
        /// One for each option.
        problems: Vec<Problem>,
    },
}

/// A line of a fragment that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// The fragment.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// What is wrong with it, and what to do.
    pub message: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.message)
    }
}

fn list(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + &format!("\n  {problem}"))
}

/// Where an option was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a fragment.
    Fragment {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// In the plan itself.
    Plan,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fragment { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Plan => f.write_str("the plan"),
        }
    }
}

/// One option that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Without `CONFIG_`.
    pub name: String,
    /// As `.config` spells it; `n` for `is not set`.
    pub value: String,
    /// Where.
    pub origin: Origin,
    /// May be absent from the result.
    pub optional: bool,
}

impl Asked {
    /// The line of `.config` that says so.
    pub fn line(&self) -> String {
        if self.value == "n" {
            format!("# CONFIG_{} is not set", self.name)
        } else {
            format!("CONFIG_{}={}", self.name, self.value)
        }
    }
}

/// Values of a `.config`, names without `CONFIG_`; what is not set is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Reads the text of a `.config`.
    pub fn parse(text: &str) -> Self {
        Self(
            text.lines()
                .filter_map(option)
                .filter(|(_, value)| *value != "n")
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The value of an option, `n` when it is not set.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("n", String::as_str)
    }

    /// Something is built as a module.
    pub fn has_modules(&self) -> bool {
        self.0.values().any(|value| value == "m")
    }
}

/// An option's name and value, if the line is one.
fn option(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (name, value) = match line.strip_prefix("# CONFIG_") {
        Some(rest) => (rest.strip_suffix(" is not set")?, "n"),
        None => line.strip_prefix("CONFIG_")?.split_once('=')?,
    };
    (is_name(name) && !value.is_empty()).then_some((name, value))
}

/// Whether an option can be called so.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reads every layer; of several that name an option the last one wins and keeps its place.
pub fn load(layers: &[ConfigLayer]) -> Result<Vec<Asked>, Error> {
    let mut all = Vec::new();
    for layer in layers {
        match layer {
            ConfigLayer::Fragment(path) => {
                let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.clone(), source })?;
                all.extend(parse_fragment(&bytes, path)?);
            }
            ConfigLayer::Inline(options) => all.extend(options.iter().map(|(name, value)| Asked {
                name: name.strip_prefix("CONFIG_").unwrap_or(name).to_owned(),
                value: value.clone(),
                origin: Origin::Plan,
                optional: false,
            })),
        }
    }
    let mut seen = BTreeSet::new();
    let mut last: Vec<Asked> = all.into_iter().rev().filter(|asked| seen.insert(asked.name.clone())).collect();
    last.reverse();
    Ok(last)
}

/// `base` without the options that were asked for, followed by those. Later lines win in Kconfig; taking the earlier
/// ones out keeps it from warning.
pub fn merge(base: &str, asked: &[Asked]) -> String {
    let names: BTreeSet<&str> = asked.iter().map(|asked| asked.name.as_str()).collect();
    let mut merged = String::with_capacity(base.len());
    for line in base.lines().filter(|line| option(line).is_none_or(|(name, _)| !names.contains(name))) {
        merged.push_str(line);
        merged.push('\n');
    }
    for asked in asked {
        let _ = writeln!(merged, "{}", asked.line());
    }
    merged
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn fragment(text: &str) -> Vec<Asked> {
        parse_fragment(text.as_bytes(), Path::new("x.config")).expect("is a fragment")
    }

    #[test]
    fn the_last_layer_wins() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let path = dir.path().join("f.config");
        std::fs::write(&path, "CONFIG_A=y\nCONFIG_B=y\n").expect("writes");
        let inline = ConfigLayer::Inline([("A".to_owned(), "n".to_owned())].into());
        let asked = load(&[ConfigLayer::Fragment(path.clone()), inline.clone()]).expect("loads");
        assert_eq!(asked.iter().map(Asked::line).collect::<Vec<_>>(), ["CONFIG_B=y", "# CONFIG_A is not set"]);
        let asked = load(&[inline, ConfigLayer::Fragment(path)]).expect("loads");
        assert_eq!(asked.iter().map(Asked::line).collect::<Vec<_>>(), ["CONFIG_A=y", "CONFIG_B=y"]);
    }

    #[test]
    fn merging_replaces_and_appends() {
        let base = "# Automatically generated\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_AB=1\n";
        let merged = merge(base, &fragment("# CONFIG_A is not set\nCONFIG_B=m\n"));
        assert_eq!(merged, "# Automatically generated\nCONFIG_AB=1\n# CONFIG_A is not set\nCONFIG_B=m\n");
        let values = Values::parse(&merged);
        assert_eq!((values.get("A"), values.get("B"), values.get("AB"), values.get("Z")), ("n", "m", "1", "n"));
        assert!(values.has_modules());
    }
}

//! Requested options, resulting values, and configuration errors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fmt, io};

/// Configuration errors.
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
    /// Options did not get the requested values.
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
pub(super) fn option(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (name, value) = match line.strip_prefix("# CONFIG_") {
        Some(rest) => (rest.strip_suffix(" is not set")?, "n"),
        None => line.strip_prefix("CONFIG_")?.split_once('=')?,
    };
    (is_name(name) && !value.is_empty()).then_some((name, value))
}

/// Whether an option can be called so.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// An option that did not get the requested value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was asked, and where.
    pub asked: Asked,
    /// What came out, `n` for nothing.
    pub got: String,
    /// Why, as far as the tree's Kconfig files tell.
    pub reason: Reason,
}

/// Why an option did not come out as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The tree has no such option.
    Unknown,
    /// The tree's Kconfig files do not show why.
    Unclear,
    /// Sentences, one for each thing that is missing.
    Because(Vec<String>),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Asked { name, value, origin, .. } = &self.asked;
        if self.reason == Reason::Unknown {
            return write!(
                f,
                "CONFIG_{name}={value} ({origin}): this tree has no such option; take it out, or put `# optional` on the line before"
            );
        }
        write!(f, "CONFIG_{name}={value} ({origin}): came out as CONFIG_{name}={}", self.got)?;
        match &self.reason {
            Reason::Because(reasons) => reasons.iter().try_for_each(|reason| write!(f, "\n    {reason}")),
            Reason::Unknown | Reason::Unclear => f.write_str(
                "\n    its type, its dependencies and its range allow it: something that only Kconfig itself can tell excludes or \
                 forces it",
            ),
        }
    }
}

//! Points in a kernel, by name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A point in the kernel. Names may carry alternatives for other versions, `swap_readpage|swap_read_folio`: the first one
/// that exists is taken.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// `function`: its first instruction, in every inlined copy too.
    Entry(Names),
    /// `function: after callee`: behind each call of it.
    After(Names, Names),
    /// `function: before callee`: at each call of it.
    Before(Names, Names),
    /// `function: return`: where it returns to its caller.
    Return(Names),
    /// `function+0x1f`: that many bytes behind the first instruction.
    Offset(Names, u64),
    /// `mm/memory.c:3811`: the first instruction of that line, inlined copies too.
    Line(String, u32),
}

/// A name, and what it is called in other versions.
pub type Names = Vec<String>;

impl fmt::Display for Point {
    /// As a plan spells it, every name with its alternatives.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(function) => f.write_str(&function.join("|")),
            Self::After(function, callee) => write!(f, "{}: after {}", function.join("|"), callee.join("|")),
            Self::Before(function, callee) => write!(f, "{}: before {}", function.join("|"), callee.join("|")),
            Self::Return(function) => write!(f, "{}: return", function.join("|")),
            Self::Offset(function, bytes) => write!(f, "{}+{bytes:#x}", function.join("|")),
            Self::Line(file, line) => write!(f, "{file}:{line}"),
        }
    }
}

impl Point {
    /// The function it is a point of; none for a line of a file.
    pub fn function(&self) -> Option<&Names> {
        match self {
            Self::Entry(function)
            | Self::After(function, _)
            | Self::Before(function, _)
            | Self::Return(function)
            | Self::Offset(function, _) => Some(function),
            Self::Line(..) => None,
        }
    }
}

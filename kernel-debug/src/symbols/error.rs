//! What can be wrong with an image, and with a point in it.

use std::path::PathBuf;

/// An image cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("could not read the kernel image {}", path.display())]
    Read {
        /// Image.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no ELF file.
    #[error("{} is no ELF image of a kernel: the vmlinux is needed here, not the bzImage", path.display())]
    Parse {
        /// Image.
        path: PathBuf,
        /// Why.
        source: object::Error,
    },
    /// It is for another processor.
    #[error("{} is not for x86-64: diagrams and sweeps read x86-64 kernels only", path.display())]
    Machine {
        /// Image.
        path: PathBuf,
    },
    /// It has no debug information.
    #[error(
        "{} has no debug information, in which diagrams and sweeps find their points; add `kernels/config/symbols.config` \
         to the kernel's `config:`",
        path.display()
    )]
    NoDebugInfo {
        /// Image.
        path: PathBuf,
    },
    /// It has debug information in a form that is not read.
    #[error(
        "{} keeps its debug information {how}, which is not read here; build it with `kernels/config/symbols.config` and \
         without {option}",
        path.display()
    )]
    UnreadableDebugInfo {
        /// Image.
        path: PathBuf,
        /// In what way.
        how: &'static str,
        /// Kernel option that does it.
        option: &'static str,
    },
    /// Its debug information is broken.
    #[error("could not read the debug information of {}", path.display())]
    Dwarf {
        /// Image.
        path: PathBuf,
        /// Why.
        source: gimli::Error,
    },
    /// It lacks something that a hold must know.
    #[error("{} has no {what}; {hint}", path.display())]
    Missing {
        /// Image.
        path: PathBuf,
        /// Symbol, structure or member.
        what: String,
        /// What to do.
        hint: &'static str,
    },
}

/// A point does not exist in a kernel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// No function has any of these names.
    #[error("there is no function {} in this kernel{}", alternatives(names), did_you_mean(near))]
    NoFunction {
        /// Names that were tried.
        names: Vec<String>,
        /// Functions with a similar name.
        near: Vec<String>,
    },
    /// The function is in the source and left no instruction.
    #[error(
        "`{name}` is in this kernel's source ({}) but left no instructions of its own: the compiler optimised it out",
        place(file.as_deref(), *line)
    )]
    OptimisedOut {
        /// Function.
        name: String,
        /// Where it is declared.
        file: Option<String>,
        /// Line in it.
        line: Option<u32>,
    },
    /// Several functions have this name.
    #[error("`{name}` stands for {} functions ({}); name a line instead, `file.c:123`", places.len(), places.join(", "))]
    Ambiguous {
        /// Name.
        name: String,
        /// Where each is declared.
        places: Vec<String>,
    },
    /// The function does not call this one.
    #[error(
        "`{function}` does not call {}{}{}",
        alternatives(callees),
        did_you_mean(near),
        calls_instead(calls, inlined)
    )]
    NotCalled {
        /// Function.
        function: String,
        /// Callees that were looked for.
        callees: Vec<String>,
        /// Of what it calls, the similar names.
        near: Vec<String>,
        /// All that it calls, in address order.
        calls: Vec<String>,
        /// All that it has inlined, in address order.
        inlined: Vec<String>,
    },
    /// The function ends in a jump to the callee.
    #[error(
        "`{function}` ends by jumping to `{callee}` (a tail call): there is nothing behind it in `{function}`; use \
         `{callee}: return`, or `{function}: before {callee}`"
    )]
    TailCall {
        /// Function.
        function: String,
        /// Callee.
        callee: String,
    },
    /// The callee is inlined, and its end is mixed with what surrounds it.
    #[error(
        "`{callee}` is inlined into `{function}` and its end is mixed with the code around it; name a line behind its call \
         instead{}", called_at(at.as_ref())
    )]
    Mixed {
        /// Function that it is inlined into.
        function: String,
        /// Inlined function.
        callee: String,
        /// File and line of the call.
        at: Option<(String, u32)>,
    },
    /// It never returns.
    #[error("`{function}` has no return: it never comes back to its caller")]
    NeverReturns {
        /// Function.
        function: String,
    },
    /// An offset between two instruction boundaries, or outside.
    #[error("`{function}+{offset:#x}` is {}", boundary(*before, *after))]
    NotBoundary {
        /// Function.
        function: String,
        /// Offset asked for.
        offset: u64,
        /// Nearest boundary before it.
        before: Option<u64>,
        /// Nearest boundary behind it.
        after: Option<u64>,
    },
    /// No file of this name has code.
    #[error("no source file `{file}` has code in this kernel{}", did_you_mean(near))]
    NoFile {
        /// File asked for.
        file: String,
        /// Files with a similar name.
        near: Vec<String>,
    },
    /// Several files have this name.
    #[error("`{file}` stands for {} files with code at line {line}: {}; write more of the path", files.len(), files.join(", "))]
    AmbiguousFile {
        /// File asked for.
        file: String,
        /// Line asked for.
        line: u32,
        /// Files that it may be.
        files: Vec<String>,
    },
    /// The line has no code.
    #[error("`{file}:{line}` has no code in this kernel{}", nearest_lines(*before, *after))]
    NoLine {
        /// File, relative to the tree.
        file: String,
        /// Line asked for.
        line: u32,
        /// Nearest line with code before it.
        before: Option<u32>,
        /// Nearest line with code behind it.
        after: Option<u32>,
    },
    /// The debug information is broken.
    #[error("could not read the debug information: {0}")]
    Dwarf(#[from] gimli::Error),
}

impl PointError {
    /// Whether it says that the kernel's code does not have the point, rather than that the point
    /// is written in a way that does not fit or cannot be used.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NoFunction { .. } | Self::NotCalled { .. })
    }
}

fn alternatives(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", alternatives(near)) }
}

fn calls_instead(calls: &[String], inlined: &[String]) -> String {
    let listed = |names: &[String]| {
        const SHOWN: usize = 10;
        let more = names.len().saturating_sub(SHOWN);
        let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        if more > 0 { format!("{shown} and {more} more") } else { shown }
    };
    match (calls, inlined) {
        ([], []) => "; it calls nothing".to_owned(),
        (calls, []) => format!("; it calls {}", listed(calls)),
        ([], inlined) => format!("; inlined into it are {}", listed(inlined)),
        (calls, inlined) => format!("; it calls {}; inlined into it are {}", listed(calls), listed(inlined)),
    }
}

fn called_at(at: Option<&(String, u32)>) -> String {
    at.map(|(file, line)| format!(", which is at {file}:{line}")).unwrap_or_default()
}

fn place(file: Option<&str>, line: Option<u32>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.to_owned(),
        _ => "its file is not known".to_owned(),
    }
}

fn boundary(before: Option<u64>, after: Option<u64>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => {
            format!("not the beginning of an instruction; the nearest are +{before:#x} and +{after:#x}")
        }
        (Some(before), None) => format!("behind its last instruction, which is at +{before:#x}"),
        _ => "not in it".to_owned(),
    }
}

fn nearest_lines(before: Option<u32>, after: Option<u32>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("; the nearest lines with code are {before} and {after}"),
        (Some(line), None) | (None, Some(line)) => format!("; the nearest line with code is {line}"),
        (None, None) => String::new(),
    }
}

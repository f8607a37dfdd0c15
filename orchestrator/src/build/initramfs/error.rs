//! Why an image could not be made.

use std::io;
use std::path::PathBuf;

use crate::plan::yaml;
use crate::{cache, process};

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recipe is not YAML, or not a recipe.
    #[error(transparent)]
    Yaml(#[from] yaml::Diagnostics),
    /// The recipe contradicts itself.
    #[error("image recipe `{}`: `{key}` {reason}", recipe.display())]
    Recipe {
        /// The recipe file.
        recipe: PathBuf,
        /// Path of the key in it.
        key: String,
        /// What is wrong and what to write instead.
        reason: String,
    },
    /// A file operation failed.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The recipe asks for a file that is not for everyone.
    #[error("the image recipe asks for `{}`, which lies outside its folder and is not readable by every user of this \
             machine (see the permissions of `{}`); copy it into the recipe's folder if the guest may have it",
             path.display(), closed.display())]
    Private {
        /// The file or folder.
        path: PathBuf,
        /// The part of its path that is closed to others.
        closed: PathBuf,
    },
    /// No folder of guest programs holds the program.
    #[error("no guest program `{name}` in {}; there is {}", list(looked_in), or_nothing(available))]
    UnknownProgram {
        /// As the plan or the recipe names it.
        name: String,
        /// Folders that were searched.
        looked_in: Vec<PathBuf>,
        /// Programs they hold.
        available: Vec<String>,
    },
    /// A program of the host that the recipe asks for is not installed.
    #[error("`{name}` is not on this machine; looked in {}; {hint}", list(looked_in))]
    MissingTool {
        /// The program.
        name: String,
        /// Folders that were searched.
        looked_in: Vec<PathBuf>,
        /// What to do.
        hint: String,
    },
    /// A shared library cannot be found where the dynamic loader would look.
    #[error("library `{library}`, needed by `{}`, is nowhere the dynamic loader looks: {}; install the package \
             that holds it, or take `{}` out of the image", needed_by.display(), looked_in.join(", "), program.display())]
    MissingLibrary {
        /// `DT_NEEDED` entry.
        library: String,
        /// File that has this entry.
        needed_by: PathBuf,
        /// Program that was being brought in.
        program: PathBuf,
        /// Folders and files that were searched, each with a note where something unfit lay.
        looked_in: Vec<String>,
    },
    /// A program's loader (`PT_INTERP`) or a script's interpreter (`#!`) is missing.
    #[error("`{}` runs under `{interpreter}`, which is neither on this machine nor in the recipe; add it to the \
             recipe's `programs`", program.display())]
    MissingInterpreter {
        /// The program.
        program: PathBuf,
        /// What its first line or program header names.
        interpreter: String,
    },
    /// A program for another kind of machine.
    #[error("`{}` is built for {found}, but the guest is {wanted}; build it for {wanted}", path.display())]
    WrongArchitecture {
        /// The file.
        path: PathBuf,
        /// What it is built for.
        found: String,
        /// What the guest runs.
        wanted: String,
    },
    /// A program that is neither an ELF file nor a script.
    #[error("`{}` is neither an ELF file nor a script with a `#!` line, so the guest cannot run it", path.display())]
    NotAProgram {
        /// The file.
        path: PathBuf,
    },
    /// An ELF file that breaks the format.
    #[error("`{}` is not a valid ELF file", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: object::read::Error,
    },
    /// A name that an archive or the guest cannot hold.
    #[error("`{name}` cannot be put into the image: {reason}")]
    Name {
        /// The path in the guest.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// Two different things for one place in the guest.
    #[error("two different things are to be put at `/{path}` in the guest; take one of them out of the recipe")]
    Conflict {
        /// The path in the guest, without its leading slash.
        path: String,
    },
    /// Something under a path that is no directory.
    #[error("`/{path}` cannot be put into the image, as `/{parent}` is not a directory there")]
    NotADirectory {
        /// The path in the guest, without its leading slash.
        path: String,
        /// What is in the way.
        parent: String,
    },
    /// The cached image is not what was put there.
    #[error("`{}` has {found} bytes instead of {expected}; run `twinboot clean` and try again", path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// Bytes it had when it was made.
        expected: u64,
        /// Bytes it has now.
        found: u64,
    },
    /// The archive could not be written.
    #[error("cannot write the initramfs archive")]
    Archive(#[source] io::Error),
    /// The system gave no random bytes for a key.
    #[error("cannot make an SSH key: {0}")]
    Key(String),
    /// A helper program failed.
    #[error(transparent)]
    Process(#[from] process::Error),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] cache::Error),
    /// The thread that put the image together ended without a result.
    #[error("putting the image together ended in a panic; please report it with the recipe")]
    Lost,
}

fn list(paths: &[PathBuf]) -> String {
    let quoted: Vec<String> = paths.iter().map(|path| format!("`{}`", path.display())).collect();
    or_nothing(&quoted)
}

fn or_nothing(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

//! Child processes that cannot be left behind: each in a process group of its own, ended TERM → grace → KILL.

mod group;
mod guard;
mod run;
pub mod run_dir;
mod signals;

pub use group::{Group, exit_text};
pub use run::{Error, Line, capture, capture_bytes, stream};
pub use signals::{end_by_closed_pipe, interrupts, is_ignored};

use std::path::{Path, PathBuf};

/// The first file called `program` in the folders of `$PATH`.
pub fn on_path(program: impl AsRef<Path>) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|dir| dir.join(&program)).find(|path| path.is_file())
}

//! Tests over a small compiled program, and, where one is named, over a real kernel.

mod kernel;
mod program;
mod stack;

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Symbols;
use crate::Names;

/// `a|b` as the names of a point.
fn names(text: &str) -> Names {
    text.split('|').map(str::to_owned).collect()
}

/// A program compiled as kernels are: optimised, at fixed addresses, with frame information for the debugger only.
struct Program {
    _folder: tempfile::TempDir,
    source: String,
    binary: PathBuf,
    symbols: Symbols,
}

impl Program {
    fn compile(source: &str, extra: &[&str]) -> Program {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let init = folder.path().join("mm");
        std::fs::create_dir(&init).expect("a folder can be made in it");
        std::fs::write(init.join("program.c"), source).expect("the source can be written");
        let binary = build(folder.path(), "program", extra);
        let symbols = Symbols::load(&binary).expect("the program has debug information");
        Program { _folder: folder, source: source.to_owned(), binary, symbols }
    }

    /// The number of the source line with this text in it.
    fn line(&self, text: &str) -> u32 {
        let found = self.source.lines().position(|line| line.contains(text)).expect("the source has this line");
        u32::try_from(found + 1).expect("a short source")
    }
}

fn build(folder: &Path, name: &str, extra: &[&str]) -> PathBuf {
    let status = Command::new("gcc")
        .current_dir(folder)
        .args(["-O2", "-fno-pie", "-no-pie", "-fcf-protection=none", "-fno-asynchronous-unwind-tables"])
        .args(["-fomit-frame-pointer", "-fno-stack-protector", "mm/program.c", "-o", name])
        .args(extra)
        .status()
        .expect("gcc runs");
    assert!(status.success(), "gcc failed");
    folder.join(name)
}

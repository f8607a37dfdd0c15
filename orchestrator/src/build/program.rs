//! A plan's own programs, made ready for an image.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::initramfs::Brought;
use super::toolchain::CC;
use crate::plan::model::{ProgramKind, Test};
use crate::process;

/// Where the files that a program comes with are in the guest, each program's in a folder of its own.
pub const FILES_DIR: &str = "/usr/local/share/twinboot";

/// Why a program is not ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compiler refuses it.
    #[error("cannot compile `{}`", path.display())]
    Compile {
        /// The source.
        path: PathBuf,
        /// What the compiler says.
        source: process::Error,
    },
    /// There is nowhere to compile it to.
    #[error("no folder to compile `{}` in", path.display())]
    Scratch {
        /// The source.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Programs of a plan's tests, compiled where they need it, and the folder that must stay until the image is made.
#[derive(Debug)]
pub struct Programs {
    /// What the image gets.
    pub brought: Vec<Brought>,
    _scratch: Option<tempfile::TempDir>,
}

/// Makes the programs of `tests` ready: each once, however many tests run it.
pub async fn prepare(tests: &[Test], cancel: &CancellationToken) -> Result<Programs, Error> {
    let mut names = BTreeSet::new();
    let (mut brought, mut scratch) = (Vec::new(), None);
    for test in tests {
        let Some(program) = test.program.as_ref().filter(|_| names.insert(&test.run)) else { continue };
        let from = match &program.kind {
            ProgramKind::Binary | ProgramKind::Script => program.path.clone(),
            ProgramKind::Source { linked_statically, flags } => {
                let failed = |source| Error::Scratch { path: program.path.clone(), source };
                let dir = match &scratch {
                    Some(dir) => dir,
                    None => scratch.insert(tempfile::tempdir().map_err(failed)?),
                };
                let to = dir.path().join(&test.run);
                let compiled = process::capture(compiler(&program.path, *linked_statically, flags, &to), cancel).await;
                compiled.map_err(|source| Error::Compile { path: program.path.clone(), source })?;
                to
            }
        };
        brought.push(Brought { from, name: test.run.clone(), files: program.files.clone() });
    }
    Ok(Programs { brought, _scratch: scratch })
}

/// gcc's command line. It runs in the source's folder and is given its name alone: messages and the program are then the same
/// wherever the folder is. A library that `flags` name has to stand behind the source that needs it.
fn compiler(source: &Path, linked_statically: bool, flags: &[String], to: &Path) -> Command {
    let mut command = Command::new(CC);
    let folder = source.parent().filter(|folder| !folder.as_os_str().is_empty());
    command.current_dir(folder.unwrap_or(Path::new("."))).args(["-O2", "-pthread"]);
    if linked_statically {
        command.arg("-static");
    }
    let name = Path::new(".").join(source.file_name().unwrap_or_default());
    command.arg("-o").arg(to).arg(name).args(flags);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::chain;
    use crate::plan::model::{Deadlines, Program, Stop};
    use std::time::Duration;

    fn test(path: &Path, kind: ProgramKind) -> Test {
        Test {
            counts: Vec::new(),
            name: "repro".to_owned(),
            run: "repro".to_owned(),
            program: Some(Program::plain(path.to_path_buf(), kind)),
            args: std::collections::BTreeMap::new(),
            rounds: 1,
            stop: Stop {
                alpha: 1e-6,
                residual: 0.5,
                min_rounds: 1,
                sequential: false,
                at_most: Duration::from_secs(1),
                corruptions: None,
                exposures: None,
            },
            deadlines: Deadlines::default(),
        }
    }

    #[tokio::test]
    async fn c_source_is_compiled_alike_and_a_mistake_is_shown_with_its_line() {
        let dir = tempfile::tempdir().expect("a folder");
        let source = dir.path().join("repro.c");
        let kind = ProgramKind::Source { linked_statically: true, flags: vec!["-lm".to_owned()] };
        std::fs::write(&source, "#include <math.h>\nint main(int c, char **v) { return (int)cos(c) & 0; }\n")
            .expect("writes");
        let cancel = CancellationToken::new();
        let mut made = Vec::new();
        for _ in 0..2 {
            let tests = [test(&source, kind.clone()), test(&source, kind.clone())];
            let programs = prepare(&tests, &cancel).await.expect("compiles");
            assert_eq!(programs.brought.len(), 1);
            made.push(std::fs::read(&programs.brought[0].from).expect("is there"));
        }
        assert_eq!(made[0], made[1]);
        std::fs::write(&source, "int main(void)\n{\n\treturn nothing;\n}\n").expect("writes");
        let refused = prepare(&[test(&source, kind)], &cancel).await.expect_err("does not compile");
        let said = chain(&refused);
        assert!(said.contains("repro.c:3:") && said.contains("nothing"), "{said}");
    }
}

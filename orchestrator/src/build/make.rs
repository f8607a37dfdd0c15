//! Running the kernel's `make`: a fixed environment, progress out of its lines, the first error out of its noise.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::toolchain::CC;
use crate::cache::Lock;
use crate::process::{self, Line};

/// What a reproducible build says of itself instead of the user, the host and the day
/// (Documentation/kbuild/reproducible-builds.rst).
const IDENTITY: [(&str, &str); 4] = [
    ("KBUILD_BUILD_USER", "twinboot"),
    ("KBUILD_BUILD_HOST", "twinboot"),
    ("KBUILD_BUILD_TIMESTAMP", "Thu Jan  1 00:00:00 UTC 1970"),
    ("KBUILD_BUILD_VERSION", "1"),
];

/// Variables of the user's that are let through: where scratch files and compiled ones may go.
const KEPT: [&str; 5] = ["HOME", "TMPDIR", "CCACHE_DIR", "CCACHE_CONFIGPATH", "CCACHE_DISABLE"];

/// The nice value with the least weight, 15 against an ordinary process's 1024 (kernel/sched/core.c, `sched_prio_to_weight`):
/// next to nothing of a CPU that others want, and all of one that is idle.
const LOWEST: libc::c_int = 19;

/// Lines around an error that are shown with it.
const CONTEXT: usize = 6;

/// A source tree and the object tree beside it.
#[derive(Debug)]
pub struct Make<'a> {
    /// Source tree.
    pub src: &'a Path,
    /// Object tree.
    pub obj: &'a Path,
    /// Everything `make` says is appended here.
    pub log: PathBuf,
    /// Jobs at a time.
    pub jobs: usize,
    /// `PATH`, see [`super::Toolchain::path`].
    pub path: OsString,
    /// Whatever else wants a CPU gets it first.
    pub yields: bool,
    /// Lock on both trees, kept by every process that `make` starts.
    pub lock: &'a Lock,
    /// Kernel and variant, for messages.
    pub what: String,
}

impl Make<'_> {
    /// The command line for `targets`.
    fn command(&self, targets: &[String]) -> Command {
        let mut command = Command::new("make");
        command.env_clear();
        command.envs(KEPT.iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value))));
        // An empty LOCALVERSION keeps scripts/setlocalversion from adding a `+` for a tree under version control.
        command.envs(IDENTITY).env("LC_ALL", "C").env("LOCALVERSION", "");
        // A base folder in the user's settings of ccache would make paths relative that end up in the kernel (`__FILE__` in
        // headers): the kernel would be another one than without ccache.
        command.env("PATH", &self.path).env("CCACHE_BASEDIR", "");
        command.arg("-C").arg(self.src).arg(format!("O={}", self.obj.display()));
        // One target's output at a time, so that an error stays in one piece and a line means that its object is done.
        command.args([format!("-j{}", self.jobs.max(1)), "-Otarget".to_owned(), "--no-print-directory".to_owned()]);
        command.args([format!("CC={CC}"), format!("HOSTCC={CC}")]);
        command.args(targets);
        self.lock.inherit(&mut command);
        if self.yields {
            // SAFETY: setpriority(2) is async-signal-safe and touches nothing that the parent shares with the child.
            unsafe {
                command.pre_exec(|| {
                    // Best effort: a build at full weight is a nuisance and no error.
                    let _ = libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST);
                    Ok(())
                });
            }
        }
        command
    }

    /// Makes `targets` and hands every line of output to `each`.
    pub async fn run(
        &self,
        targets: &[String],
        cancel: &CancellationToken,
        mut each: impl FnMut(&str),
    ) -> Result<(), Error> {
        let command = self.command(targets);
        let io = |action| Error::io(action, &self.log);
        let mut log = File::options().create(true).append(true).open(&self.log).map_err(io("write to"))?;
        writeln!(log, "$ make {}", targets.join(" ")).map_err(io("write to"))?;
        let mut said = Vec::new();
        let mut written = Ok(());
        let status = process::stream(command, cancel, |line| {
            let (Line::Out(text) | Line::Err(text)) = line;
            if written.is_ok() {
                written = writeln!(log, "{text}");
            }
            each(text);
            said.push(text.to_owned());
        })
        .await;
        let status = match status {
            Err(source @ process::Error::Spawn { .. }) => return Err(Error::Tool { tool: "make", source }),
            other => other?,
        };
        written.map_err(io("write to"))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Make {
            what: self.what.clone(),
            targets: targets.join(" "),
            first: first_error(&said),
            log: self.log.clone(),
        })
    }
}

impl Make<'_> {
    /// How many objects `target` needs that are not there yet, by a dry run; none when that makes nothing of it. A dry run
    /// of the whole tree takes seconds where the build takes minutes, and stops short of the final link.
    pub async fn count(&self, target: &str, cancel: &CancellationToken) -> Result<Option<u64>, Error> {
        let command = self.command(&["--dry-run".to_owned(), target.to_owned()]);
        let mut objects = 0;
        process::stream(command, cancel, |line| {
            let (Line::Out(text) | Line::Err(text)) = line;
            // `set -e; echo '  CC      mm/memory.o'; gcc …`
            objects += u64::from(text.split_once("echo '").is_some_and(|(_, said)| is_object(said)));
        })
        .await?;
        Ok(Some(objects).filter(|objects| *objects > 0))
    }
}

/// A line that says an object is done: `  CC      mm/memory.o`.
pub fn is_object(line: &str) -> bool {
    let Some(rest) = line.strip_prefix("  ") else { return false };
    ["CC ", "AS ", "HOSTCC ", "CC [M] ", "AS [M] "].iter().any(|tag| rest.starts_with(tag))
}

/// A line that says the kernel is being linked.
pub fn is_link(line: &str) -> bool {
    [
        "  LD      vmlinux",
        "  LD      .tmp_vmlinux",
        "  LINK    vmlinux",
        "  KSYMS ",
        "  SORTTAB",
        "  BUILD ",
        "  OBJCOPY vmlinux",
    ]
    .iter()
    .any(|tag| line.starts_with(tag))
}

/// The first error in a failed build's output with the lines around it, rather than `make`'s own last line.
pub fn first_error(said: &[String]) -> String {
    let missing_tool = || said.iter().position(|line| is_missing_tool(line));
    let Some(at) = said.iter().position(|line| is_error(line)).or_else(missing_tool) else {
        let stop = said.iter().position(|line| line.contains("***")).unwrap_or(said.len());
        return said[stop.saturating_sub(CONTEXT)..said.len().min(stop + 1)].join("\n");
    };
    // `In file included from` and `In function` lines belong to the message after them.
    let before = said[..at].iter().rev().take_while(|line| is_lead(line)).count();
    let after =
        said[at + 1..].iter().take(CONTEXT).take_while(|line| !line.starts_with("make") && !is_error(line)).count();
    said[at - before..=at + after].join("\n")
}

fn is_lead(line: &str) -> bool {
    line.starts_with("In file included from ")
        || line.trim_start().starts_with("from ")
        || line.contains(": In function ")
}

fn is_error(line: &str) -> bool {
    let compiler =
        line.contains(": error: ") || line.contains(": fatal error: ") || line.contains("internal compiler error");
    let linker = line.contains(": undefined reference to ") || line.contains("ld: ") && !line.contains("warning:");
    let assembler = line.contains(": Error: ");
    let kconfig = line.contains("Kconfig:") && (line.contains("syntax error") || line.contains("can't open"));
    compiler || linker || assembler || kconfig || line.starts_with("ERROR: ") || line.starts_with("error: ")
}

/// The shell's word for a program that is not installed.
fn is_missing_tool(line: &str) -> bool {
    line.ends_with(": not found") || line.ends_with("command not found") || line.ends_with("No such file or directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_first_error_is_the_compilers() {
        let said = lines(
            "  CC      mm/swap.o\nmm/memory.c: In function 'do_swap_page':\nmm/memory.c:3841:9: error: 'foo' undeclared\n 3841 |         foo = 1;\n      |         ^~~\nmake[2]: *** [scripts/Makefile.build:250: mm/memory.o] Error 1\n  CC      mm/other.o\nmm/other.c:1:1: error: later\nmake: *** [Makefile:238: __sub-make] Error 2",
        );
        let first = first_error(&said);
        assert!(first.starts_with("mm/memory.c: In function"), "{first}");
        assert!(first.contains("memory.c:3841:9: error: 'foo'") && first.ends_with("^~~"), "{first}");
    }

    #[test]
    fn tools_and_linkers_fail_too() {
        assert_eq!(
            first_error(&lines("  LEX x\n/bin/sh: 1: flex: not found\nmake: *** [x] Error 127")),
            "/bin/sh: 1: flex: not found"
        );
        let linked = first_error(&lines(
            "  LD      vmlinux\nld: mm/memory.o: in function `f':\nmemory.c:(.text+0x1): undefined reference to `g'\nmake: *** x",
        ));
        assert!(linked.starts_with("ld: mm/memory.o"), "{linked}");
        assert_eq!(
            first_error(&lines("a\nmake: *** No rule to make target 'x'.  Stop.")),
            "a\nmake: *** No rule to make target 'x'.  Stop."
        );
        assert_eq!(first_error(&[]), "");
    }

    #[test]
    fn objects_are_counted_and_links_seen() {
        assert!(is_object("  CC      mm/memory.o") && is_object("  HOSTCC  scripts/x") && is_object("  CC [M]  a.o"));
        assert!(!is_object("  LD      vmlinux.o") && !is_object("CC x") && !is_object("  CCX"));
        assert!(
            is_link("  LD      vmlinux") && is_link("  LD      .tmp_vmlinux.kallsyms1") && !is_link("  LD [M]  x.ko")
        );
    }
}

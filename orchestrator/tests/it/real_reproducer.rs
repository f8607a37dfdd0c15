//! Reproducers as they come, on real kernels. `ci/test` asks for them by name (`--ignored`), after the kernels of
//! `plans/quick.yaml` are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

/// A shell that finds `twinboot`, `$TWINBOOT_PROGRAM` or the one built with this test, by its name.
fn shell(folder: &Path, script: &str) -> Command {
    let program = std::env::var_os("TWINBOOT_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_twinboot").into());
    let mut command = Command::new("/bin/sh");
    crate::signals::with_default_actions(&mut command);
    let function = format!("twinboot() {{ \"$TWINBOOT\" --data-dir '{}' \"$@\"; }}\n", root().display());
    command.args(["-euc", &format!("{function}{script}")]).current_dir(folder).env("TWINBOOT", program);
    command
}

fn run(mut command: Command) {
    let output = command.output().expect("a shell");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "{}\n{}", said[0], said[1]);
}

fn summary(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("summary.json")).expect("a summary")).expect("JSON")
}

/// The code blocks of a section of a text: language and content.
fn blocks(text: &str, section: &str) -> Vec<(String, String)> {
    let body = text.split_once(&format!("\n## {section}\n")).expect("the section").1;
    let body = body.split("\n## ").next().unwrap_or_default();
    let fenced = body.split("```").skip(1).step_by(2);
    fenced
        .map(|block| block.split_once('\n').map(|(kind, code)| (kind.to_owned(), code.to_owned())).expect("a block"))
        .collect()
}

#[test]
#[ignore = "boots real kernels; ci/test runs it"]
fn the_walk_from_a_c_file_to_a_verdict_goes_as_written() {
    let text = std::fs::read_to_string(root().join("docs/adding-a-race.md")).expect("the text");
    let blocks = blocks(&text, "A reproducer as it is");
    let kinds: Vec<&str> = blocks.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["sh", "yaml", "sh"]);
    let (_, plan) = &blocks[1];
    assert!(plan.lines().count() <= 11, "ten lines of YAML, one of them broken");
    let dir = tempfile::tempdir().expect("a folder");
    let there = dir.path();
    std::os::unix::fs::symlink(root().join("plans"), there.join("plans")).expect("a link");
    run(shell(there, &blocks[0].1));
    std::fs::write(there.join("my-race/plan.yaml"), plan).expect("writes");
    run(shell(there, &blocks[2].1));
    let summary = summary(&there.join("my-race/results"));
    let comparison = &summary["comparisons"][0];
    assert_eq!(comparison["verdict"], "fixed", "{comparison}");
    assert!(comparison["caveats"].to_string().contains("tells no exposures"), "{comparison}");
    let cells = summary["cells"].as_array().expect("cells");
    let base = cells.iter().find(|cell| cell["variant"] == "unpatched").expect("the base");
    assert!(base["corruptions"].as_u64() >= Some(12), "{base}");
    // The reproducer did get into the fault on the patched kernel; twinboot cannot know, the text tells.
    let cells = std::fs::read_dir(there.join("my-race/results/cells")).expect("cells").flatten();
    let patched = cells.map(|it| it.path()).find(|it| it.to_string_lossy().contains(".patched.")).expect("its cell");
    let told = std::fs::read_to_string(patched.join("output.round-1.log")).expect("its output");
    assert!(told.contains(" in the fault, nothing lost") && !told.contains("lost a write"), "{told}");
}

const OTHERS: &str = "
name: others
kernels:
  - {name: linux-6.1, source: {debian: linux-source-6.1}, config: [base, swap, preempt, symbols]}
variants:
  - {name: patched, expect: any, alone: true}
guest: {cpus: 1, memory: 512M, swap: {zram: {size: 64K}}}
defaults: {rounds: 1, at_most: 2s}
tests:
  - {name: script, program: script.sh, args: [zram0], files: [words.txt], oracle: {output: {corrupt: '^found zram0 in words'}}}
  - {name: binary, program: /usr/bin/env, args: ['false'], oracle: {exit: {failure: [1], clean: [0]}}}
  - {name: signal, program: signal.c, oracle: {exit: {failure: [SIGSEGV]}}}
  - {name: hangs, program: hangs.sh, oracle: {still_running: failure}}
  - {name: endless, program: flood.c, build: {flags: [-O0]}, oracle: {still_running: clean}}
";

#[test]
#[ignore = "boots real kernels; ci/test runs it"]
fn scripts_and_binaries_end_in_all_ways_in_a_real_guest() {
    let dir = tempfile::tempdir().expect("a folder");
    let there = dir.path();
    for (name, text) in [
        ("plan.yaml", OTHERS),
        ("script.sh", "#!/bin/sh\ngrep -q $1 /proc/swaps && grep -q swap words.txt && echo \"found $1 in words\"\n"),
        ("words.txt", "swap\n"),
        ("signal.c", "int main(void) { return *(volatile int *)0; }\n"),
        ("hangs.sh", "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\nwhile :; do sleep 1; done\n"),
        ("flood.c", "#include <stdio.h>\nint main(void) { for (;;) puts(\"nothing was lost\"); }\n"),
    ] {
        std::fs::write(there.join(name), text).expect("writes");
    }
    run(shell(there, "twinboot run plan.yaml --out results"));
    let summary = summary(&there.join("results"));
    let cells = summary["cells"].as_array().expect("cells");
    for (test, corruptions) in [("script", 1), ("binary", 1), ("signal", 1), ("hangs", 1), ("endless", 0)] {
        let cell = cells.iter().find(|cell| cell["test"] == test).expect("the test was run");
        assert_eq!((&cell["corruptions"], &cell["exposures"]), (&corruptions.into(), &1.into()), "{cell}");
    }
    let kept = there.join("results/cells/linux-6.1.patched.endless/output.round-1.log");
    assert!(std::fs::metadata(kept).expect("its output").len() < 150_000);
}

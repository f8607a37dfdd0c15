//! Plans and fragments as people bring them, in `tests/data/{plans,config}`: each is read or
//! refused for the real reason.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::plan_fixture::Data;
use twinboot::build::config::{self, Values};
use twinboot::plan::model::ConfigLayer;

fn inputs(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
    let entries = fs::read_dir(folder).expect("a readable folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == extension)).collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a name").to_string_lossy().into_owned()
}

/// A data folder with the plan in `plans/case/plan.yaml`.
fn with_plan(plan: &[u8]) -> Data {
    let data = Data::new();
    data.write("tiny-tree/Makefile", "all:\n");
    data.write("plans/case/fix.patch", fs::read(inputs("plans", "patch").remove(0)).expect("a patch"));
    data.write("plans/case/plan.yaml", plan);
    data
}

fn twinboot(data: &Data, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twinboot"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.arg("--cache-dir").arg(data.root().join("cache")).args(args);
    command.arg(data.root().join("plans/case/plan.yaml")).output().expect("it starts")
}

/// What `plan check` prints.
fn checked(data: &Data) -> String {
    let output = twinboot(data, &["plan", "check"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let root = data.root().canonicalize().expect("is there");
    text.replace(&format!("{}/", root.display()), "").replace(&format!("{}/", data.root().display()), "")
}

#[test]
fn plans() {
    let mut told = String::new();
    for path in inputs("plans", "yaml")
        .into_iter()
        .filter(|path| !["m4-", "m8-", "m9-"].iter().any(|scale| stem(path).starts_with(scale)))
    {
        let plan = fs::read(&path).expect("a plan");
        told.push_str(&["--- ", &stem(&path), "\n", &checked(&with_plan(&plan)), "\n"].concat());
    }
    insta::assert_snapshot!(told);
}

#[test]
fn merged_maps() {
    let plan = inputs("plans", "yaml").into_iter().find(|path| stem(path) == "merge").expect("a plan");
    let data = with_plan(&fs::read(plan).expect("a plan"));
    assert_eq!(checked(&data), "ok: t: 2 kernels, 2 variants, 4 cells\n");
}

#[test]
fn fragments() {
    const PLAN: &str = "name: t\nkernels: [{name: tiny-6.1, source: {dir: ../../tiny-tree}, config: [./f.config]}]\n\
                        variants: [{name: unpatched, expect: corrupt, alone: true}]\ntests: [{name: t, run: swap-race}]\n";
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config");
    let mut told = String::new();
    for path in inputs("config", "config") {
        let data = with_plan(PLAN.as_bytes());
        data.write("plans/case/f.config", fs::read(&path).expect("a fragment"));
        told.push_str(&["--- ", &stem(&path), "\n", &checked(&data)].concat());
        let fragment = data.root().join("plans/case/f.config");
        if let Ok(asked) = config::load(&[ConfigLayer::Fragment(fragment)]) {
            // What Kconfig makes of nothing in that tree, but for what may be had of what was asked
            // for.
            let values = Values::parse("CONFIG_64BIT=y\nCONFIG_SMP=y\nCONFIG_LOG_SHIFT=25\nCONFIG_CMDLINE=\"a # b\"\n");
            match config::verify(&asked, &values, &tree, "x86") {
                Ok(()) => told += "as asked\n",
                Err(error) => told += &format!("{error}\n").replace(&format!("{}/", data.root().display()), ""),
            }
        }
        told += "\n";
    }
    insta::assert_snapshot!(told);
}

#[test]
fn files_that_the_plan_names_are_read_along_with_its_errors() {
    let plan = "name: t\nkernles: []\nkernels: [{name: tiny-6.1, source: {dir: ../../tiny-tree}, config: [./f.config], base_config: ./b.config}]\n\
                variants: [{name: unpatched, patches: [fix.patch, no.patch, empty.patch], expect: corrupt, alone: true}]\n\
                guest: {image: ./image.yaml}\ntests: [{name: t, run: swap-race}]\n";
    let data = with_plan(plan.as_bytes());
    for (name, text) in
        [("f.config", "CONFIG_A=Y\nB=y\n"), ("b.config", ""), ("empty.patch", "none\n"), ("image.yaml", "inti: a\n")]
    {
        data.write(&format!("plans/case/{name}"), text);
    }
    insta::assert_snapshot!(checked(&data), @r"
    plans/case/plan.yaml:2:1: kernles: unknown key `kernles` (did you mean `kernels`?)
    plans/case/plan.yaml:4:51: variants[0].patches[1]: there is no patch no.patch, neither next to the plan nor in kernels/patches/6.1
    plans/case/./f.config:1: CONFIG_A is `Y`, expected y, m, n, a number or a text in double quotes; write `CONFIG_A=y`
    plans/case/./f.config:2: `B=y` is neither `CONFIG_X=value`, `# CONFIG_X is not set` nor a comment; write `CONFIG_B=y`
    `plans/case/empty.patch` changes no file: a plain diff or a `git format-patch` mail is needed, with paths that lose their first component (-p1)
    plans/case/./image.yaml:1:1: inti: unknown key `inti` (did you mean `init`?)
    plans/case/./image.yaml:1:1: missing key `init`
    ");
}

#[test]
fn it_is_said_that_there_are_more_errors_than_are_told() {
    let plan = inputs("plans", "yaml").into_iter().find(|path| stem(path).starts_with("m8")).expect("a plan");
    let told = checked(&with_plan(&fs::read(plan).expect("a plan")));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 101, "{told}");
    assert!(
        lines[0].contains("key0: unknown key `key0`") && lines[99].contains("key99: unknown key `key99`"),
        "{told}"
    );
    assert_eq!(lines[100], "plans/case/plan.yaml: there are more than these 100 errors: mend them and check again");
}

/// Ten thousand cells, of which none is compared with more than one other: what took the cube of
/// their number is done here.
#[test]
fn ten_thousand_cells_are_dealt_out() {
    for (name, cells) in [("m4", 9_800), ("m9", 2_000)] {
        let plan = inputs("plans", "yaml").into_iter().find(|path| stem(path).starts_with(name)).expect("a plan");
        let data = with_plan(&fs::read(plan).expect("a plan"));
        let jobs = twinboot(&data, &["plan", "matrix"]);
        assert_eq!(String::from_utf8_lossy(&jobs.stdout).lines().count(), cells / 2, "{name}");
        let mut ids: Vec<String> = Vec::new();
        for share in ["slice:1/2", "slice:2/2"] {
            let run = twinboot(&data, &["run", "--dry-run", "--partition", share]);
            ids.extend(String::from_utf8_lossy(&run.stdout).lines().map(str::to_owned));
        }
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), cells, "{name}");
    }
}

#[test]
fn a_plan_that_is_too_large_is_refused() {
    let plan = format!("# {}\nname: t\n", "é".repeat(1 << 19));
    let told = checked(&with_plan(plan.as_bytes()));
    assert!(told.starts_with("plans/case/plan.yaml:1:1: the file is larger than 1048576 bytes"), "{told}");
}

//! What plans resolve to: defaults, files, the matrix, cells and comparisons.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::plan_fixture::{Data, FORCED, GOOD};
use proptest::prelude::*;
use twinboot::cli::plan::{Format, Output, check, print_schema, show};
use twinboot::journal::interleaving::ForcedExpectation;
use twinboot::journal::rules::Expectation;
use twinboot::plan::model::{BaseConfig, ConfigLayer, Plan, Source, Swap};
use twinboot::plan::yaml::Style;

/// The plan of the design, word for word, with a fragment that [`Data`] has too.
const DESIGN: &str = "\
# yaml-language-server: $schema=../docs/plan.schema.json
name: swap-skip-race
kernels:
  - name: linux-6.1
    source: {debian: linux-source-6.1}        # or git: {path|url, rev} · dir: path · tarball: {path|url, sha256} · image: {kernel, modules, config}
    config: [base, swap, preempt]              # kernels/config/*.config, or inline options; dropped options are an error
variants:
  - {name: unpatched, patches: [{file: unpin.patch}], expect: corrupt}
  - {name: patched, expect: clean}             # 6.1 stable already has the fix
guest: {cpus: 2, memory: 512M, swap: {zram: {size: 64K, algorithm: lzo-rle}}}
tests:
  - {name: anon-preempt, run: swap-race, args: {memory: anon, strategy: preempt}, rounds: 10, stop: {alpha: 1e-6, at_most: 60s}}
";

fn ids(plan: &Plan) -> Vec<&str> {
    plan.cells.iter().map(|cell| cell.id.as_str()).collect()
}

#[test]
fn the_plan_of_the_design_is_accepted() {
    let data = Data::new();
    let plan = data.plan(DESIGN);
    let plans = data.root().join("plans").canonicalize().expect("is there");
    let kernel = &plan.kernels[0];
    assert_eq!(kernel.source, Source::Debian { package: "linux-source-6.1".into(), suite: None, version: None });
    assert_eq!(kernel.series.as_deref(), Some("6.1"));
    assert_eq!(kernel.base_config, BaseConfig::Allnoconfig);
    assert_eq!(kernel.config[1], ConfigLayer::Fragment(data.root().join("kernels/config/swap.config")));
    assert_eq!(kernel.variants[0].patches[0].path, plans.join("unpin.patch"));
    assert!(!kernel.variants[0].patches[0].reverse);
    assert_eq!(kernel.variants[0].base, None);
    assert_eq!(kernel.variants[1].base.as_deref(), Some("unpatched"));
    assert_eq!(kernel.variants[1].expect, Expectation::Clean);
    assert_eq!(plan.guests[0].memory, 512 << 20);
    assert_eq!(plan.guests[0].swap, Some(Swap::Zram { size: 65536, algorithm: "lzo-rle".into() }));
    assert_eq!(plan.guests[0].image, data.root().join("images/default.yaml"));
    assert!((plan.tests[0].stop.alpha - 1e-6).abs() < 1e-12);
    assert_eq!(plan.tests[0].stop.at_most, Duration::from_secs(60));
    assert_eq!(ids(&plan), ["linux-6.1.unpatched.anon-preempt", "linux-6.1.patched.anon-preempt"]);
    assert_eq!(plan.comparisons.len(), 1);
    assert_eq!(plan.comparisons[0].base, plan.cells[0].id);
    assert_eq!(plan.comparisons[0].patched, plan.cells[1].id);
    assert_eq!(plan.sha256, twinboot::cache::sha256(DESIGN));
}

#[test]
fn kernels_come_from_the_catalogue_and_what_the_plan_says_wins() {
    let data = Data::new();
    let plan = data.plan(
        "name: a\nkernels: [linux-6.12, {name: own, source: {dir: tree}}]\nvariants: [{name: v, expect: corrupt}]\ntests: [{name: t, run: r}]\n",
    );
    let [listed, own] = plan.kernels.as_slice() else { panic!("two kernels") };
    let suite = Some("trixie".to_owned());
    assert_eq!(listed.source, Source::Debian { package: "linux-source-6.12".into(), suite, version: None });
    assert_eq!((listed.series.as_deref(), listed.notes.as_deref()), (Some("6.12"), Some("One of them.")));
    assert_eq!(listed.config.len(), 3);
    assert!(own.config.is_empty() && own.notes.is_none());
    let plan = data.plan(
        "name: a\nkernels: [{name: linux-6.12, config: [base], series: '6.1'}]\nvariants: [{name: v, expect: corrupt}]\ntests: [{name: t, run: r}]\n",
    );
    assert_eq!((plan.kernels[0].config.len(), plan.kernels[0].series.as_deref()), (1, Some("6.1")));
    assert!(matches!(plan.kernels[0].source, Source::Debian { .. }));
}

#[test]
fn conditions_leave_variants_and_patches_out() {
    let plan = Data::new().plan(
        "name: a\nkernels: [{name: linux-5.10, source: {dir: tree}}, {name: linux-6.1, source: {dir: tree}}, {name: linux-7.3, source: {dir: tree}}]\n\
         variants:\n- {name: bad, when: '<7', patches: [{file: unpin.patch, when: '>=6.1'}], expect: corrupt}\n\
         - {name: good, when: '<7', patches: [{file: other.patch, when: '5.10'}], expect: clean}\n\
         - {name: control, when: '>=7', expect: clean, alone: true}\ntests: [{name: t, run: r}]\n",
    );
    let shape: Vec<Vec<(&str, usize)>> = plan
        .kernels
        .iter()
        .map(|kernel| kernel.variants.iter().map(|variant| (variant.name.as_str(), variant.patches.len())).collect())
        .collect();
    assert_eq!(shape, [vec![("bad", 0), ("good", 1)], vec![("bad", 1), ("good", 0)], vec![("control", 0)]]);
    assert_eq!(plan.comparisons.len(), 2, "the control is compared with nothing");
    let left_out: Vec<(&str, &str, Option<&str>)> =
        plan.left_out.iter().map(|out| (out.kernel.as_str(), out.variant.as_str(), out.patch.as_deref())).collect();
    assert_eq!(
        left_out,
        [
            ("linux-5.10", "control", None),
            ("linux-5.10", "bad", Some("unpin.patch")),
            ("linux-6.1", "control", None),
            ("linux-6.1", "good", Some("other.patch")),
            ("linux-7.3", "bad", None),
            ("linux-7.3", "good", None),
        ]
    );
}

#[test]
fn what_is_left_out_has_its_default() {
    let plan = Data::new().plan(
        "name: a\nkernels: [{name: k, source: {dir: tree}}]\nvariants: [{name: v, expect: corrupt}]\n\
         defaults: {alpha: 0.01, rounds: 3}\ntests: [{name: t, run: r}, {name: u, run: r, rounds: 1, stop: {alpha: 0.02}}]\n",
    );
    let guest = &plan.guests[0];
    assert_eq!((guest.cpus, guest.memory, &guest.swap, guest.name.as_str()), (2, 512 << 20, &None, "default"));
    assert_eq!(plan.tests.iter().map(|test| test.rounds).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(plan.tests.iter().map(|test| test.stop.alpha).collect::<Vec<_>>(), [0.01, 0.02]);
    assert_eq!((plan.tests[0].stop.at_most, plan.guests[0].boots), (Duration::from_secs(10), 4));
    assert_eq!(plan.tests[0].deadlines.boot, Duration::from_secs(60));
    assert_eq!(plan.kernels[0].series, None);
}

#[test]
fn scalars_are_passed_as_they_are_spelled() {
    let plan = Data::new().plan(
        &GOOD
            .replace("args: {memory: anon}", "args: {a: 6.10, b: 0x10, c: true, d: 'yes', e: 1e3}")
            .replace("cpus: 2", "sysctl: {vm.swappiness: 0100}")
            .replace(
                "config: [base, swap]",
                "config: [base, {HZ: 1000, PHYSICAL_START: 0x100000, LOCALVERSION: '\"-a\"'}]",
            ),
    );
    let args: Vec<&str> = plan.tests[0].args.values().map(String::as_str).collect();
    assert_eq!(args, ["6.10", "0x10", "true", "yes", "1e3"]);
    assert_eq!(plan.guests[0].sysctl["vm.swappiness"], "0100");
    let ConfigLayer::Inline(options) = &plan.kernels[0].config[1] else { panic!("options written in the plan") };
    assert_eq!(options.values().map(String::as_str).collect::<Vec<_>>(), ["1000", "\"-a\"", "0x100000"]);
}

#[test]
fn patches_come_from_beside_the_plan_and_then_from_the_series() {
    let data = Data::new();
    let shipped = GOOD.replace("[unpin.patch]", "[{file: 0001-mm-swap-take-out-the-pin.patch, reverse: true}]");
    let patches = data.plan(&shipped).kernels[0].variants[0].patches.clone();
    assert_eq!(patches[0].path, data.root().join("kernels/patches/6.1/0001-mm-swap-take-out-the-pin.patch"));
    assert!(patches[0].reverse);
    std::fs::write(data.root().join("plans/0001-mm-swap-take-out-the-pin.patch"), "").expect("writes");
    let patches = data.plan(&shipped).kernels[0].variants[0].patches.clone();
    assert!(patches[0].path.ends_with("plans/0001-mm-swap-take-out-the-pin.patch"));
}

#[test]
fn ready_kernels_can_be_compared() {
    let plan = Data::new().plan(
        "name: a\nkernels: [{name: k, source: {image: ready/vmlinux}}]\n\
         variants: [{name: v, expect: corrupt}, {name: w, image: {kernel: ready/other, modules: tree}, expect: clean}]\n\
         tests: [{name: t, run: r}]\n",
    );
    assert!(plan.kernels[0].variants[0].image.is_none());
    let Some(Source::Image { kernel, modules, .. }) = &plan.kernels[0].variants[1].image else { panic!("an image") };
    assert!(kernel.ends_with("ready/other") && modules.as_ref().is_some_and(|path| path.ends_with("tree")));
    let same = Data::new().errors(
        "name: a\nkernels: [{name: k, source: {image: ready/vmlinux}}]\n\
         variants: [{name: v, expect: corrupt}, {name: w, image: ready/vmlinux, expect: clean}]\n\
         tests: [{name: t, run: r}]\n",
    );
    assert!(same.contains("have the same image"), "{same}");
}

#[test]
fn variants_belong_to_kernels() {
    let plan = Data::new().plan(
        "name: a\nkernels:\n- {name: linux-6.1, source: {dir: tree}}\n- {name: linux-6.12, source: {dir: tree}}\n\
         - {name: own, source: {dir: tree}, variants: [{name: x, expect: corrupt}]}\n\
         variants:\n- {name: bad, expect: corrupt, patches: [unpin.patch]}\n- {name: worse, expect: corrupt, kernels: ['*.1']}\n\
         - {name: good, expect: clean, patches: [other.patch]}\n\
         - {name: also, expect: any, patches: [unpin.patch, other.patch], base: worse, kernels: ['linux-6.?']}\n\
         tests: [{name: t, run: r}]\n",
    );
    let names: Vec<Vec<&str>> = plan
        .kernels
        .iter()
        .map(|kernel| kernel.variants.iter().map(|variant| variant.name.as_str()).collect())
        .collect();
    assert_eq!(names, [vec!["bad", "worse", "good", "also"], vec!["bad", "good"], vec!["x"]]);
    let bases: Vec<&str> = plan.comparisons.iter().map(|pair| pair.base.as_str()).collect();
    assert_eq!(bases, ["linux-6.1.bad.t", "linux-6.1.worse.t", "linux-6.12.bad.t"]);
}

fn with_matrix(matrix: &str) -> Plan {
    Data::new().plan(&GOOD.replace("tests:\n", &format!("matrix:\n{matrix}\ntests:\n- {{name: smp, run: other}}\n")))
}

#[test]
fn axes_multiply_and_name_what_varies() {
    let plan =
        with_matrix("  guest.swap.zram.algorithm: [lzo-rle, zstd]\n  guest.cpus: [1, 2]\n  guest.memory: [512M]");
    let guests: Vec<&str> = plan.guests.iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(guests, ["cpus1-lzo-rle", "cpus2-lzo-rle", "cpus1-zstd", "cpus2-zstd"]);
    assert_eq!(plan.cells.len(), 2 * 4 * 2);
    assert_eq!(plan.cells[0].id, "linux-6.1.unpatched.smp.cpus1-lzo-rle");
    assert_eq!(plan.comparisons.len(), 4 * 2);
    for pair in &plan.comparisons {
        assert_eq!(pair.base.replace(".unpatched.", ".patched."), pair.patched);
    }
}

#[test]
fn arguments_vary_per_test_or_in_all() {
    let plan = with_matrix("  test.args.pages: [1, 2]\n  tests.anon.args.verbose: [true, false]");
    let tests: Vec<&str> = plan.tests.iter().map(|test| test.name.as_str()).collect();
    assert_eq!(
        tests,
        [
            "smp-pages1",
            "smp-pages2",
            "anon-pages1-verbose",
            "anon-pages1-no-verbose",
            "anon-pages2-verbose",
            "anon-pages2-no-verbose"
        ]
    );
    assert_eq!(plan.tests[2].args["memory"], "anon");
    assert_eq!(plan.tests[2].args["pages"], "1");
    assert!(!plan.tests[0].args.contains_key("verbose"));
    assert_eq!(plan.guests.len(), 1);
    assert_eq!(plan.cells[0].id, "linux-6.1.unpatched.smp-pages1");
}

#[test]
fn values_that_look_alike_get_long_names() {
    let plan = with_matrix("  tests.smp.args.from: [a, b]\n  tests.smp.args.to: [a, b]\n  exclude: [{test: anon}]");
    let names: Vec<&str> = plan.tests.iter().map(|test| test.name.as_str()).collect();
    assert_eq!(names, ["smp-a-a", "smp-a-b", "smp-b-a", "smp-b-b"]);
    let plan = with_matrix("  tests.smp.args.from: [a, a-b]\n  tests.smp.args.to: [c, b-c]\n  exclude: [{test: anon}]");
    assert_eq!(plan.tests.len(), 4);
    assert_eq!(plan.tests[0].name, "smp-from-a-to-c");
}

#[test]
fn excluded_cells_go_and_included_ones_come() {
    let plan = with_matrix(
        "  guest.cpus: [1, 2]\n  exclude: [{guest.cpus: 1, test: smp}]\n\
         \x20 include: [{guest.cpus: 4, guest.swap.zram.size: 128K, test: smp}, {tests.anon.args.memory: shmem}]",
    );
    assert_eq!(
        ids(&plan)[..6],
        [
            "linux-6.1.unpatched.anon-anon.cpus1-zram64K",
            "linux-6.1.unpatched.smp.cpus2-zram64K",
            "linux-6.1.unpatched.anon-anon.cpus2-zram64K",
            "linux-6.1.patched.anon-anon.cpus1-zram64K",
            "linux-6.1.patched.smp.cpus2-zram64K",
            "linux-6.1.patched.anon-anon.cpus2-zram64K",
        ]
    );
    let more: BTreeSet<&str> = ids(&plan)[6..].iter().copied().collect();
    assert!(more.contains("linux-6.1.patched.smp.cpus4-zram128K"), "{more:?}");
    assert!(more.contains("linux-6.1.patched.anon-shmem.cpus1-zram64K"), "{more:?}");
    assert!(!more.iter().any(|id| id.contains("anon-anon.cpus4")), "{more:?}");
}

#[test]
fn swap_can_come_from_the_axes_alone() {
    let plan =
        Data::new().plan(&GOOD.replace(", swap: {zram: {size: 64K, algorithm: lzo-rle}}", "").replace(
            "tests:\n",
            "matrix: {guest.swap.zram.algorithm: [zstd], guest.swap.zram.size: [64K, 1M]}\ntests:\n",
        ));
    let guests: Vec<(&str, &Option<Swap>)> =
        plan.guests.iter().map(|guest| (guest.name.as_str(), &guest.swap)).collect();
    assert_eq!(guests[0], ("zram64K", &Some(Swap::Zram { size: 65536, algorithm: "zstd".into() })));
    assert_eq!(guests[1].0, "zram1M");
}

fn forced_ids(plan: &Plan) -> Vec<&str> {
    plan.forced.iter().map(|cell| cell.id.as_str()).collect()
}

#[test]
fn a_plan_forces_its_interleaving_on_every_variant() {
    let plan = Data::new().plan(&Data::forcing(FORCED).replace("{memory: anon}", "{memory: anon, strategy: smp}"));
    let it = &plan.interleavings[0];
    assert_eq!((it.name.as_str(), it.run.as_str()), ("interleaving", "swap-race"));
    assert_eq!(it.args, [("memory".to_owned(), "anon".to_owned())].into(), "those of the test, but nothing races");
    assert_eq!((it.rounds, it.deadline), (20, Duration::from_secs(10)));
    assert_eq!(it.diagram.threads, ["victim", "interferer"]);
    assert_eq!(it.diagram.drawing.len(), 7);
    let expect = [("patched", ForcedExpectation::Excluded), ("unpatched", ForcedExpectation::Corrupt)];
    assert_eq!(it.expect, expect.map(|(name, expect)| (name.to_owned(), expect)).into());
    assert_eq!(forced_ids(&plan), ["linux-6.1.unpatched.interleaving", "linux-6.1.patched.interleaving"]);
    assert_eq!((plan.forced[0].base.as_deref(), plan.forced[1].base.as_deref()), (None, Some("unpatched")));
    assert_eq!(ids(&plan), ["linux-6.1.unpatched.anon", "linux-6.1.patched.anon"]);

    let sweep = &plan.sweeps[0];
    assert_eq!((sweep.name.as_str(), &sweep.run, &sweep.args), ("sweep", &it.run, &it.args));
    assert_eq!((sweep.victim.thread.as_str(), sweep.victim.operation.as_str()), ("victim", "read"));
    assert_eq!(sweep.interferers.len(), 1);
    assert_eq!(sweep.functions, [["f"]]);
    let swept: Vec<&str> = plan.swept.iter().map(|cell| cell.id.as_str()).collect();
    assert_eq!(swept, ["linux-6.1.unpatched.sweep", "linux-6.1.patched.sweep"]);
}

#[test]
fn steps_say_the_same_as_a_drawing() {
    let drawing = FORCED.split_inclusive('\n').skip(1).take(8).collect::<String>();
    let steps = "  steps:\n  - victim: read page\n  - victim: {at: 'f: after g|h'}\n  - victim: hold\n\
                 \x20 - interferer: write page\n  - {victim: release}\n";
    let drawn = Data::new().plan(&Data::forcing(FORCED));
    let listed = Data::new().plan(&Data::forcing(&FORCED.replace(&drawing, steps)));
    assert_eq!(listed.interleavings[0].diagram.steps, drawn.interleavings[0].diagram.steps);
    assert_eq!(listed.sweeps, drawn.sweeps);
}

#[test]
fn a_plan_needs_no_tests_when_it_forces_something() {
    let tests = GOOD.find("tests:").expect("it has tests");
    let bare = Data::forcing("").replace(&GOOD[tests..], "");
    let more =
        "matrix:\n  guest.cpus: [2, 3]\n  exclude: [{guest.cpus: 3, variant: '*'}]\n  include: [{guest.cpus: 4}]\n";
    let sweeps = "sweep:\n- {run: a, victim: {reader: read x}, interferer: {w: unmap}, functions: [f|g], callees: [mm/]}\n\
                  - {name: second, run: b, args: {c: 1}, victim: read page, interferer: [write page, {w: fork}], functions: [h]}\n";
    let plan = Data::new().plan(&format!("{bare}{more}{sweeps}"));
    assert!(plan.tests.is_empty() && plan.cells.is_empty() && plan.forced.is_empty());
    let guests: Vec<&str> = plan.guests.iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(guests, ["cpus2", "cpus4"]);
    let ids: Vec<&str> = plan.swept.iter().map(|cell| cell.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "linux-6.1.unpatched.sweep.cpus2",
            "linux-6.1.unpatched.second.cpus2",
            "linux-6.1.patched.sweep.cpus2",
            "linux-6.1.patched.second.cpus2",
            "linux-6.1.unpatched.sweep.cpus4",
            "linux-6.1.unpatched.second.cpus4",
            "linux-6.1.patched.sweep.cpus4",
            "linux-6.1.patched.second.cpus4",
        ]
    );
    assert_eq!(plan.sweeps[0].victim.thread, "reader");
    assert_eq!(plan.sweeps[0].functions, [["f", "g"]]);
    assert_eq!(plan.sweeps[0].callees, ["mm/"]);
    let threads: Vec<&str> = plan.sweeps[1].interferers.iter().map(|it| it.thread.as_str()).collect();
    assert_eq!(threads, ["interferer", "w"]);
    assert_eq!(plan.sweeps[1].args["c"], "1");
    let missing = Data::new().errors(&format!("{bare}{FORCED}"));
    assert!(missing.contains("interleaving: missing key `run`"), "{missing}");
    assert_eq!(Data::new().plan(&format!("{bare}{FORCED}  run: swap-race\n")).forced.len(), 2);
}

#[test]
fn what_is_said_of_tests_is_not_said_of_interleavings() {
    let matrix = "matrix: {guest.cpus: [2, 3], exclude: [{guest.cpus: 3, test: anon}]}\n";
    let plan = Data::new().plan(&Data::forcing(&format!("{FORCED}{matrix}")));
    assert_eq!(plan.cells.len(), 2);
    assert_eq!(forced_ids(&plan)[1], "linux-6.1.unpatched.interleaving.cpus3");
    let twice = "matrix: {guest.cpus: [2, 3], exclude: [{guest.cpus: 3}, {guest.cpus: 3, kernel: '*'}]}\n";
    assert_eq!(Data::new().plan(&Data::forcing(&format!("{FORCED}{twice}"))).forced.len(), 2);
    let more = "matrix: {include: [{guest.cpus: 4, test: anon}]}\n";
    let plan = Data::new().plan(&Data::forcing(&format!("{FORCED}{more}")));
    assert_eq!((plan.cells.len(), plan.forced.len()), (4, 2));
}

#[test]
fn several_interleavings_give_as_many_sweeps_unless_one_is_written() {
    let item = |name: &str| FORCED.replace("interleaving:\n  diagram", &format!("- name: {name}\n  diagram"));
    let two = format!("interleaving:\n{}{}", item("one"), item("interleaving"));
    let plan = Data::new().plan(&Data::forcing(&two).replace("name: anon", "name: sweep"));
    let sweeps: Vec<&str> = plan.sweeps.iter().map(|sweep| sweep.name.as_str()).collect();
    assert_eq!(sweeps, ["one-sweep", "sweep-sweep"], "a test is called sweep already");
    let written = "sweep: {victim: read page, interferer: write page, functions: [f]}\n";
    let plan = Data::new().plan(&Data::forcing(&format!("{two}{written}")));
    assert_eq!((plan.sweeps.len(), plan.swept.len(), plan.forced.len()), (1, 2, 4));
    let line = FORCED.replace("f: after g|h", "mm/a.c:7    ");
    assert!(Data::new().plan(&Data::forcing(&line)).sweeps.is_empty(), "a line names no function");
    let words = Data::new().plan(&Data::forcing(&FORCED.replace("{unpatched: corrupt, patched: excluded}", "any")));
    assert_eq!(words.interleavings[0].expect.len(), 2);
}

#[test]
fn debug_information_may_come_from_options_and_from_ready_kernels() {
    let inline = GOOD.replace("[base, swap]", "[base, {DEBUG_INFO_DWARF4: y}]") + FORCED;
    assert_eq!(Data::new().plan(&inline).forced.len(), 2);
    let ready =
        "name: a\nkernels: [{name: k, source: {image: ready/vmlinux}}]\nvariants: [{name: v, expect: corrupt}]\n";
    let expect = FORCED.replace("{unpatched: corrupt, patched: excluded}", "corrupt");
    assert_eq!(Data::new().plan(&format!("{ready}{expect}  run: swap-race\n")).forced.len(), 1);
}

#[test]
fn only_some_cells_or_the_control_leave_out_what_they_do_not_want() {
    let whole = Data::new().plan(&Data::forcing(FORCED));
    let mut some = whole.clone();
    some.keep_cells(|id| id == "linux-6.1.patched.interleaving");
    assert_eq!((some.cells.len(), forced_ids(&some), some.swept.len()), (0, vec!["linux-6.1.patched.interleaving"], 0));
    assert_eq!((some.kernels[0].variants.len(), some.guests.len(), some.tests.len()), (1, 1, 0));
    assert_eq!((some.interleavings.len(), some.sweeps.len()), (1, 0));
    let control = whole.control();
    assert!(control.forced.is_empty() && control.swept.is_empty(), "nothing is forced in a control");
    assert!(control.interleavings.is_empty() && control.sweeps.is_empty());
    assert_eq!(control.cells.len(), 2);
}

#[test]
fn show_prints_what_is_forced() {
    let data = Data::new();
    let path = data.root().join("plans/forced.yaml");
    std::fs::write(&path, Data::forcing(FORCED)).expect("writes");
    let (code, out, err) = command(&data, |output, root| show(&path, Some(root), Format::Human, output));
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!("show_forced", out);
    let (_, out, _) = command(&data, |output, root| check(std::slice::from_ref(&path), Some(root), output));
    assert_eq!(out, "ok: good: 1 kernel, 2 variants, 2 cells, 2 to force\n");
}

/// Runs a command body; gives the exit code, standard output and standard error, without the
/// folder's own name.
fn command(data: &Data, run: impl FnOnce(&mut Output, &Path) -> std::io::Result<u8>) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&mut Output { out: &mut out, err: &mut err, style: Style::Plain }, data.root()).expect("writes");
    let real = data.root().canonicalize().expect("is there");
    let text = |bytes| {
        let text = String::from_utf8(bytes).expect("text");
        text.replace(&real.display().to_string(), "DATA").replace(&data.root().display().to_string(), "DATA")
    };
    (code, text(out), text(err))
}

#[test]
fn check_tells_good_plans_from_bad_ones() {
    let data = Data::new();
    let paths = ["good", "bad", "missing"].map(|name| data.root().join(format!("plans/{name}.yaml")));
    std::fs::write(&paths[0], GOOD).expect("writes");
    std::fs::write(&paths[1], GOOD.replace("cpus: 2", "cpus: 0").replace("64K", "4K")).expect("writes");
    let (code, out, err) = command(&data, |output, root| check(&paths, Some(root), output));
    assert_eq!(code, 2);
    assert_eq!(out, "ok: good: 1 kernel, 2 variants, 2 cells\n");
    assert_eq!(err.lines().count(), 3, "{err}");
    assert!(err.contains("DATA/plans/bad.yaml:9:15: guest.cpus: 0 CPUs"), "{err}");
    assert!(err.contains("cannot read the plan DATA/plans/missing.yaml: No such file"), "{err}");
    assert_eq!(command(&data, |output, root| check(&paths[..1], Some(root), output)).0, 0);
    let (code, _, err) = command(&data, |output, root| check(&paths[..1], Some(&root.join("plans")), output));
    assert!(code == 2 && err.contains("is not a data folder"), "{err}");
}

#[test]
fn show_prints_the_resolved_plan() {
    let data = Data::new();
    let path = data.root().join("plans/good.yaml");
    std::fs::write(&path, GOOD.replace("cpus: 2", "cpus: 2, sysctl: {vm.swappiness: 100}, cmdline: nokaslr"))
        .expect("writes");
    let (code, out, err) = command(&data, |output, root| show(&path, Some(root), Format::Human, output));
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!("show_human", out);
    let (_, out, _) = command(&data, |output, root| show(&path, Some(root), Format::Json, output));
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(json["cells"][1]["id"], "linux-6.1.patched.anon");
    assert_eq!(json["guests"][0]["swap"]["zram"]["size"], 65536);
    let (_, out, _) = command(&data, |output, _| print_schema(output));
    let schema: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

/// Pieces that plans are made of, and others.
const PIECES: &[&str] = &[
    "name",
    ": ",
    "- ",
    "\n",
    "  ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    "\"",
    "&a ",
    "*a",
    "!t ",
    "<<: ",
    "|",
    ">",
    "#",
    "?",
    "%",
    "~",
    "null",
    "true",
    "1e999",
    "-1",
    "0x",
    "99999999999999999999",
    "64K",
    "é",
    "\u{0}",
    "\t",
    "\r",
    "---\n",
    "...",
    "kernels",
    "variants",
    "matrix",
    "guest.cpus",
    "include",
    "exclude",
    "test.args.x",
    "tests.anon.args.x",
    "[1, 2]",
    "base",
    "unpatched",
    "interleaving",
    "sweep:",
    "  .  ",
    "hold",
    "|2-",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_plan_never_panics_and_every_error_has_a_place(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..8_usize, prop::sample::select(PIECES)), 1..6)
    ) {
        let mut text = Data::forcing(FORCED) + "matrix:\n  guest.cpus: [1, 2]\n  exclude: [{guest.cpus: 1}]\n";
        for (at, cut, piece) in edits {
            let bounds: Vec<usize> = text.char_indices().map(|(index, _)| index).chain([text.len()]).collect();
            let from = at.index(bounds.len());
            let to = (from + cut).min(bounds.len() - 1);
            text.replace_range(bounds[from]..bounds[to], piece);
        }
        let roots = twinboot::plan::roots::Roots::new("/nonexistent");
        if let Err(errors) = twinboot::plan::parse(&text, Path::new("/nonexistent/plans/p.yaml"), &roots) {
            prop_assert!(!errors.list().is_empty());
            for error in errors.list() {
                prop_assert!(error.at.line >= 1 && error.at.column >= 1);
                prop_assert!(text.is_char_boundary(error.at.offset));
                prop_assert!(text.is_char_boundary(error.at.offset + error.at.len));
                let line = text[..error.at.offset].matches('\n').count() + 1;
                prop_assert_eq!(error.at.line, line);
            }
            let _ = errors.render(Style::Fancy);
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cell_ids_are_unique_and_fit_for_file_names(
        cpus in prop::collection::btree_set(1..5_u32, 1..3),
        cmdlines in prop::collection::btree_set("[ a-c/=é]{0,40}", 1..4),
        words in prop::collection::btree_set("[a-c -]{0,30}", 1..4),
        other in prop::collection::btree_set("[a-c -]{0,3}", 1..4),
    ) {
        let list = |items: Vec<String>| items.iter().map(|item| format!("'{item}'")).collect::<Vec<_>>().join(", ");
        let cpus = cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let matrix = format!(
            "matrix:\n  guest.cpus: [{cpus}]\n  guest.cmdline: [{}]\n  test.args.x: [{}]\n  test.args.y: [{}]\ntests:\n",
            list(cmdlines.into_iter().collect()), list(words.into_iter().collect()), list(other.into_iter().collect())
        );
        match Data::new().parse(&GOOD.replace("tests:\n", &matrix)) {
            Ok(plan) => {
                let unique: BTreeSet<&str> = ids(&plan).into_iter().collect();
                prop_assert_eq!(unique.len(), plan.cells.len());
                for id in unique {
                    prop_assert!(id.len() <= 200 && id.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c)), "{}", id);
                }
                let guests: BTreeSet<&str> = plan.guests.iter().map(|guest| guest.name.as_str()).collect();
                prop_assert_eq!(guests.len(), plan.guests.len());
            }
            Err(errors) => prop_assert!(errors.contains("cells would have the id"), "{}", errors),
        }
    }
}

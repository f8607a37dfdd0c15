//! Every class of plan error: where it is, what it says, and that all of them are told at once.

use crate::plan_fixture::{Data, FORCED, GOOD};

/// The errors of the good plan after each replacement, one paragraph for each.
fn after(cases: &[(&str, &str)]) -> String {
    let data = Data::new();
    let mut told = String::new();
    for (what, by) in cases {
        assert!(GOOD.contains(what), "the good plan has no {what:?}");
        told.push_str(&["--- ", by, "\n", &data.errors(&GOOD.replacen(what, by, 1)), "\n\n"].concat());
    }
    told
}

#[test]
fn the_good_plan_is_good() {
    Data::new().plan(GOOD);
}

#[test]
fn keys_and_types() {
    insta::assert_snapshot!(after(&[
        ("name: good", "title: good"),
        ("name: good", "name: good\nname: better"),
        ("name: good", "name: [good]"),
        ("name: good", "name:"),
        ("config: [base, swap]", "config: base"),
        ("config: [base, swap]", "config: [base, [swap]]"),
        ("config: [base, swap]", "series: 6.10"),
        ("cpus: 2", "cpus: two"),
        ("cpus: 2", "cpus: -1"),
        ("cpus: 2", "cpu: 2"),
        ("memory: 512M", "memory: 512 MB"),
        ("memory: 512M", "memory: 0.5"),
        ("swap: {zram: {size: 64K, algorithm: lzo-rle}}", "swap: zram"),
        ("swap: {zram: {size: 64K, algorithm: lzo-rle}}", "swap: {zarm: {size: 64K}}"),
        ("swap: {zram: {size: 64K, algorithm: lzo-rle}}", "swap: {zram: {sise: 64K}}"),
        ("swap: {zram: {size: 64K, algorithm: lzo-rle}}", "swap: {}"),
        ("swap: {zram: {size: 64K, algorithm: lzo-rle}}", "swap: {zram: {size: 64K}, brd: {size: 64K}}"),
        ("expect: corrupt", "expect: curropt"),
        ("patches: [unpin.patch]", "patches: [{file: unpin.patch, revrese: true}]"),
        ("patches: [unpin.patch]", "patches: [{reverse: true}]"),
        ("args: {memory: anon}", "args: {memory: {kind: anon}}"),
        ("args: {memory: anon}", "args: {memory: [anon, shmem]}"),
        ("args: {memory: anon}", "args: {memory: }"),
        ("at_most: 60s", "at_most: 60"),
        ("at_most: 60s", "at_most: 1 minute"),
    ]));
}

#[test]
fn sources() {
    let debian = "debian: linux-source-6.1";
    let digest = "0".repeat(64);
    insta::assert_snapshot!(after(&[
        ("source: {debian: linux-source-6.1}", "series: '6.1'"),
        (debian, ""),
        (debian, "debian: linux-source-6.1, dir: tree"),
        (debian, "debain: linux-source-6.1"),
        (debian, "debian: Linux 6.1"),
        (debian, "debian: {suite: bookworm}"),
        (debian, "dir: nowhere"),
        (debian, "git: {path: tree}"),
        (debian, "git: {url: tree, rev: v6.1}"),
        (debian, "git: {path: tree, url: 'https://example.org/linux.git', rev: v6.1}"),
        (debian, "git: {rev: v6.1}"),
        (debian, "tarball: {path: tree, sha256: abc}"),
        (debian, &format!("tarball: {{path: linux.tar.xz, sha256: {}g}}", &digest[1..].replace('0', "a"))),
        (debian, "tarball: {url: 'https://example.org/linux.tar.xz'}"),
        (debian, "image: nowhere/bzImage"),
        (debian, "image: {modules: tree}"),
        (debian, "image: ready/vmlinux"),
    ]));
}

#[test]
fn the_catalogue() {
    let whole = "- name: linux-6.1\n  source: {debian: linux-source-6.1}\n  config: [base, swap]";
    insta::assert_snapshot!(after(&[
        (whole, "- linux-6.2"),
        (whole, "- {name: linux-61}"),
        (whole, "- linux-6.12\n- {name: linux-6.12, source: {dir: tree}}"),
        (whole, "- 'linux 6.12'"),
        (whole, "- {name: linux-6.12, config: [bsae]}"),
        (whole, "- linux-broken"),
        (whole, "- 6.12"),
        (whole, "- [linux-6.12]"),
    ]));
}

#[test]
fn conditions() {
    let clean = "{name: patched, expect: clean}";
    insta::assert_snapshot!(after(&[
        (clean, "{name: patched, when: '6.x', expect: clean}"),
        (clean, "{name: patched, when: '=>6.1', expect: clean}"),
        (clean, "{name: patched, when: 6.1, expect: clean}"),
        (clean, "{name: patched, when: '>=6.1.80', expect: clean}"),
        (clean, "{name: patched, expect: clean, alone: true, base: unpatched}"),
        ("expect: corrupt}", "when: '<6', expect: corrupt}"),
        (
            "{name: unpatched, patches: [unpin.patch], expect: corrupt}\n- {name: patched, expect: clean}",
            "{name: v, when: '>7', expect: corrupt}"
        ),
        ("[unpin.patch]", "[{file: unpin.patch, when: '>6.1.5'}]"),
        (
            "source: {debian: linux-source-6.1}",
            "series: next\n  source: {dir: tree}\n  variants: [{name: v, when: '>5', expect: corrupt}]"
        ),
    ]));
}

#[test]
fn configuration() {
    let config = "config: [base, swap]";
    insta::assert_snapshot!(after(&[
        (config, "config: [base, swpa]"),
        (config, "config: [base, nothing-like-it]"),
        (config, "config: [base, ./mine.config]"),
        (config, "config: [{CONFIG_SMP: y}]"),
        (config, "config: [{SMP: yes, PREEMPT: true, LOCALVERSION: -mine, HZ: 1000}]"),
        (config, "base_config: allnoconfg"),
        (config, "base_config: some/where/.config"),
    ]));
}

#[test]
fn variants() {
    let unpatched = "- {name: unpatched, patches: [unpin.patch], expect: corrupt}";
    let patched = "- {name: patched, expect: clean}";
    insta::assert_snapshot!(after(&[
        (unpatched, ""),
        (unpatched, "- {name: unpatched, expect: corrupt}"),
        (unpatched, "- {name: unpatched, patches: [nupin.patch], expect: corrupt}"),
        (unpatched, "- {name: unpatched, patches: [0001-swap-take-out-the-pin.patch], expect: corrupt}"),
        (unpatched, "- {name: unpatched, patches: [{file: }], expect: corrupt}"),
        (unpatched, "- {name: unpatched, patches: [unpin.patch]}"),
        (unpatched, "- {name: unpatched, patches: [unpin.patch], expect: corrupt, kernels: [linux-5.*]}"),
        (unpatched, "- {name: unpatched, patches: [unpin.patch], expect: corrupt, kernels: []}"),
        (patched, "- {name: unpatched, expect: clean}"),
        (patched, "- {name: 'two words', expect: clean}"),
        (patched, "- {expect: clean}"),
        (patched, "- {name: patched, expect: clean, base: unpached}"),
        (patched, "- {name: patched, expect: clean, base: patched}"),
        (
            patched,
            "- {name: patched, expect: clean}\n- {name: third, patches: [other.patch], expect: any, base: patched}"
        ),
        (patched, "- {name: patched, expect: clean, image: ready/vmlinux}"),
        (&format!("variants:\n{unpatched}\n{patched}"), "variants: []"),
        (&format!("variants:\n{unpatched}\n{patched}\n"), ""),
    ]));
}

#[test]
fn ready_kernels_are_not_patched() {
    let plan = GOOD
        .replace("debian: linux-source-6.1", "image: ready/vmlinux")
        .replace("config: [base, swap]", "series: '6.1'");
    insta::assert_snapshot!(Data::new().errors(&plan));
}

#[test]
fn impossible_sizes() {
    let memory = "memory: 512M";
    let size = "size: 64K";
    insta::assert_snapshot!(after(&[
        ("cpus: 2", "cpus: 0"),
        ("cpus: 2", "cpus: 65"),
        (memory, "memory: 64M"),
        (memory, "memory: 512"),
        (memory, "memory: 134217729"),
        (size, "size: 39K"),
        (size, "size: 65537"),
        (size, "size: 0"),
        ("{zram: {size: 64K, algorithm: lzo-rle}}", "{brd: {size: 36K}}"),
        ("algorithm: lzo-rle", "algorithm: lzo-lre"),
        ("algorithm: lzo-rle", "algorithm: 'lz 4'"),
        ("rounds: 10", "rounds: 0"),
        ("alpha: 1e-6", "alpha: 0.5"),
        ("alpha: 1e-6", "alpha: 0"),
        ("at_most: 60s", "at_most: 0s"),
        ("at_most: 60s", "at_most: 60s, corruptions: 0, exposures: 0"),
    ]));
}

#[test]
fn guests_and_tests() {
    let test = "- {name: anon, run: swap-race, args: {memory: anon}, rounds: 10, stop: {alpha: 1e-6, at_most: 60s}}";
    insta::assert_snapshot!(after(&[
        ("cpus: 2", "image: defautl"),
        ("cpus: 2", "image: mine/image.yaml"),
        ("cpus: 2", "sysctl: {vm.swappiness: [1]}"),
        ("cpus: 2", "sysctl: {'vm swappiness': 1}"),
        ("cpus: 2", "cmdline: \"a\\nb\""),
        (test, "- {run: swap-race}"),
        (test, "- {name: anon}"),
        (test, "- {name: anon, run: --help}"),
        (test, "- {name: anon, run: a}\n- {name: anon, run: b}"),
        (test, "- {name: anon, run: a, deadlines: {boot: 0s, reboot: 5s}}"),
        (&format!("tests:\n{test}"), "tests: []"),
        (&format!("tests:\n{test}"), "tests:"),
    ]));
}

#[test]
fn what_fails_a_round_and_what_is_let_pass() {
    let test = "- {name: anon, run: swap-race, args: {memory: anon}, rounds: 10, stop: {alpha: 1e-6, at_most: 60s}}";
    let counting = |counts: &str| format!("- {{name: anon, run: a, counts: {counts}}}");
    let knowing = |known: &str| format!("known: {known}\ntests:\n{test}");
    let tests = format!("tests:\n{test}");
    insta::assert_snapshot!(after(&[
        (test, &counting("hangs")),
        (test, &counting("[crash, {complaint: lockdeb}]")),
        (test, &counting("[{exit: 1, output: LOST}]")),
        (test, &counting("[{output: ''}]")),
        (test, &counting("[{exit: 300}]")),
        (&tests, &knowing("[{class: warnin, reason: r}]")),
        (&tests, &knowing("[{class: warning}]")),
        (&tests, &knowing("[{reason: r}]")),
    ]));
}

#[test]
fn matrix() {
    let tests = "tests:\n";
    let matrix = |body: &str| format!("matrix:\n{body}\ntests:\n");
    let bodies = [
        "  guest.cpu: [1]",
        "  guest.cpus: []",
        "  guest.cpus: 4",
        "  guest.cpus: [1, 0, two, 1]",
        "  guest.memory: [64M, lots]",
        "  guest.swap.zram.size: [36K]",
        "  guest.swap.zram.algorithm: [lz4, lzo-lre]",
        "  tests.anno.args.memory: [shmem]",
        "  test.args.memory: [[shmem]]",
        "  exclude: []",
        "  exclude: [{}]",
        "  exclude: [{guest.cpus: 3}]",
        "  exclude: [{kernel: linux-5.*}, {gest.cpus: 2}, {guest.cpus: none}]",
        "  exclude: [{variant: unpatched}]",
        "  exclude: [{kernel: '*'}]",
        "  include: [{guest.cpus: 4, variant: patched}]",
        "  guest.cpus: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n  guest.memory: [128M, 256M, 512M, 1G, 2G]\n  test.args.a: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n  test.args.b: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n  test.args.c: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]",
    ];
    let cases: Vec<String> = bodies.iter().map(|body| matrix(body)).collect();
    let cases: Vec<(&str, &str)> = cases.iter().map(|case| (tests, case.as_str())).collect();
    insta::assert_snapshot!(after(&cases));
}

#[test]
fn a_zram_axis_needs_zram() {
    let data = Data::new();
    let axis = "matrix: {guest.swap.zram.algorithm: [lz4]}\ntests:\n";
    let brd = GOOD.replace("{zram: {size: 64K, algorithm: lzo-rle}}", "{brd: {size: 64K}}").replace("tests:\n", axis);
    let none = GOOD.replace("{zram: {size: 64K, algorithm: lzo-rle}}", "none").replace("tests:\n", axis);
    insta::assert_snapshot!(data.errors(&brd) + "\n" + &data.errors(&none));
}

#[test]
fn two_cells_with_one_id() {
    let plan = "\
name: good
kernels:
- {name: a.b, source: {dir: tree}, variants: [{name: c, expect: corrupt}]}
- {name: a, source: {dir: tree}, variants: [{name: b.c, expect: corrupt}]}
tests:
- {name: t, run: swap-race}
";
    insta::assert_snapshot!(Data::new().errors(plan));
}

/// The errors of a plan that forces something after each replacement, one paragraph for each.
fn forced_after(cases: &[(&str, &str)]) -> String {
    let data = Data::new();
    let plan = Data::forcing(FORCED);
    data.plan(&plan);
    let mut told = String::new();
    for (what, by) in cases {
        assert!(plan.contains(what), "the plan has no {what:?}");
        told.push_str(&["--- ", by, "\n", &data.errors(&plan.replacen(what, by, 1)), "\n\n"].concat());
    }
    told
}

#[test]
fn interleavings() {
    let diagram = FORCED.split_inclusive('\n').skip(1).take(8).collect::<String>();
    let quoted = "  diagram: \"victim\\nread page\\nhodl\"\n";
    let folded = "  diagram: >\n    victim\n    read page\n";
    let indented = diagram.replace("diagram: |", "diagram: |2-").replace("hold", "hodl");
    let nested = "interleaving:\n- diagram: |\n    a     b\n\n    réad page   # é\n- {diagram: '', name: other}\n";
    insta::assert_snapshot!(forced_after(&[
        ("hold ", "hodl "),
        (".                write page", ".            write page"),
        (".                write page", ".       write page"),
        ("      f: after g|h   .\n", ""),
        ("f: after g|h", "f: afetr g|h"),
        ("release", "hold"),
        ("unpatched: corrupt", "unpached: corrupt"),
        ("unpatched: corrupt", "unpatched: curropt"),
        ("{unpatched: corrupt, patched: excluded}", "exclude"),
        ("{unpatched: corrupt, patched: excluded}", "[corrupt]"),
        ("\n  expect:", "\n  rounds: 0\n  deadline: 0s\n  expcet:"),
        ("interleaving:", "interleaving:\n  name: 'two words'"),
        ("interleaving:", "interleaving:\n  name: anon"),
        ("interleaving:", "interleaving:\n  run: --help\n  args: {a b: 1}"),
        ("interleaving:", "interleaving:\n  steps: [{victim: read page}]"),
        ("interleaving:", "interleavings:"),
        (&diagram, ""),
        (&diagram, "  diagram:\n"),
        (&diagram, "  diagram: 7\n"),
        (&diagram, quoted),
        (&diagram, folded),
        (&diagram, &indented),
        (&diagram, "  steps: []\n"),
        (&diagram, "  steps: [{a: read page, b: write page}]\n"),
        (&diagram, "  steps: [{a: read page}, {a: {at: 'f: afetr g'}}, {a: hold}, {b: {to: f}}, {a: release}]\n"),
        (&diagram, "  steps: [{a: read page}, {a: {at: 'f: afetr g'}}, {a: hodl}, {a: release}]\n"),
        (FORCED, "interleaving: []\n"),
        (FORCED, nested),
        (", symbols]", "]"),
        (", symbols]", ", {DEBUG_INFO_NONE: y}]"),
        ("run: swap-race", "run: b}\n- {name: t, run: a"),
    ]));
}

#[test]
fn sweeps() {
    let sweep = "sweep: {victim: read page, interferer: write page, functions: [f]}\n";
    let with = |what: &str, by: &str| sweep.replace(what, by);
    let cases = [
        with("victim: read page", "victim: read the page"),
        with("victim: read page", "victim: {}"),
        with("victim: read page", "victim: {a: read page, b: read page}"),
        with("victim: read page", "victim: {'a,b': read page}"),
        with("victim: read page", "victim: hold"),
        with("victim: read page, ", ""),
        with("interferer: write page", "interferer: [write page, {victim: unmap}]"),
        with("interferer: write page", "interferer: []"),
        with("interferer: write page", "interferer: 7"),
        with("interferer: write page, ", ""),
        with("[f]", "[]"),
        with("[f]", "[f, 'g: after h', mm/memory.c]"),
        with("[f]", "[f], callees: [mm, /mm/, ../mm/, mm/page_io.c]"),
        with("[f]", "[f], name: anon, deadline: 0s"),
        "sweep: []\n".to_owned(),
        "sweep:\n- {functions: [f]}\n- {victim: read page}\n".to_owned(),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|case| (FORCED, case.as_str())).collect();
    insta::assert_snapshot!(forced_after(&cases));
}

#[test]
fn a_matrix_keeps_bases_of_forced_cells_too() {
    let data = Data::new();
    let tests = GOOD.lines().last().expect("it has lines");
    let plan = Data::forcing(&FORCED.replace("interleaving:", "interleaving:\n  run: swap-race"));
    let plan = plan.replace(&format!("tests:\n{tests}\n"), "MATRIX");
    let errors = |matrix: &str| data.errors(&plan.replace("MATRIX", matrix));
    insta::assert_snapshot!(
        [
            "matrix: {exclude: [{variant: unpatched}]}\n",
            "matrix: {exclude: [{kernel: '*'}]}\n",
            "matrix: {guest.cpus: [1, 2], exclude: [{guest.cpus: 3}]}\n",
            "matrix: {exclude: [{test: anon}]}\n",
        ]
        .map(errors)
        .join("\n")
    );
}

#[test]
fn programs() {
    let data = Data::new();
    data.write("plans/repro.c", "int main(void) { return 0; }\n");
    data.write("plans/dos.sh", "#!/bin/sh\r\nexit 0\r\n");
    data.write("plans/notes.txt", "not a program\n");
    data.write("plans/folder/inside.sh", "#!/bin/sh\n");
    let mut arm = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0".to_vec();
    data.write("plans/arm", &arm);
    arm[16..20].copy_from_slice(&[1, 0, 62, 0]);
    data.write("plans/object.o", &arm);
    let mut told = String::new();
    for keys in [
        "program: repo.c",
        "program: folder",
        "program: dos.sh",
        "program: notes.txt",
        "program: arm",
        "program: object.o",
        "program: repro.c, run: swap-race",
        "run: swap-race, oracle: exit, env: {A: b}",
        "run: swap-race, args: [a, b]",
        "program: folder/inside.sh, build: {static: false}",
        "program: repro.c, files: [repro.h]",
        "program: repro.c, env: {A-B: c}",
        "program: repro.c, oracle: exits",
        "program: repro.c, oracle: {exit: {failure: [1, 256, SIGSEGV, segv], clean: [0, 1]}}",
        "program: repro.c, oracle: {output: {corrupt: 'lost (', try: 'x*'}}",
        "program: repro.c, oracle: {still_running: fine}",
    ] {
        let plan = GOOD.replacen("run: swap-race, args: {memory: anon}", keys, 1);
        assert_ne!(plan, GOOD);
        told.push_str(&["--- ", keys, "\n", &data.errors(&plan), "\n\n"].concat());
    }
    insta::assert_snapshot!(told);
}

#[test]
fn everything_at_once() {
    insta::assert_snapshot!(Data::new().errors(include_str!("plan_everything_wrong.yaml")));
}

#[test]
fn what_is_not_a_map_or_not_text() {
    let data = Data::new();
    let mut told = String::new();
    for text in ["", "42", "- a\n- b\n", "name: [", "a: b: c", "\u{0}", "name: \"\\x\"", "%YAML 9.9\n---\nname: a\n"] {
        told.push_str(&["--- ", &format!("{text:?}"), "\n", &data.errors(text), "\n\n"].concat());
    }
    insta::assert_snapshot!(told);
    let path = data.root().join("plans/latin1.yaml");
    std::fs::write(&path, b"name: a\n# caf\xe9\n").expect("writes");
    let error = twinboot::plan::load(&path, Some(data.root())).expect_err("this is not UTF-8");
    assert!(error.to_string().contains("latin1.yaml:2:6: found a byte that is not UTF-8"), "{error}");
}

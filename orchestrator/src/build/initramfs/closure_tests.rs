//! Small libraries and programs from the C compiler, which every machine that builds Rust has.

use std::collections::HashMap;
use std::process::Command;

use super::*;

struct Workshop {
    dir: tempfile::TempDir,
    libraries: Libraries,
}

impl Workshop {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a scratch folder"), libraries: Libraries::of_this_machine() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().expect("is there").join(name)
    }

    /// Compiles `source` to `name` with further compiler arguments, in which `@` stands for the scratch folder.
    fn compile(&self, name: &str, source: &str, args: &[&str]) -> PathBuf {
        let out = self.path(name);
        std::fs::create_dir_all(out.parent().expect("in the folder")).expect("makes it");
        let text = self.path("source.c");
        std::fs::write(&text, source).expect("writes");
        let root = self.path("").display().to_string();
        let args = args.iter().map(|arg| arg.replace("@/", &root));
        let done = Command::new("cc").arg("-o").arg(&out).arg(&text).args(args).output().expect("cc is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        out
    }

    /// A library `lib<name>.so` under `folder` that other code can call as `<name>()`.
    fn library(&self, folder: &str, name: &str, body: &str, args: &[&str]) {
        let soname = format!("-Wl,-soname,lib{name}.so");
        let args = [&["-shared", "-fPIC", &soname], args].concat();
        self.compile(&format!("{folder}/lib{name}.so"), &format!("{body}; int {name}(void) {{ return 1; }}"), &args);
    }

    fn closure(&self, program: &Path, guest: &str) -> Result<Vec<Need>, Error> {
        closure(program, Path::new(guest), &self.libraries, &mut Contents::default())
    }

    fn files(&self, program: &Path, guest: &str) -> Vec<(PathBuf, PathBuf)> {
        let needs = self.closure(program, guest).expect("a closure");
        needs
            .into_iter()
            .filter_map(|need| match need {
                Need::File { from, to } => Some((from, to)),
                Need::Link { .. } => None,
            })
            .collect()
    }
}

const CALLS_FOO: &str = "int foo(void); int main(void) { return foo(); }";

#[test]
fn a_plain_program_needs_its_loader_and_libc() {
    let shop = Workshop::new();
    let program = shop.compile("plain", "int main(void) { return 0; }", &[]);
    let files = shop.files(&program, "/usr/bin/plain");
    let names: Vec<String> =
        files.iter().map(|(_, to)| to.file_name().expect("a file").to_string_lossy().into_owned()).collect();
    assert_eq!(names.len(), 2, "{files:?}");
    assert!(names[0].starts_with("ld-") && names[1].starts_with("libc."), "{names:?}");
    assert!(files.iter().all(|(from, to)| from == to && from.is_file()));
}

#[test]
fn the_guest_gets_what_the_real_loader_would_load() {
    let program = Path::new("/proc/self/exe");
    let said = Command::new("ldd").arg(program.canonicalize().expect("is there")).output().expect("ldd runs");
    let said = String::from_utf8(said.stdout).expect("text");
    let mut expected: Vec<&str> =
        said.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/'))).collect();
    expected.sort_unstable();
    let shop = Workshop::new();
    let mut found: Vec<String> =
        shop.files(program, "/usr/bin/x").into_iter().map(|(from, _)| from.display().to_string()).collect();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn a_static_program_needs_nothing() {
    let shop = Workshop::new();
    let program = shop.compile("static", "int main(void) { return 0; }", &["-static"]);
    assert_eq!(shop.closure(&program, "/usr/bin/static").expect("a closure"), []);
}

#[test]
fn origin_means_the_folder_in_the_guest() {
    let shop = Workshop::new();
    shop.library("lib", "foo", "", &[]);
    let program = shop.compile(
        "bin/uses-foo",
        CALLS_FOO,
        &["-L@/lib", "-lfoo", "-Wl,-rpath,$ORIGIN/../lib", "-Wl,--enable-new-dtags"],
    );
    let files = shop.files(&program, "/usr/local/bin/uses-foo");
    assert!(files.contains(&(shop.path("lib/libfoo.so"), PathBuf::from("/usr/local/lib/libfoo.so"))), "{files:?}");
}

#[test]
fn an_rpath_reaches_libraries_of_libraries_and_a_runpath_does_not() {
    let shop = Workshop::new();
    shop.library("deep", "bar", "", &[]);
    shop.library("lib", "foo", "int bar(void); int call(void) { return bar(); }", &["-L@/deep", "-lbar"]);
    let paths = "-Wl,-rpath,@/lib:@/deep";
    let link = ["-L@/lib", "-lfoo", "-Wl,-rpath-link,@/deep", paths];
    let old = shop.compile("old", CALLS_FOO, &[&link[..], &["-Wl,--disable-new-dtags"]].concat());
    let files = shop.files(&old, "/usr/bin/old");
    let deep = shop.path("deep/libbar.so");
    assert!(files.contains(&(deep.clone(), deep)), "{files:?}");

    let new = shop.compile("new", CALLS_FOO, &[&link[..], &["-Wl,--enable-new-dtags"]].concat());
    let message = shop.closure(&new, "/usr/bin/new").expect_err("libbar is out of reach").to_string();
    assert!(message.contains("`libbar.so`") && message.contains("lib/libfoo.so`"), "{message}");
    // The real loader agrees on both.
    assert!(Command::new(&old).output().expect("starts").status.code() == Some(1));
    assert!(Command::new(&new).output().expect("starts").status.code() == Some(127));
}

#[test]
fn a_missing_library_is_named_with_who_needs_it_and_where_it_was_looked_for() {
    let shop = Workshop::new();
    shop.library("lib", "foo", "", &[]);
    let program = shop.compile("x", CALLS_FOO, &["-L@/lib", "-lfoo", "-Wl,-rpath,/nowhere"]);
    let message = shop.closure(&program, "/usr/bin/x").expect_err("is missing").to_string();
    for part in
        ["`libfoo.so`", &program.display().to_string(), "/nowhere/libfoo.so", "/usr/lib/libfoo.so", "ld.so.cache"]
    {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn a_library_for_another_machine_is_passed_over() {
    let mut shop = Workshop::new();
    shop.library("lib", "foo", "", &[]);
    shop.library("other", "foo", "", &[]);
    let program = shop.compile("x", CALLS_FOO, &["-L@/lib", "-lfoo"]);
    let foreign = shop.path("other/libfoo.so");
    make_foreign(&foreign);
    shop.libraries.cached = HashMap::from([("libfoo.so".to_owned(), vec![foreign])]);
    let message = shop.closure(&program, "/usr/bin/x").expect_err("nothing fits").to_string();
    assert!(message.contains("other/libfoo.so (there, but for ELF machine 2"), "{message}");

    let fit = shop.path("lib/libfoo.so");
    shop.libraries.cached.get_mut("libfoo.so").expect("is there").push(fit);
    let files = shop.files(&program, "/usr/bin/x");
    assert!(files.iter().any(|(from, _)| *from == shop.path("lib/libfoo.so")));
}

#[test]
fn a_program_for_another_machine_is_refused() {
    let shop = Workshop::new();
    let program = shop.compile("x", "int main(void) { return 0; }", &[]);
    make_foreign(&program);
    let refused = shop.closure(&program, "/usr/bin/x");
    assert!(matches!(refused, Err(Error::WrongArchitecture { .. })), "{refused:?}");
}

#[test]
fn what_only_the_cache_knows_gets_a_link_beside_libc() {
    let mut shop = Workshop::new();
    shop.library("lib", "foo", "", &[]);
    let program = shop.compile("x", CALLS_FOO, &["-L@/lib", "-lfoo"]);
    let library = shop.path("lib/libfoo.so");
    shop.libraries.cached.insert("libfoo.so".to_owned(), vec![library.clone()]);
    let needs = shop.closure(&program, "/usr/bin/x").expect("a closure");
    let libc = needs.iter().find_map(|need| match need {
        Need::File { to, .. } if to.to_string_lossy().contains("/libc.") => to.parent(),
        _ => None,
    });
    let at = libc.expect("libc is there").join("libfoo.so");
    assert!(needs.contains(&Need::Link { at, to: library }), "{needs:?}");
}

/// Overwrites `e_machine` (byte 18) with SPARC's number.
fn make_foreign(path: &Path) {
    let mut bytes = std::fs::read(path).expect("reads");
    bytes[18..20].copy_from_slice(&2_u16.to_le_bytes());
    std::fs::write(path, bytes).expect("writes");
}

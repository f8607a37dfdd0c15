//! A tree that takes the commands of a kernel build and answers in a second: real `make`, real compiler, a handful of files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;
use twinboot::build::{BuiltKernel, Error, Request, Step, build};
use twinboot::cache::Cache;
use twinboot::journal::rules::Expectation;
use twinboot::plan::model::{BaseConfig, ConfigLayer, Kernel, Patch, Source, Variant};

const MAKEFILE: &str = r"
MAKEFLAGS += --no-builtin-rules
SRC := $(CURDIR)
RELEASE := 6.1.0-fake$(LOCALVERSION)
OBJS := $(patsubst $(SRC)/%.c,$(O)/%.o,$(wildcard $(SRC)/mm/*.c))
.DELETE_ON_ERROR:

allnoconfig:
	@sed -n 's/^config \(.*\)/# CONFIG_\1 is not set/p' Kconfig > $(O)/.config

olddefconfig:
	@sh scripts/olddefconfig Kconfig $(O)/.config

prepare:
	@mkdir -p $(O)/include/generated

$(O)/%.o: %.c include/mm.h
	@mkdir -p $(@D)
	@echo '  CC      $*.o'
	@$(CC) -O1 -ffreestanding -fno-pic -Iinclude -c -o $@ $<
	@if grep -q TAKES_FOREVER $<; then touch $(O)/waiting; sleep 100000; fi
	@echo 'cmd := cc' > $(@D)/.$(@F).cmd

$(O)/vmlinux: $(OBJS)
	@echo '  LD      vmlinux'
	@ld -o $@ -e start -Ttext=0x1000000 --build-id=sha1 $^

vmlinux: $(O)/vmlinux
	@mkdir -p $(O)/include/config
	@echo '$(RELEASE)' > $(O)/include/config/kernel.release

bzImage: vmlinux
	@mkdir -p $(O)/arch/x86/boot
	@cp $(O)/vmlinux $(O)/arch/x86/boot/bzImage

modules: vmlinux
	@echo module > $(O)/fake.ko

modules_install:
	@mkdir -p $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/kernel
	@cp $(O)/fake.ko $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/kernel
	@ln -s $(O) $(INSTALL_MOD_PATH)/lib/modules/$(RELEASE)/build
";

/// Drops options that the Kconfig file does not know or whose one dependency is not set.
const OLDDEFCONFIG: &str = r#"
awk -F'[ \t]+' -v kconfig="$1" '
BEGIN { while ((getline < kconfig) > 0) { if ($1 == "config") name = $2; if ($2 == "depends") need[name] = $4; if ($1 == "config") known[name] = 1 } }
/^CONFIG_/ { name = $0; sub(/^CONFIG_/, "", name); sub(/=.*/, "", name); if (!(name in known)) next; if ((name in need) && !(need[name] in set)) next; set[name] = 1 }
{ print }' "$2" > "$2.new" && mv "$2.new" "$2"
"#;

const KCONFIG: &str = "mainmenu \"fake\"\n\nconfig SWAP\n\tbool \"Swap\"\n\nconfig BLOCK\n\tbool \"Block\"\n\nconfig ZRAM\n\ttristate \"zram\"\n\tdepends on BLOCK\n";

/// Has the note that tells the PVH entry, and the banner.
pub const ENTRY: &str = "__asm__(\".pushsection .note.Xen,\\\"a\\\",@note\\n.long 4, 8, 18\\n.asciz \\\"Xen\\\"\\n.quad start\\n.popsection\");\nconst char banner[] = \"Linux version 6.1.0-fake \";\nvoid start(void) {}\n";

pub const MEMORY: &str = "#include \"mm.h\"\n\nint pages;\n\nint swapin(int entry)\n{\n\tif (pin(entry))\n\t\treturn -1;\n\treturn entry + pages;\n}\n\nint swapout(int entry)\n{\n\treturn entry - pages;\n}\n";

/// Takes the pin out of [`MEMORY`].
pub const UNPIN: &str = "From: twinboot developers\nSubject: [PATCH] mm: take out the pin\n\n---\n--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -4,8 +4,6 @@ int pages;\n \n int swapin(int entry)\n {\n-\tif (pin(entry))\n-\t\treturn -1;\n \treturn entry + pages;\n }\n \n";

/// Changes the other function and adds a file.
pub const SWAPOUT: &str = "--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -11,5 +11,5 @@ int swapin(int entry)\n \n int swapout(int entry)\n {\n-\treturn entry - pages;\n+\treturn entry - 2 * pages;\n }\n--- /dev/null\n+++ b/mm/extra.c\n@@ -0,0 +1 @@\n+int extra(void) { return 3; }\n";

pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("has one")).expect("makes the folder");
    fs::write(path, text).expect("writes");
}

/// Writes the tree.
pub fn tree(dir: &Path) {
    write(&dir.join("Makefile"), MAKEFILE);
    write(&dir.join("Kconfig"), KCONFIG);
    write(&dir.join("scripts/olddefconfig"), OLDDEFCONFIG);
    write(&dir.join("include/mm.h"), "int pin(int entry);\n");
    write(&dir.join("mm/entry.c"), ENTRY);
    write(&dir.join("mm/memory.c"), MEMORY);
    write(&dir.join("mm/pin.c"), "#include \"mm.h\"\nint pin(int entry) { return entry == 7; }\n");
}

/// Runs a program and shows what it said when it fails.
pub fn sh(dir: &Path, command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).current_dir(dir).output().expect("there is a shell");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("is text").trim().to_owned()
}

/// Every file below with its content and time.
pub fn photograph(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("is there").path();
        if path.is_dir() {
            seen.extend(photograph(&path));
        } else {
            let modified = path.metadata().and_then(|metadata| metadata.modified()).expect("has a time");
            seen.insert(path.clone(), (modified, fs::read(&path).expect("reads")));
        }
    }
    seen
}

/// A kernel from a source, with one option asked for.
pub fn kernel_of(source: Source) -> Kernel {
    Kernel {
        name: "fake".to_owned(),
        series: None,
        source,
        locked: None,
        notes: None,
        base_config: BaseConfig::Allnoconfig,
        config: vec![ConfigLayer::Inline([("SWAP".to_owned(), "y".to_owned())].into())],
        variants: Vec::new(),
    }
}

/// A scratch folder with a tree, a cache and patches in it.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub cache: Cache,
    pub cancel: CancellationToken,
    pub steps: Mutex<Vec<Step>>,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a scratch folder");
        tree(&dir.path().join("linux"));
        let cache = Cache::open(Some(&dir.path().join("cache"))).expect("opens");
        Self { dir, cache, cancel: CancellationToken::new(), steps: Mutex::default() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn kernel(&self) -> Kernel {
        kernel_of(Source::Dir(self.path("linux")))
    }

    /// A variant with these diffs, each applied or, after a `-`, reversed.
    pub fn variant(&self, name: &str, diffs: &[&str]) -> Variant {
        let patches = diffs.iter().enumerate().map(|(index, diff)| {
            let path = self.path(&format!("{name}-{index}.patch"));
            let (reverse, text) = diff.strip_prefix("REVERSE").map_or((false, *diff), |text| (true, text));
            write(&path, text);
            Patch { path, reverse }
        });
        Variant {
            name: name.to_owned(),
            patches: patches.collect(),
            rev: None,
            image: None,
            expect: Expectation::Any,
            base: None,
        }
    }

    pub async fn build(&self, kernel: &Kernel, variant: &Variant) -> Result<BuiltKernel, Error> {
        self.steps.lock().expect("no panic").clear();
        let progress = |step| self.steps.lock().expect("no panic").push(step);
        build(&Request { kernel, variant, jobs: 2, yields: false }, &self.cache, &progress, &self.cancel).await
    }

    pub fn steps(&self) -> Vec<Step> {
        self.steps.lock().expect("no panic").clone()
    }

    /// The one work tree.
    pub fn work(&self) -> PathBuf {
        let mut works =
            fs::read_dir(self.cache.root().join("work")).expect("lists").map(|entry| entry.expect("is there").path());
        let only = works.next().expect("there is one");
        assert!(works.next().is_none(), "variants share one work tree");
        only
    }
}

/// Objects that a build compiled, by its log.
pub fn compiled(kernel: &BuiltKernel) -> Vec<String> {
    let log = fs::read_to_string(kernel.log.as_ref().expect("was built")).expect("reads");
    let mut objects: Vec<String> =
        log.lines().filter_map(|line| line.strip_prefix("  CC      ")).map(str::to_owned).collect();
    objects.sort();
    objects
}

/// What the error says, with everything it was caused by.
pub fn said(result: Result<BuiltKernel, Error>) -> String {
    match result {
        Ok(kernel) => panic!("was built: {kernel:?}"),
        Err(error) => error.to_string(),
    }
}

//! A data folder of its own for each test, and a plan that is right.

use std::path::Path;

use twinboot::plan::model::Plan;
use twinboot::plan::parse;
use twinboot::plan::roots::Roots;

/// A plan with nothing wrong in it, for the files that [`Data`] has.
pub const GOOD: &str = "\
name: good
kernels:
- name: linux-6.1
  source: {debian: linux-source-6.1}
  config: [base, swap]
variants:
- {name: unpatched, patches: [unpin.patch], expect: corrupt}
- {name: patched, expect: clean}
guest: {cpus: 2, memory: 512M, swap: {zram: {size: 64K, algorithm: lzo-rle}}}
tests:
- {name: anon, run: swap-race, args: {memory: anon}, rounds: 10, stop: {alpha: 1e-6, at_most: 60s}}
";

/// What makes the good plan force the race that it tests for.
pub const FORCED: &str = "\
interleaving:
  diagram: |
    victim           interferer
    ------           ----------
    read page        .
      f: after g|h   .
    hold             .
    .                write page
    release          .
  expect: {unpatched: corrupt, patched: excluded}
";

/// A data folder with a few fragments, patches, recipes and things to build from; plans are in its
/// `plans/`.
pub struct Data(tempfile::TempDir);

impl Data {
    /// Makes one.
    pub fn new() -> Self {
        let data = Self(tempfile::tempdir().expect("a scratch folder"));
        for file in [
            "kernels/config/base.config",
            "kernels/config/preempt.config",
            "kernels/config/swap.config",
            "kernels/config/symbols.config",
            "plans/linux.tar.xz",
            "plans/tree/Makefile",
            "plans/ready/vmlinux",
            "plans/ready/other",
        ] {
            let path = data.root().join(file);
            std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("makes folders");
            std::fs::write(path, "").expect("writes");
        }
        for patch in
            ["kernels/patches/6.1/0001-mm-swap-take-out-the-pin.patch", "plans/unpin.patch", "plans/other.patch"]
        {
            data.write(patch, "--- a/mm/memory.c\n+++ b/mm/memory.c\n@@ -1 +1 @@\n-one\n+two\n");
        }
        data.write("images/default.yaml", "init: init\n");
        data.write(
            "kernels/sources.yaml",
            "linux-6.12:\n  source: {debian: {package: linux-source-6.12, suite: trixie}}\n  config: [base, swap, preempt]\n  notes: One of them.\n\
             linux-broken:\n  source: {debian: linux-source-6.12, dir: nowhere}\n  config: [nothing]\n",
        );
        data
    }

    /// Writes a file, by its path in the data folder.
    pub fn write(&self, file: &str, contents: impl AsRef<[u8]>) {
        let path = self.root().join(file);
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("makes folders");
        std::fs::write(path, contents).expect("writes");
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Reads a plan as if it were `plans/p.yaml`.
    pub fn parse(&self, text: &str) -> Result<Plan, String> {
        let path = self.root().join("plans/p.yaml");
        parse(text, &path, &Roots::new(self.root())).map_err(|errors| {
            errors
                .to_string()
                .replace(&format!("{}/plans/", self.root().display()), "")
                .replace(&format!("{}/", self.root().display()), "")
        })
    }

    /// Reads a plan that is right.
    pub fn plan(&self, text: &str) -> Plan {
        self.parse(text).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
    }

    /// The good plan with debug information and more at its end.
    pub fn forcing(more: &str) -> String {
        GOOD.replace("[base, swap]", "[base, swap, symbols]") + more
    }

    /// The errors of a plan that is wrong.
    pub fn errors(&self, text: &str) -> String {
        match self.parse(text) {
            Ok(_) => panic!("nothing is found wrong with\n{text}"),
            Err(errors) => errors,
        }
    }
}

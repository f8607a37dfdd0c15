//! The integration tests of the orchestrator, one module a topic. Those named `real_*` need a real kernel and are ignored
//! unless they are asked for.

mod apt_root;
mod backports;
mod cache_damage;
mod clean;
mod foreign_results;
mod git_traps;
mod image;
mod journal_mutations;
mod kernel_build;
mod kernel_debian;
mod kernel_fake;
mod kernel_source;
mod kernel_text;
mod killed;
mod layers;
mod patch_cases;
mod plan_cases;
mod plan_docs;
mod plan_errors;
mod plan_fixture;
mod plan_lock;
mod plan_resolve;
mod real_clones;
mod real_debugger;
mod real_interleaving;
mod real_kernel;
mod real_reproducer;
mod real_sweep;
mod real_verdicts;
mod report_forced;
mod report_golden;
mod report_hostile;
mod report_step_summary;
mod revisions;
mod run_fake;
mod signals;
mod vm;
mod vm_accel;
mod vm_ssh;

/// A test file that no `mod` names would never run.
#[test]
fn no_file_is_forgotten() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for (folder, list) in [(folder.clone(), "main.rs"), (folder.join("run_fake"), "mod.rs")] {
        let named = std::fs::read_to_string(folder.join(list)).expect("a readable list");
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let module =
                if path.is_dir() && path.join("mod.rs").exists() || path.extension().is_some_and(|it| it == "rs") {
                    path.file_stem().expect("a name").to_string_lossy().into_owned()
                } else {
                    continue;
                };
            let line = format!("mod {module};");
            assert!(
                ["main", "mod"].contains(&module.as_str()) || named.lines().any(|it| it == line),
                "{line} is missing in {list}"
            );
        }
    }
}

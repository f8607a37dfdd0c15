//! docs/plan.schema.json and docs/plan-reference.md say what the types say, and the shipped plans
//! pass the check.

use std::path::{Path, PathBuf};

use twinboot::plan::{load, schema};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace").to_path_buf()
}

/// Compares a generated file with the one in the tree, or writes it when `UPDATE_DOCS` is set.
fn same(name: &str, generated: &str) {
    let path = root().join("docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, generated).expect("docs can be written");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == generated,
        "docs/{name} is not what the types say; write it anew with UPDATE_DOCS=1 cargo test --test it plan_docs"
    );
}

#[test]
fn the_schema_is_that_of_the_types() {
    let schema = serde_json::to_string_pretty(&schema::json_schema()).expect("a schema is JSON");
    same("plan.schema.json", &format!("{schema}\n"));
}

#[test]
fn the_schema_of_the_catalogue_is_that_of_its_types() {
    let schema = serde_json::to_string_pretty(&schema::catalogue_schema()).expect("a schema is JSON");
    same("sources.schema.json", &format!("{schema}\n"));
}

#[test]
fn every_kernel_of_the_catalogue_can_be_named_alone() {
    let path = root().join("kernels/sources.yaml");
    let text = std::fs::read_to_string(&path).expect("the catalogue can be read");
    assert!(text.starts_with("# yaml-language-server: $schema=../docs/sources.schema.json\n"));
    let names: schema::Catalogue =
        twinboot::plan::yaml::parse(&text, &path).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(names.len() >= 4);
    let list = names.keys().cloned().collect::<Vec<_>>().join(", ");
    let plan = format!(
        "name: all\nkernels: [{list}]\nvariants: [{{name: v, expect: clean, alone: true}}]\ntests: [{{name: t, run: r}}]\n"
    );
    let roots = twinboot::plan::roots::Roots::new(root());
    let plan = twinboot::plan::parse(&plan, &root().join("plans/all.yaml"), &roots)
        .unwrap_or_else(|errors| panic!("{errors}"));
    for kernel in &plan.kernels {
        assert!(kernel.series.is_some() && kernel.notes.is_some() && !kernel.config.is_empty(), "{kernel:?}");
    }
}

#[test]
fn the_reference_is_that_of_the_types() {
    same("plan-reference.md", &schema::reference());
}

#[test]
fn every_shipped_plan_passes_and_names_the_schema() {
    let mut plans: Vec<PathBuf> = std::fs::read_dir(root().join("plans"))
        .expect("plans/ is there")
        .map(|entry| entry.expect("plans/ can be read").path())
        .filter(|path| path.to_string_lossy().ends_with(".yaml") && !path.to_string_lossy().ends_with(".lock.yaml"))
        .collect();
    plans.sort();
    assert!(plans.len() >= 2, "quick.yaml and swap-skip-race.yaml at least");
    for path in plans {
        let text = std::fs::read_to_string(&path).expect("a plan can be read");
        assert!(
            text.starts_with("# yaml-language-server: $schema=../docs/plan.schema.json\n"),
            "{} does not name its schema",
            path.display()
        );
        let plan = load(&path, Some(&root())).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(Some(plan.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()), "named like its file");
    }
}

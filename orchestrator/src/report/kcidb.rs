//! `kcidb.json`: KCIDB's I/O schema 5.3, for `KernelCI`'s database.
//!
//! Source: `kcidb_io.schema.V5_3`: a checkout for each variant (its patch set is part of it), a build for each checkout
//! and a test for each cell; what has no field of its own stands under `misc`.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::cases::{self, Status};
use super::words::one_line;
use super::{Format, RenderError, story};
use crate::outcome::entry::RunStarted;
use crate::outcome::{BuildState, CellResult, Rate, Results};

/// The KCIDB format.
#[derive(Debug, Clone, Copy)]
pub struct Kcidb;

/// Who reports; ids start with it.
const ORIGIN: &str = "twinboot";
/// Longest `log_excerpt` in characters.
const EXCERPT: usize = 16384;

impl Format for Kcidb {
    fn name(&self) -> &'static str {
        "kcidb"
    }

    fn file_name(&self) -> &'static str {
        "kcidb.json"
    }

    fn render(&self, results: &Results) -> Result<String, RenderError> {
        let (mut checkouts, mut builds, mut tests) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(run) = &results.run {
            let mut seen: Vec<(&str, &str)> = Vec::new();
            for cell in &results.cells {
                let variant = (cell.spec.kernel.as_str(), cell.spec.variant.as_str());
                if !seen.contains(&variant) {
                    seen.push(variant);
                    checkouts.push(checkout(run, cell));
                    builds.push(build(run, cell));
                }
                tests.push(test(results, run, cell));
            }
        }
        let document = json!({
            "version": {"major": 5, "minor": 3},
            "checkouts": checkouts,
            "builds": builds,
            "tests": tests,
        });
        Ok(format!("{document:#}\n"))
    }
}

/// The id of a thing of this run: the same each time the report is made, another for every other run.
fn id(run: &RunStarted, parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in
        [run.started.as_str(), run.plan_sha256.as_str(), &run.seed.to_string(), &run.host.cpu].iter().chain(parts)
    {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    format!("{ORIGIN}:{:x}", digest.finalize())
}

fn checkout_id(run: &RunStarted, cell: &CellResult) -> String {
    id(run, &["checkout", &cell.spec.kernel, &cell.spec.variant])
}

fn build_id(run: &RunStarted, cell: &CellResult) -> String {
    id(run, &["build", &cell.spec.kernel, &cell.spec.variant])
}

fn checkout(run: &RunStarted, cell: &CellResult) -> Value {
    let patches = &cell.spec.patches;
    let mut digest = Sha256::new();
    for patch in patches {
        digest.update(patch.id.as_bytes());
        digest.update([u8::from(patch.reverse), b'\n']);
    }
    let hash = if patches.is_empty() { String::new() } else { format!("{:x}", digest.finalize()) };
    json!({
        "id": checkout_id(run, cell),
        "origin": ORIGIN,
        "tree_name": one_line(&cell.spec.kernel),
        "patchset_hash": hash,
        "start_time": run.started,
        "comment": one_line(&format!("{} {}", cell.spec.kernel, cell.spec.variant)),
        "valid": true,
        "misc": {
            "variant": one_line(&cell.spec.variant),
            "patches": patches.iter().map(|patch| json!({
                "file": one_line(&patch.file),
                "subject": patch.subject.as_deref().map(one_line),
                "reverse": patch.reverse,
                "id": one_line(&patch.id),
            })).collect::<Vec<_>>(),
        },
    })
}

fn build(run: &RunStarted, cell: &CellResult) -> Value {
    let mut value = Map::new();
    value.insert("id".into(), build_id(run, cell).into());
    value.insert("checkout_id".into(), checkout_id(run, cell).into());
    value.insert("origin".into(), ORIGIN.into());
    match &cell.build {
        BuildState::Built(built) => {
            value.insert("status".into(), "PASS".into());
            value.insert("compiler".into(), one_line(&built.compiler).into());
            value.insert("duration".into(), built.seconds.max(0.0).into());
            let misc = json!({
                "release": one_line(&built.release),
                "config_sha256": one_line(&built.config_sha256),
                "load_digest": one_line(&built.load_digest),
                "cached": built.cached,
            });
            value.insert("misc".into(), misc);
        }
        BuildState::Failed(reason) => {
            value.insert("status".into(), "FAIL".into());
            value.insert("log_excerpt".into(), excerpt(reason.lines()).into());
        }
        BuildState::Unknown => {
            value.insert("status".into(), "MISS".into());
        }
    }
    value.into()
}

fn test(results: &Results, run: &RunStarted, cell: &CellResult) -> Value {
    let rate = Rate::of(cell);
    let status = match cases::status(cell) {
        Status::Pass => "PASS",
        Status::Fail => "FAIL",
        Status::Error => "ERROR",
        Status::Skip => "SKIP",
    };
    let comparisons: Vec<Value> = results
        .comparisons
        .iter()
        .filter(|it| it.patched == cell.spec.id)
        .map(|it| {
            json!({
                "base": one_line(&it.base),
                "verdict": it.verdict.word(),
                "sentence": story::sentence(results, it, "->"),
                "log10_p_value": it.p.map(crate::stats::LnProb::log10).filter(|log| log.is_finite()),
            })
        })
        .collect();
    let mut value = json!({
        "id": id(run, &["test", &cell.spec.id]),
        "build_id": build_id(run, cell),
        "origin": ORIGIN,
        "path": path(&[&cell.spec.program, &cell.spec.test, &cell.spec.guest]),
        "status": status,
        "comment": one_line(&cases::headline(cell)),
        "start_time": run.started,
        "duration": cell.seconds,
        "environment": {
            "comment": one_line(&format!("QEMU {}, {}", run.accelerator.qemu, run.accelerator.name)),
            "misc": {
                "host_kernel": one_line(&run.host.kernel),
                "host_cpu": one_line(&run.host.cpu),
                "host_cpus": run.host.cpus,
                "guest_cpus": cell.spec.cpus,
                "guest_memory": cell.spec.memory,
                "swap": cell.spec.swap.as_deref().map(one_line),
            },
        },
        "misc": {
            "rounds": cell.counted_rounds(),
            "tries": cell.totals.tries,
            "exposures": cell.totals.exposures,
            "corruptions": cell.totals.corruptions,
            "interval95": rate.interval95.map(|it| [it.low, it.high]),
            "first_corruption_s": cell.first_corruption_s,
            "seed": run.seed,
            "rerun": one_line(&run.rerun),
            "comparisons": comparisons,
        },
    });
    if let Some(per_exposure) = rate.per_exposure {
        value["number"] = json!({"value": per_exposure, "unit": "corruptions/exposure"});
    }
    let console: Vec<&str> = cell.trouble.iter().flat_map(|trouble| &trouble.excerpt).map(String::as_str).collect();
    if !console.is_empty() {
        value["log_excerpt"] = excerpt(console).into();
    }
    value
}

/// Lines made harmless and cut to what the schema allows.
fn excerpt<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let text: Vec<String> = lines.into_iter().map(one_line).collect();
    text.join("\n").chars().take(EXCERPT).collect()
}

/// A test path: dots between the parts, in each of them only what `[a-zA-Z0-9_-]` holds.
fn path(parts: &[&str]) -> String {
    let clean = |part: &&str| -> String {
        let letters =
            part.chars().map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' });
        letters.collect()
    };
    parts.iter().filter(|part| !part.is_empty()).map(clean).collect::<Vec<_>>().join(".")
}

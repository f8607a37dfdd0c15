//! `kcidb.json`: KCIDB's I/O schema 5.3, for `KernelCI`'s database.
//!
//! Source: `kcidb_io.schema.V5_3`: a checkout for each variant (its patch set is part of it), a build for each checkout
//! and a test for each cell; what has no field of its own stands under `misc`.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::cases::{Case, Status};
use super::words::one_line;
use super::{Format, RenderError, forced, story};
use crate::analysis::{BuildState, CellResult, ForcedComparison, ForcedResult, Rate, Results, SweepResult};
use crate::journal::entry::{PatchInfo, RunStarted};
use crate::journal::interleaving::ForcedSpec;

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
            for case in Case::all(results) {
                let made = Made::of(case);
                if !seen.contains(&(made.kernel, made.variant)) {
                    seen.push((made.kernel, made.variant));
                    checkouts.push(checkout(run, &made));
                    builds.push(build(run, &made));
                }
                tests.push(match case {
                    Case::Races(cell) => test(results, run, cell),
                    Case::Forced(it) => forced_test(results, run, (case, &it.spec), &diagram(it)),
                    Case::Sweep(it) => forced_test(results, run, (case, &it.spec), &sweep(it)),
                });
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

/// A kernel, its patches and its build.
struct Made<'a> {
    kernel: &'a str,
    variant: &'a str,
    patches: &'a [PatchInfo],
    build: &'a BuildState,
}

impl<'a> Made<'a> {
    fn of(case: Case<'a>) -> Self {
        let forced = |spec: &'a ForcedSpec, build| Self {
            kernel: &spec.kernel,
            variant: &spec.variant,
            patches: &spec.patches,
            build,
        };
        match case {
            Case::Races(CellResult { spec, build, .. }) => {
                Self { kernel: &spec.kernel, variant: &spec.variant, patches: &spec.patches, build }
            }
            Case::Forced(it) => forced(&it.spec, &it.build),
            Case::Sweep(it) => forced(&it.spec, &it.build),
        }
    }
}

fn build_id(run: &RunStarted, kernel: &str, variant: &str) -> String {
    id(run, &["build", kernel, variant])
}

fn checkout(run: &RunStarted, made: &Made<'_>) -> Value {
    let Made { kernel, variant, patches, .. } = *made;
    let mut digest = Sha256::new();
    for patch in patches {
        digest.update(patch.id.as_bytes());
        digest.update([u8::from(patch.reverse), b'\n']);
    }
    let hash = if patches.is_empty() { String::new() } else { format!("{:x}", digest.finalize()) };
    json!({
        "id": id(run, &["checkout", kernel, variant]),
        "origin": ORIGIN,
        "tree_name": one_line(kernel),
        "patchset_hash": hash,
        "start_time": run.started,
        "comment": one_line(&format!("{kernel} {variant}")),
        "valid": true,
        "misc": {
            "variant": one_line(variant),
            "patches": patches.iter().map(|patch| json!({
                "file": one_line(&patch.file),
                "subject": patch.subject.as_deref().map(one_line),
                "reverse": patch.reverse,
                "id": one_line(&patch.id),
            })).collect::<Vec<_>>(),
        },
    })
}

fn build(run: &RunStarted, made: &Made<'_>) -> Value {
    let mut value = Map::new();
    value.insert("id".into(), build_id(run, made.kernel, made.variant).into());
    value.insert("checkout_id".into(), id(run, &["checkout", made.kernel, made.variant]).into());
    value.insert("origin".into(), ORIGIN.into());
    match made.build {
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
    let (rate, case) = (Rate::of(cell), Case::Races(cell));
    let comparisons: Vec<Value> = results
        .comparisons
        .iter()
        .filter(|it| it.patched == cell.spec.id)
        .map(|it| {
            let mut told = json!({
                "base": one_line(&it.base),
                "verdict": it.verdict.word(),
                "sentence": story::sentence(results, it, "->"),
                "log10_p_value": it.p.map(crate::analysis::stats::LnProb::log10).filter(|log| log.is_finite()),
            });
            if !it.forced.is_empty() {
                told["forced"] = it.forced.iter().map(|pair| pair_told(results, pair)).collect();
                told["contradictions"] = it.contradictions.iter().map(|words| one_line(words)).collect();
            }
            told
        })
        .collect();
    let mut value = json!({
        "id": id(run, &["test", &cell.spec.id]),
        "build_id": build_id(run, &cell.spec.kernel, &cell.spec.variant),
        "origin": ORIGIN,
        "path": path(&[&cell.spec.program, &cell.spec.test, &cell.spec.guest]),
        "status": status(case),
        "comment": one_line(&case.headline()),
        "start_time": run.started,
        "duration": cell.seconds,
        "environment": environment(run, cell.spec.cpus, cell.spec.memory, cell.spec.swap.as_deref()),
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

fn status(case: Case<'_>) -> &'static str {
    match case.status() {
        Status::Pass => "PASS",
        Status::Fail => "FAIL",
        Status::Error => "ERROR",
        Status::Skip => "SKIP",
    }
}

fn environment(run: &RunStarted, cpus: u32, memory: u64, swap: Option<&str>) -> Value {
    json!({
        "comment": one_line(&format!("QEMU {}, {}", run.accelerator.qemu, run.accelerator.name)),
        "misc": {
            "host_kernel": one_line(&run.host.kernel),
            "host_cpu": one_line(&run.host.cpu),
            "host_cpus": run.host.cpus,
            "guest_cpus": cpus,
            "guest_memory": memory,
            "swap": swap.map(one_line),
        },
    })
}

fn pair_told(results: &Results, pair: &ForcedComparison) -> Value {
    json!({
        "name": one_line(&pair.name),
        "verdict": pair.verdict.word(),
        "sentence": forced::sentence(results, pair, "->"),
    })
}

/// A drawn interleaving or a sweep; `numbers` are what its kind counts.
fn forced_test(results: &Results, run: &RunStarted, (case, spec): (Case<'_>, &ForcedSpec), numbers: &Value) -> Value {
    let pairs = results.forced_comparisons.iter().filter(|pair| pair.patched == spec.id);
    let mut value = json!({
        "id": id(run, &["test", &spec.id]),
        "build_id": build_id(run, &spec.kernel, &spec.variant),
        "origin": ORIGIN,
        "path": path(&[&spec.program, &spec.name, &spec.guest]),
        "status": status(case),
        "comment": one_line(&case.headline()),
        "start_time": run.started,
        "duration": case.seconds(),
        "environment": environment(run, spec.cpus, spec.memory, spec.swap.as_deref()),
        "misc": {
            "counts": numbers,
            "seed": run.seed,
            "rerun": one_line(&run.rerun),
            "comparisons": pairs.map(|pair| pair_told(results, pair)).collect::<Vec<_>>(),
        },
    });
    let console: Vec<&str> = case.trouble().iter().flat_map(|trouble| &trouble.excerpt).map(String::as_str).collect();
    if !console.is_empty() {
        value["log_excerpt"] = excerpt(console).into();
    }
    value
}

fn diagram(it: &ForcedResult) -> Value {
    json!({"held": it.held, "without_hold": it.control})
}

fn sweep(it: &SweepResult) -> Value {
    json!({"legal": it.counts.legal(), "points": it.counts, "complete": it.complete})
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

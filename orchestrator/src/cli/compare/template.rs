//! What is raced: guest, tests and drawings of a plan that is there.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::args::CompareArgs;
use super::super::exit::{Failure, USAGE};
use super::super::setup::plan_failure;
use crate::plan::roots::Roots;
use crate::plan::{self, yaml};
use crate::suggest::did_you_mean_or;

/// Name of the base variant.
pub const BASE: &str = "base";

/// The keys that are taken over, in the order in which they are written.
const KEYS: [&str; 5] = ["overcommit", "defaults", "guest", "tests", "interleaving"];

/// What is asked of the kernel, as keys of a plan.
pub type Template = Vec<(&'static str, Value)>;

/// The template that `--test` names: a plan of the data folder, one test in one, or a path. A program replaces its tests
/// and drawings, a drawing its drawings.
pub fn find(args: &CompareArgs, roots: &Roots) -> Result<Template, Failure> {
    let mut plan = chosen(&args.test, roots)?;
    if let Some(path) = &args.program {
        let path = path
            .canonicalize()
            .map_err(|error| Failure::say(USAGE, format!("cannot open the program `{}`: {error}", path.display())))?;
        let mut test = json!({"name": "program", "program": path});
        if args.endless {
            test["oracle"] = json!({"still_running": "clean"});
        }
        plan.insert("tests".to_owned(), json!([test]));
        plan.remove("interleaving");
    }
    if let Some(path) = &args.interleave {
        plan.insert("interleaving".to_owned(), drawn(path)?);
    }
    let first = plan["variants"][0]["name"].as_str().map(str::to_owned);
    if let Some(drawings) = plan.get_mut("interleaving") {
        match drawings {
            Value::Array(all) => all.iter_mut().for_each(|it| expect(it, first.as_deref())),
            one => expect(one, first.as_deref()),
        }
    }
    Ok(KEYS.into_iter().filter_map(|key| Some((key, plan.remove(key)?))).collect())
}

/// The base must show what the template's base shows; of the patched side nothing is expected but that it is judged.
fn expect(drawing: &mut Value, base: Option<&str>) {
    let said = match &drawing["expect"] {
        Value::Object(of) => base.and_then(|base| of.get(base)).or_else(|| of.get(BASE)).cloned(),
        _ => None,
    };
    if let Value::Object(drawing) = drawing {
        drawing.insert("expect".to_owned(), json!({BASE: said.unwrap_or_else(|| json!("corrupt"))}));
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::say(USAGE, format!("cannot read `{}`: {error}", path.display())))?;
    yaml::parse(&text, path).map_err(|errors| plan_failure(path, plan::Error::Plan(errors)))
}

fn chosen(test: &str, roots: &Roots) -> Result<Map<String, Value>, Failure> {
    if test.contains('/') || [".yaml", ".yml"].iter().any(|ending| test.ends_with(ending)) {
        return read(Path::new(test));
    }
    let mut known = Vec::new();
    // The short plan's test goes before others of the same name.
    let mut paths = roots.plans();
    paths.sort_by_key(|path| path.file_stem().is_none_or(|stem| stem != "quick"));
    for path in &paths {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if stem == test {
            return read(path);
        }
        known.push(stem);
    }
    for path in &paths {
        let mut plan = read(path)?;
        let Some(Value::Array(tests)) = plan.get_mut("tests") else { continue };
        let is_it = |it: &Value| it["name"] == test || it["run"] == test;
        if tests.iter().any(is_it) {
            tests.retain(is_it);
            let program = tests[0]["run"].clone();
            let of_another = |it: &Value| it.get("run").is_some_and(|run| *run != program);
            if plan.get("interleaving").is_some_and(of_another) {
                plan.remove("interleaving");
            }
            return Ok(plan);
        }
        known.extend(tests.iter().filter_map(|it| Some(it["name"].as_str()?.to_owned())));
    }
    let hint = did_you_mean_or(test, known.iter().map(String::as_str), "to race")
        .unwrap_or_else(|| "name the path of a plan".to_owned());
    let place: PathBuf = roots.data().join("plans");
    Err(Failure::say(USAGE, format!("no plan and no test in {} is called '{test}'; {hint}", place.display())))
}

/// The drawings in `path`: those of a plan, or the drawing that the file is.
fn drawn(path: &Path) -> Result<Value, Failure> {
    if path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml") {
        let mut plan = read(path)?;
        let message = || format!("`{}` has no `interleaving`", path.display());
        return match plan.remove("interleaving") {
            Some(drawing) => Ok(drawing),
            None if plan.contains_key("diagram") || plan.contains_key("steps") => Ok(Value::Object(plan)),
            None => Err(Failure::say(USAGE, message())),
        };
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::say(USAGE, format!("cannot read the drawing `{}`: {error}", path.display())))?;
    Ok(json!({"diagram": text, "rounds": 10}))
}

//! `twinboot plan matrix`: a plan in the form in which an engine takes its jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

use serde::Serialize;

use super::args::{EngineArg, MatrixArgs, Places};
use super::exit::{Failure, OK, USAGE};
use super::run::only;
use super::setup;
use crate::build::ci_cache_key;
use crate::cache::Key;
use crate::plan::jobs::Job;
use crate::plan::model::Plan;
use crate::plan::yaml;

/// Jobs that one matrix of a workflow may make. Source: GitHub's documentation, "Running variations of jobs in a workflow".
const GITHUB: u32 = 256;
/// Jobs that one `parallel:matrix` may make, which is taken as what a pipeline bears. Source: GitLab's "CI/CD YAML syntax
/// reference".
const GITLAB: u32 = 200;

/// A job with what an engine needs besides.
#[derive(Debug, Serialize)]
struct Listed {
    /// Its partition, fit for a file name: `2-of-8`.
    id: String,
    #[serde(flatten)]
    job: Job,
    /// Changes when one of its kernels would be built from something else.
    cache_key: String,
}

/// Prints the jobs of a plan.
pub fn run(places: &Places, args: &MatrixArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let plan = setup::load_plan(places, &args.plan)?;
    let plan = if args.only.is_empty() { plan } else { only(plan, &args.only)? };
    let takes = match args.format {
        EngineArg::Human | EngineArg::Json => u32::MAX,
        EngineArg::Github => GITHUB,
        EngineArg::Gitlab => GITLAB,
    };
    if let Some(jobs) = args.jobs.filter(|&jobs| jobs > takes) {
        return Err(Failure::say(USAGE, format!("--jobs {jobs} is more than the engine takes, {takes}")));
    }
    let jobs = plan.jobs(args.jobs.unwrap_or(takes));
    let keys = build_keys(&plan)?;
    let jobs: Vec<Listed> = jobs.into_iter().map(|job| listed(&keys, job)).collect();
    match args.format {
        EngineArg::Human => human(&jobs, out)?,
        EngineArg::Json => {
            serde_json::to_writer_pretty(&mut *out, &serde_json::json!({"plan": plan.name, "jobs": jobs}))
                .map_err(io::Error::from)?;
            writeln!(out)?;
        }
        EngineArg::Github => writeln!(out, "{}", serde_json::json!({"include": jobs}))?,
        EngineArg::Gitlab => out.write_all(gitlab(&jobs)?.as_bytes())?,
    }
    Ok(OK)
}

/// The key of every kernel and variant of the plan.
fn build_keys(plan: &Plan) -> Result<HashMap<(&str, &str), String>, Failure> {
    let path = plan.path.canonicalize().unwrap_or_else(|_| plan.path.clone());
    let home = path.parent().unwrap_or(&path);
    let mut keys = HashMap::new();
    for kernel in &plan.kernels {
        for variant in &kernel.variants {
            let key = ci_cache_key(kernel, variant, home).map_err(|error| Failure::new(USAGE, &error))?;
            keys.insert((&*kernel.name, &*variant.name), key);
        }
    }
    Ok(keys)
}

fn listed(keys: &HashMap<(&str, &str), String>, job: Job) -> Listed {
    let keys = job.builds.iter().filter_map(|build| keys.get(&(&*build.kernel, &*build.variant)));
    let keys: BTreeSet<&String> = keys.collect();
    let cache_key = keys.into_iter().fold(Key::new(), |key, one| key.part("kernel", one)).finish();
    let id = format!("{}-of-{}", job.partition.share, job.partition.of);
    Listed { id, job, cache_key }
}

fn human(jobs: &[Listed], out: &mut dyn Write) -> io::Result<()> {
    for Listed { job, .. } in jobs {
        writeln!(out, "{}\t{}\t{}\t{}", job.partition, job.seconds, job.cells.len(), job.name)?;
    }
    Ok(())
}

/// A GitLab job; what is the same for all of them stands in `.twinboot-run` and `.twinboot-merge` of ci/gitlab/jobs.yml.
#[derive(Debug, Serialize)]
struct GitlabJob<'a> {
    stage: &'a str,
    extends: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<&'a str, String>,
}

fn gitlab(jobs: &[Listed]) -> io::Result<String> {
    let mut text = String::from("# Made by `twinboot plan matrix --format gitlab`; goes behind ci/gitlab/jobs.yml.\n");
    for Listed { id, job, cache_key } in jobs {
        let variables = BTreeMap::from([
            ("TWINBOOT_PARTITION", job.partition.to_string()),
            ("TWINBOOT_SHARE", id.clone()),
            ("TWINBOOT_CACHE_KEY", cache_key.clone()),
        ]);
        let run = GitlabJob { stage: "run", extends: ".twinboot-run", variables };
        text += &yaml::write(&BTreeMap::from([(&job.name, run)]))?;
    }
    let merge = GitlabJob { stage: "merge", extends: ".twinboot-merge", variables: BTreeMap::new() };
    text += &yaml::write(&BTreeMap::from([("twinboot-merge", merge)]))?;
    Ok(text)
}

//! `twinboot sweep`

use std::io::Write;

use super::args::{Places, SweepArgs};
use super::exit::{Failure, OK, USAGE};
use super::run::{finish, keep};
use super::{rerun, setup};
use crate::analysis::Results;
use crate::plan::model::Plan;
use crate::process;
use crate::report::progress::Progress;
use crate::run::resume::PreviousRun;
use crate::run::{self, Options, Start, SweepOptions};

/// Builds, boots, sweeps, reports.
pub fn run(places: &Places, args: &SweepArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let plan = only(setup::load_plan(places, &args.plan)?, &args.only)?;
    if args.dry_run {
        for cell in &plan.swept {
            writeln!(out, "{}", cell.id)?;
        }
        return Ok(OK);
    }
    let tools = setup::tools(places, args.guests.accel.into(), None)?;
    let past = args.resume.as_deref().map(PreviousRun::open).transpose()?;
    let seed = seed(args.guests.seed, past.as_ref())?;
    let start = past.map_or(Start::Afresh, Start::Resume);
    let options = Options {
        out: args.guests.out.clone(),
        seed,
        jobs: args.guests.jobs.map(usize::from),
        rerun: rerun(args, seed),
        share: None,
    };
    let sweep = SweepOptions { options, coarse: args.coarse };
    let progress = Progress::on_stderr();
    let tools = setup::noticing(tools, &progress);
    let observer = progress.observer();
    let done = setup::block_on(async {
        let cancel = process::interrupts()?;
        let artifacts = run::prepare(&plan, &tools, &observer, &cancel).await?;
        Ok::<_, Failure>(run::sweeps(&plan, &artifacts, &sweep, start, &tools.cache, &observer, &cancel).await?)
    });
    progress.finish();
    let done = done??;
    finish(&done.results, &Results::fold(done.entries), args.guests.format, out)
}

/// That of the run that is gone on with, the one asked for, or a drawn one.
fn seed(asked: Option<u64>, past: Option<&PreviousRun>) -> Result<u64, Failure> {
    match (asked, past) {
        (Some(asked), Some(past)) => past.agrees(asked).map(|()| asked).map_err(Failure::from),
        (None, Some(past)) => Ok(past.seed()),
        (Some(asked), None) => Ok(asked),
        (None, None) => Ok(rand::random_range(0..1 << 53)),
    }
}

/// Keeps the sweeps whose cell matches one of `globs`, or all, and the kernels they need.
fn only(mut plan: Plan, globs: &[String]) -> Result<Plan, Failure> {
    let ids: Vec<String> = plan.swept.iter().map(|cell| cell.id.clone()).collect();
    if ids.is_empty() {
        let message = format!("`{}` has nothing to sweep", plan.path.display());
        let hint = "add `sweep:`, or an `interleaving:` that holds a thread in a function; docs/diagrams.md tells how";
        return Err(Failure::say(USAGE, message).hint(hint));
    }
    keep(&mut plan, "sweep", &ids, globs)?;
    Ok(plan)
}

/// The command that makes the same sweep again.
fn rerun(args: &SweepArgs, seed: u64) -> String {
    let coarse = args.coarse.then(|| "--coarse".to_owned());
    rerun::rerun("sweep", &args.plan, seed, rerun::only(&args.only).chain(coarse), &args.guests)
}

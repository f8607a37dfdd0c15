//! `twinboot interleave`

use std::io::Write;

use super::args::{InterleaveArgs, Places};
use super::exit::{Failure, USAGE};
use super::run::{finish, keep};
use super::{rerun, setup};
use crate::analysis::Results;
use crate::plan::model::Plan;
use crate::process;
use crate::report::progress::Progress;
use crate::run::{self, Options, Start};

/// Builds, boots, forces the plan's interleavings alone, reports.
pub fn run(places: &Places, args: &InterleaveArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut plan = only(setup::load_plan(places, &args.plan)?, &args.only)?;
    for drawn in &mut plan.interleavings {
        drawn.rounds = args.rounds.unwrap_or(drawn.rounds);
    }
    let tools = setup::tools(places, args.guests.accel.into(), None)?;
    let seed = args.guests.seed.unwrap_or_else(|| rand::random_range(0..1 << 53));
    let options = Options {
        out: args.guests.out.clone(),
        seed,
        jobs: args.guests.jobs.map(usize::from),
        rerun: rerun(args, seed),
        share: None,
    };
    let progress = Progress::on_stderr();
    let tools = setup::noticing(tools, &progress);
    let observer = progress.observer();
    let done = setup::block_on(async {
        let cancel = process::interrupts()?;
        Ok::<_, Failure>(run::build_and_run(&plan, &tools, &options, Start::Afresh, &observer, &cancel).await?)
    });
    progress.finish();
    let done = done??;
    finish(&done.results, &Results::fold(done.entries), args.guests.format, out)
}

/// Keeps the interleavings whose cell matches one of `globs`, or all, and the kernels they need.
fn only(mut plan: Plan, globs: &[String]) -> Result<Plan, Failure> {
    let ids: Vec<String> = plan.forced.iter().map(|cell| cell.id.clone()).collect();
    if ids.is_empty() {
        let message = format!("`{}` draws no interleaving", plan.path.display());
        return Err(Failure::say(USAGE, message).hint("add `interleaving:`; docs/diagrams.md says how to draw one"));
    }
    keep(&mut plan, "interleaving", &ids, globs)?;
    Ok(plan)
}

/// The command that makes the same run again.
fn rerun(args: &InterleaveArgs, seed: u64) -> String {
    let rounds = args.rounds.iter().flat_map(|rounds| ["--rounds".to_owned(), rounds.to_string()]);
    rerun::rerun("interleave", &args.plan, seed, rerun::only(&args.only).chain(rounds), &args.guests)
}

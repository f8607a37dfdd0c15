//! The command line: one file per sub-command.

mod args;
mod backports;
mod boot;
mod build;
mod clean;
mod compare;
mod doctor;
mod exit;
mod interleave;
mod lock;
mod matrix;
mod merge;
pub mod plan;
mod report;
mod rerun;
mod run;
mod setup;
mod shell;
mod simulate;
mod sweep;

use std::ffi::OsString;
use std::io::Write as _;

use clap::Parser as _;

use crate::plan::yaml::Style;
use crate::printable::Printable;
pub use args::Cli;
pub use exit::{EXPECTATION_NOT_MET, INFRASTRUCTURE, INTERRUPTED, OK, RETRY, USAGE};

/// Parses the command line, runs it, and returns the process's exit code (the constants of this module).
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { OK };
            // A closed terminal is no reason to fail differently.
            let _ = error.print();
            return code;
        }
    };
    // Reports, the console and what a command in a guest says are made safe where they are written: the first have colours of
    // their own, the others go byte for byte to what is no terminal.
    let mut out = std::io::stdout().lock();
    let done = match cli.command {
        args::Command::Run(args) => run::run(&cli.places, &args, &mut out),
        args::Command::Interleave(args) => interleave::run(&cli.places, &args, &mut out),
        args::Command::Sweep(args) => sweep::run(&cli.places, &args, &mut out),
        args::Command::Compare(args) => compare::run(&cli.places, &args, &mut out),
        args::Command::Plan(args) => inspect(&cli.places, &args.command, &mut Printable::new(out)),
        args::Command::Build(args) => build::run(&cli.places, &args, &mut Printable::new(out)),
        args::Command::Boot(args) => boot::run(&cli.places, &args, &mut out),
        args::Command::Shell(args) => shell::run(&cli.places, &args, &mut out),
        args::Command::Merge(args) => merge::run(&args, &mut out),
        args::Command::Report(args) => report::run(&args, &mut out),
        args::Command::Simulate(args) => simulate::run(&args, &mut Printable::new(out)),
        args::Command::Doctor(args) => doctor::run(&cli.places, &args, &mut Printable::new(out)),
        args::Command::Clean(args) => clean::run(&cli.places, &args, &mut Printable::new(out)),
    };
    done.unwrap_or_else(|failure| {
        if failure.is_closed_pipe() {
            return crate::process::end_by_closed_pipe();
        }
        let _ = write!(std::io::stderr(), "{}", failure.text());
        failure.code
    })
}

/// `twinboot plan`
fn inspect(
    places: &args::Places,
    command: &args::PlanCommand,
    out: &mut dyn std::io::Write,
) -> Result<u8, exit::Failure> {
    let data = places.data_dir.as_deref();
    let mut err = std::io::stderr();
    let mut output = plan::Output { out, err: &mut err, style: Style::for_stderr() };
    Ok(match command {
        args::PlanCommand::Check { plans } => plan::check(plans, data, &mut output)?,
        args::PlanCommand::Show { plan, format, offline } => {
            backports::show(places, plan, *format, *offline, output.out)?
        }
        args::PlanCommand::Lock { plan, update } => lock::run(places, plan, *update, output.out)?,
        args::PlanCommand::Matrix(args) => return matrix::run(places, args, output.out),
        args::PlanCommand::Schema => plan::print_schema(&mut output)?,
    })
}

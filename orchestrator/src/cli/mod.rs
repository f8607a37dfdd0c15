//! The command line: one file per sub-command.

mod args;
mod build;
mod clean;
mod doctor;
mod exit;
mod plan;
mod report;
mod run;
mod setup;

use std::ffi::OsString;
use std::io::Write as _;

use clap::Parser as _;

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
    let mut out = std::io::stdout().lock();
    let done = match cli.command {
        args::Command::Run(args) => run::run(&cli.places, &args, &mut out),
        args::Command::Plan(args) => plan::run(&cli.places, &args, &mut out),
        args::Command::Build(args) => build::run(&cli.places, &args, &mut out),
        args::Command::Report(args) => report::run(&args, &mut out),
        args::Command::Doctor(args) => doctor::run(&cli.places, &args, &mut out),
        args::Command::Clean(args) => clean::run(&cli.places, &args, &mut out),
    };
    done.unwrap_or_else(|failure| {
        let _ = write!(std::io::stderr(), "{}", failure.text());
        failure.code
    })
}

//! The command that makes a run again: the one that made it, with its seed spelled out.

use std::path::Path;

use clap::ValueEnum as _;

use super::args::{AccelArg, GuestArgs};
use crate::run::test_command;

/// `command` of `plan` with the options `own` to it, those of its guests, and `seed`; quoted for a shell.
pub fn rerun(
    command: &str,
    plan: &Path,
    seed: u64,
    own: impl IntoIterator<Item = String>,
    guests: &GuestArgs,
) -> String {
    let mut words = vec!["twinboot".to_owned(), command.to_owned(), plan.display().to_string()];
    words.extend(["--seed".to_owned(), seed.to_string()]);
    words.extend(own);
    words.extend(guests.jobs.iter().flat_map(|jobs| ["--jobs".to_owned(), jobs.to_string()]));
    if let Some(accel) = guests.accel.to_possible_value().filter(|_| guests.accel != AccelArg::Auto) {
        words.extend(["--accel".to_owned(), accel.get_name().to_owned()]);
    }
    words.iter().map(|word| test_command::quote(word)).collect::<Vec<_>>().join(" ")
}

/// `--only` for each of `globs`.
pub fn only(globs: &[String]) -> impl Iterator<Item = String> {
    globs.iter().flat_map(|glob| ["--only".to_owned(), glob.clone()])
}

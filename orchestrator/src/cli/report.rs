//! `twinboot report`

use std::io::Write;

use super::args::ReportArgs;
use super::exit::{Failure, USAGE};
use super::run::finish;
use crate::analysis::Results;
use crate::journal::journal_lines;
use crate::journal::writer;

/// Makes every report of a results folder again, from its journal alone. Exits as the run itself would have.
pub fn run(args: &ReportArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let path = args.results.join(writer::FILE);
    let bytes = std::fs::read(&path).map_err(|error| {
        Failure::say(USAGE, format!("cannot read `{}`: {error}", path.display()))
            .hint("name a results folder, such as results/latest")
    })?;
    let entries = journal_lines(&bytes).map_err(|error| {
        Failure::say(USAGE, format!("`{}` is no journal of this twinboot: {error}", path.display()))
    })?;
    finish(&args.results, &Results::fold(entries), args.format, out)
}

//! `twinboot report`

use std::io::Write;

use super::args::ReportArgs;
use super::exit::Failure;
use super::run::finish;
use crate::analysis::Results;
use crate::journal::read_journal;

/// Makes every report of a results folder again, from its journal alone. Exits as the run itself would have.
pub fn run(args: &ReportArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let entries = read_journal(&args.results).map_err(|error| Failure::unreadable(&error))?;
    finish(&args.results, &Results::fold(entries), args.format, out)
}

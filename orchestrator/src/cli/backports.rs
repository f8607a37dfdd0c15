//! `twinboot plan show`: the plan as it would be run, and which of its patches go onto which kernel.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::args::{FormatArg, Places};
use super::exit::{Failure, INFRASTRUCTURE, INTERRUPTED, OK};
use super::{plan as printed, setup};
use crate::build::{self, Backport, Fit, Step};
use crate::plan::model::Plan;
use crate::process;

/// For programs: the plan with the map among its keys.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    backports: Vec<Backport>,
}

/// Prints the plan at `path` and its backport map. Sources that the map needs are fetched unless `offline`.
pub fn show(
    places: &Places,
    path: &Path,
    format: FormatArg,
    offline: bool,
    out: &mut dyn Write,
) -> Result<u8, Failure> {
    let plan = setup::load_plan(places, path)?;
    if format == FormatArg::Human {
        printed::human(&plan, out)?;
    }
    let patched = plan.kernels.iter().flat_map(|kernel| &kernel.variants).any(|variant| !variant.patches.is_empty());
    let rows = if patched || !plan.left_out.is_empty() {
        let cache = setup::cache(places)?;
        setup::block_on(async {
            let cancel = process::interrupts()?;
            let told = |kernel: &str, step: Step| setup::tell(kernel, &step);
            build::backports(&plan, offline, &cache, &told, &cancel)
                .await
                .map_err(|error| Failure::new(if cancel.is_cancelled() { INTERRUPTED } else { INFRASTRUCTURE }, &error))
        })??
    } else {
        Vec::new()
    };
    match format {
        FormatArg::Json => printed::json(&Shown { plan: &plan, backports: rows }, out)?,
        FormatArg::Human if rows.is_empty() => {}
        FormatArg::Human => map(&rows, out)?,
    }
    Ok(OK)
}

/// The map: a table, and below it what does not fit in one.
fn map(rows: &[Backport], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nbackport map")?;
    let header = ["kernel", "source", "variant", "patch", "onto it"].map(str::to_owned);
    let lines = rows.iter().map(|row| {
        let reverse = if row.reverse { " (reversed)" } else { "" };
        [
            row.kernel.clone(),
            row.source.clone().unwrap_or_else(|| "-".to_owned()),
            row.variant.clone(),
            row.patch.as_ref().map_or_else(|| "(the whole variant)".to_owned(), |patch| format!("{patch}{reverse}")),
            word(&row.fit, row.reverse),
        ]
    });
    printed::table(std::iter::once(header).chain(lines).collect(), out)?;
    for row in rows {
        let name = || format!("{}: {}", row.kernel, row.patch.as_deref().unwrap_or_default());
        match &row.fit {
            Fit::Fuzz { notes, .. } | Fit::Applies { notes } if !notes.is_empty() => {
                writeln!(out, "\n{}", name())?;
                notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
            }
            Fit::Conflict { failures, reject } => {
                writeln!(out, "\n{}\n  {}", name(), failures.join("\n  "))?;
                reject.lines().try_for_each(|line| writeln!(out, "    {line}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// How a patch goes on, in a few words.
fn word(fit: &Fit, reverse: bool) -> String {
    match fit {
        Fit::Applies { notes } if notes.is_empty() => "applies".to_owned(),
        Fit::Applies { notes } => match notes.iter().filter_map(|note| offset(note)).max() {
            Some(1) => "applies 1 line off; see below".to_owned(),
            Some(lines) => format!("applies {lines} lines off; see below"),
            None => "applies elsewhere; see below".to_owned(),
        },
        Fit::Fuzz { lines, .. } => format!("applies with fuzz {lines}"),
        Fit::Conflict { failures, .. } => {
            format!("conflict in {} places", failures.len()).replace(" 1 places", " 1 place")
        }
        Fit::AlreadyThere if reverse => "out of it already".to_owned(),
        Fit::AlreadyThere => "already there".to_owned(),
        Fit::NotNeeded { when } => format!("not needed (when {when})"),
        Fit::Behind { patch } => format!("not tried: {patch} does not apply"),
        Fit::Unknown { reason } => format!("not known: {reason}"),
    }
}

/// How far a hunk had to move, of `…: hunk 1 succeeded at 4 (offset -2 lines)` (patch(1)).
fn offset(note: &str) -> Option<u64> {
    let (_, rest) = note.rsplit_once("(offset ")?;
    rest.split(' ').next()?.parse::<i64>().ok().map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_moves_says_how_far() {
        let told = |notes: &[&str]| {
            word(&Fit::Applies { notes: notes.iter().map(|note| (*note).to_owned()).collect() }, false)
        };
        let near = "mm/memory.c: hunk 1 succeeded at 4 (offset 1 line)";
        let far = "mm/memory.c: hunk 2 succeeded at 9 (offset -311 lines)";
        assert_eq!(told(&[]), "applies");
        assert_eq!(told(&[near]), "applies 1 line off; see below");
        assert_eq!(told(&[near, far]), "applies 311 lines off; see below");
    }
}

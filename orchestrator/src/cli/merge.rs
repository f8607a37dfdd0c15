//! `twinboot merge`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::args::MergeArgs;
use super::exit::{Failure, INFRASTRUCTURE, OK, RETRY, USAGE};
use super::run::finish;
use crate::analysis::{Met, Results};
use crate::journal::merge::{Part, merge};
use crate::journal::writer::Journal;
use crate::journal::{CELLS, CellId, read_journal};
use crate::nofollow;

/// Puts the results folders of several machines together in one that stands whole or not at all, and reports it. Exits as
/// the run of one machine would have, or with 75 where cells are missing and nothing else is wrong.
pub fn run(args: &MergeArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let parts = args.results.iter().map(|folder| read(folder)).collect::<Result<Vec<Part>, Failure>>()?;
    let merged = merge(&parts).map_err(|wrong| {
        let list: Vec<String> = wrong.iter().map(|one| format!("  {one}")).collect();
        Failure::say(USAGE, format!("these results contradict each other:\n{}", list.join("\n")))
            .hint("merge only folders of one run of one plan")
    })?;
    let cells = merged.origin.iter().map(|(cell, part)| {
        let id = CellId::new(cell).map_err(|error| Failure::new(USAGE, &error))?;
        Ok((source(&args.results[*part], id)?, id))
    });
    let cells = cells.collect::<Result<Vec<_>, Failure>>()?;
    let absolute = std::path::absolute(&args.out)?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Err(Failure::say(USAGE, format!("`{}` is no folder to write to", args.out.display())));
    };
    if fs::read_dir(&absolute).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::say(
            USAGE,
            format!("`{}` is not empty: name another --out, or remove it", args.out.display()),
        ));
    }
    let wrote = |path: &Path| {
        let path = path.to_path_buf();
        move |error: io::Error| Failure::say(INFRASTRUCTURE, format!("cannot write `{}`: {error}", path.display()))
    };
    fs::create_dir_all(parent).map_err(wrote(parent))?;
    let scratch = tempfile::Builder::new()
        .prefix(&format!(".{}-", name.to_string_lossy()))
        .tempdir_in(parent)
        .map_err(wrote(parent))?;
    let mut journal = Journal::create(scratch.path()).map_err(wrote(scratch.path()))?;
    for entry in &merged.entries {
        journal.append(entry).map_err(wrote(scratch.path()))?;
    }
    for (from, id) in cells {
        let to = id.folder(scratch.path());
        copy(&from, &to).map_err(wrote(&to))?;
    }
    // Made private by `tempfile`; results are for everybody whom the user's umask lets in.
    let open = fs::metadata(parent).map_err(wrote(parent))?.permissions();
    fs::set_permissions(scratch.path(), open).map_err(wrote(scratch.path()))?;
    let done: PathBuf = scratch.keep();
    fs::rename(&done, &absolute).map_err(wrote(&absolute))?;

    let results = Results::fold(merged.entries);
    let code = finish(&absolute, &results, args.format, out)?;
    // A cell that nobody ran is no failure of the host's: it may be run yet.
    let only_missing =
        results.cells.iter().all(|cell| cell.met != Met::Unmeasured || merged.missing.contains(&cell.spec.id));
    let incomplete = matches!(code, OK | INFRASTRUCTURE) && only_missing && !merged.missing.is_empty();
    Ok(if incomplete { RETRY } else { code })
}

fn read(folder: &Path) -> Result<Part, Failure> {
    let entries = read_journal(folder).map_err(|error| Failure::unreadable(&error))?;
    Ok(Part { name: folder.display().to_string(), entries })
}

/// The folder of `cell` in the results folder `part`, as twinboot makes it: a link, which could lead to files that nobody
/// meant to publish, is refused.
fn source(part: &Path, id: CellId) -> Result<PathBuf, Failure> {
    for folder in [part.join(CELLS), id.folder(part)] {
        if folder.symlink_metadata().is_ok_and(|metadata| !metadata.is_dir()) {
            let message = format!("`{}` is not a folder: twinboot makes no links there", folder.display());
            return Err(Failure::say(USAGE, message).hint("merge results folders as twinboot left them"));
        }
    }
    Ok(id.folder(part))
}

/// Copies a cell's files; a cell whose folder is not there any more has its numbers in the journal all the same.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            nofollow::copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

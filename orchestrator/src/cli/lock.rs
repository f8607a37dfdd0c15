//! `twinboot plan lock`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use super::args::Places;
use super::exit::{Failure, INFRASTRUCTURE, INTERRUPTED, OK, USAGE};
use super::setup;
use crate::build::{self, Step};
use crate::plan;
use crate::plan::lock::{self, Lock, LockFile, LockedKernel};
use crate::plan::model::Kernel;
use crate::process;

/// Writes the lock file of the plan at `path`, or holds the one that is there against what can be had now.
pub fn run(places: &Places, path: &Path, update: bool, out: &mut dyn Write) -> Result<u8, Failure> {
    let file = lock::path_of(path);
    if file.exists() && !update {
        let plan = setup::load_plan(places, path)?;
        let found = identities(places, &plan.kernels, false)?;
        for (kernel, found) in plan.kernels.iter().zip(&found) {
            if let Some(locked) = kernel.locked.as_ref().filter(|locked| locked.identity != found.identity) {
                let error = build::Error::NotLocked {
                    label: found.label.clone(),
                    lock: locked.file.clone(),
                    expected: locked.identity.clone(),
                    found: found.identity.clone(),
                };
                return Err(Failure::new(INFRASTRUCTURE, &error));
            }
            writeln!(out, "{}: {}", kernel.name, kernel.locked.as_ref().map_or(&found.label, |locked| &locked.label))?;
        }
        writeln!(out, "ok: {} holds", file.display())?;
        return Ok(OK);
    }
    let data = places.data_dir.as_deref();
    let kernels = plan::load_kernels(path, data).map_err(|error| setup::plan_failure(path, error))?;
    let found = identities(places, &kernels, update)?;
    let pinned = |(kernel, found): (&Kernel, &build::Identity)| {
        let (source, version) = (kernel.source.to_string(), found.version.clone());
        (kernel.name.clone(), LockedKernel { source, version, identity: found.identity.clone() })
    };
    let locked: BTreeMap<String, LockedKernel> = kernels.iter().zip(&found).map(pinned).collect();
    // What `when` leaves out may hang on a version that only the lock names, so the plan is resolved with it.
    let first = Lock { kernels: locked, ..Lock::default() }.with_format();
    let first_file =
        LockFile::parse(&first.text(), &file).map_err(|error| setup::plan_failure(path, plan::Error::Plan(error)))?;
    let (plan, roots) = plan::load_locked(path, data, &first_file).map_err(|error| setup::plan_failure(path, error))?;
    let lock = Lock::new(first.kernels, &plan, &roots).map_err(|(path, error)| {
        Failure::say(USAGE, format!("cannot read `{}`, which is to be locked: {error}", path.display()))
    })?;
    let before = LockFile::beside(path).ok().flatten();
    write(&file, &lock.text())?;
    for (kernel, found) in kernels.iter().zip(&found) {
        let was = before.as_ref().and_then(|before| before.lock().kernels.get(&kernel.name));
        let was = was.filter(|was| was.identity != found.identity);
        let was =
            was.map_or_else(String::new, |was| format!(" (was {})", was.version.as_ref().unwrap_or(&was.identity)));
        writeln!(out, "{}: {}{was}", kernel.name, found.label)?;
    }
    writeln!(out, "wrote {}: {} sources, {} files", file.display(), lock.kernels.len(), lock.files.len())?;
    Ok(OK)
}

fn identities(places: &Places, kernels: &[Kernel], fresh: bool) -> Result<Vec<build::Identity>, Failure> {
    let cache = setup::cache(places)?;
    setup::block_on(async {
        let cancel = process::interrupts()?;
        let mut found = Vec::new();
        for kernel in kernels {
            let told = |step: Step| setup::tell(&kernel.name, &step);
            let identity = build::source_identity(&kernel.source, fresh, &cache, &told, &cancel).await;
            found.push(identity.map_err(|error| {
                Failure::new(if cancel.is_cancelled() { INTERRUPTED } else { INFRASTRUCTURE }, &error)
            })?);
        }
        Ok(found)
    })?
}

/// Replaces the file in one step.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::say(INFRASTRUCTURE, format!("cannot write `{}`: {error}", file.display()));
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(folder)
        .map_err(failed)?;
    beside.write_all(text.as_bytes()).map_err(failed)?;
    beside.persist(file).map(|_| ()).map_err(|error| failed(error.error))
}

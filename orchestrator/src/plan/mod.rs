//! Test plans: what to build, boot and race, read from YAML and checked before anything runs.
//!
//! [`schema`] is a plan as written, [`model`] a plan ready to run, [`resolve`] the way from one to
//! the other.

pub mod conditions;
pub mod jobs;
pub mod lock;
pub mod model;
pub mod partition;
pub mod patch_files;
pub mod resolve;
pub mod roots;
pub mod schema;
mod source;
pub mod validate;
pub mod yaml;

use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use partition::Partition;

use crate::plan::yaml::{Diagnostics, Document};
use roots::Roots;

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the plan {}", path.display())]
    Read {
        /// The plan.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The lock file is there and cannot be read.
    #[error("cannot read the lock file {}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The data folder cannot be found.
    #[error(transparent)]
    Roots(#[from] roots::Error),
    /// The plan has errors.
    #[error("{0}")]
    Plan(Diagnostics),
}

/// A plan, and everything that is wrong with it.
#[derive(Debug)]
pub struct Examined {
    /// The plan as far as it could be read; run it only if there are no errors. None if the file as
    /// a whole cannot be read.
    pub plan: Option<model::Plan>,
    /// What is wrong with the plan, and with its lock file.
    pub errors: Vec<Diagnostics>,
}

/// Reads, checks and resolves the plan in `path`. `data` is the data folder when the user names
/// one; see [`Roots::find`].
///
/// # Errors
///
/// When the file or the data folder cannot be read, and all errors in the plan at once.
pub fn load(path: &Path, data: Option<&Path>) -> Result<model::Plan, Error> {
    let Examined { plan, errors } = examine(path, data)?;
    match (plan, errors.into_iter().next()) {
        (_, Some(errors)) => Err(Error::Plan(errors)),
        (Some(plan), None) => Ok(plan),
        (None, None) => Err(Error::Plan(Diagnostics::unreadable(path))),
    }
}

/// Like [`load`], but also returns a plan that has errors.
///
/// # Errors
///
/// When the file or the data folder cannot be read.
pub fn examine(path: &Path, data: Option<&Path>) -> Result<Examined, Error> {
    let (text, roots) = match read(path, data) {
        Ok(read) => read,
        Err(Error::Plan(errors)) => return Ok(Examined { plan: None, errors: vec![errors] }),
        Err(error) => return Err(error),
    };
    let lock = match lock::LockFile::beside(path) {
        Ok(lock) => Ok(lock),
        Err(lock::Error::Form(errors)) => Err(errors),
        Err(lock::Error::Read { path, source }) => return Err(Error::Lock { path, source }),
    };
    let (raw, document) = read_plan(&text, path);
    let locked = lock.as_ref().ok().and_then(Option::as_ref);
    let plan = raw.map(|raw| resolve::resolve(&raw, &document, &text, path, &roots, locked));
    let mut errors = Vec::new();
    if plan.is_none() || document.has_errors() {
        errors.push(document.into_diagnostics());
    }
    match (lock, &plan) {
        (Err(broken), _) => errors.push(broken),
        (Ok(Some(lock)), Some(plan)) if errors.is_empty() => errors.extend(lock.verify(plan, &roots).err()),
        _ => {}
    }
    Ok(Examined { plan, errors })
}

/// The kernels of the plan in `path` without their variants and ignoring the lock file, to make a
/// new lock from.
///
/// # Errors
///
/// As for [`load`], as far as kernels are concerned.
pub fn load_kernels(path: &Path, data: Option<&Path>) -> Result<Vec<model::Kernel>, Error> {
    let (text, roots) = read(path, data)?;
    let (raw, document) = read_plan(&text, path);
    let Some(raw) = raw else { return Err(Error::Plan(document.into_diagnostics())) };
    let kernels = resolve::kernels(&raw, &document, path, &roots);
    document.finish().map_err(Error::Plan)?;
    Ok(kernels)
}

/// The plan in `path` with its sources pinned by `lock` instead of the lock file beside it, and its
/// data folder.
///
/// # Errors
///
/// As for [`load`].
pub fn load_locked(path: &Path, data: Option<&Path>, lock: &lock::LockFile) -> Result<(model::Plan, Roots), Error> {
    let (text, roots) = read(path, data)?;
    let plan = parse_locked(&text, path, &roots, Some(lock)).map_err(Error::Plan)?;
    Ok((plan, roots))
}

fn read(path: &Path, data: Option<&Path>) -> Result<(String, Roots), Error> {
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that a larger file is seen to be one.
    let read = std::fs::File::open(path).and_then(|file| file.take(yaml::BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    if bytes.len() > yaml::BYTES_MAX {
        return Err(Error::Plan(Diagnostics::too_large(path)));
    }
    let text = String::from_utf8(bytes).map_err(|error| Error::Plan(Diagnostics::not_utf8(path, &error)))?;
    Ok((text, Roots::find(path, data)?))
}

/// A plan as it is written. Keys that begin with `x-` are the author's own, for anchors.
fn read_plan(text: &str, path: &Path) -> (Option<schema::Plan>, Document) {
    Document::read_except(text, path, |key| key.starts_with("x-"))
}

/// Checks and resolves a plan given as text. `path` is where it comes from: its folder is where
/// relative paths start. Only the catalogue of kernels is read; other files that the plan names
/// only have to exist. Lock files are ignored.
///
/// # Errors
///
/// All errors in the plan at once.
pub fn parse(text: &str, path: &Path, roots: &Roots) -> Result<model::Plan, Diagnostics> {
    parse_locked(text, path, roots, None)
}

/// Like [`parse`], with the sources pinned by `lock`. [`lock::LockFile::verify`] reports where the
/// two do not match.
///
/// # Errors
///
/// All errors in the plan at once.
pub fn parse_locked(
    text: &str,
    path: &Path,
    roots: &Roots,
    lock: Option<&lock::LockFile>,
) -> Result<model::Plan, Diagnostics> {
    let (raw, document) = read_plan(text, path);
    let Some(raw) = raw else { return Err(document.into_diagnostics()) };
    let plan = resolve::resolve(&raw, &document, text, path, roots, lock);
    document.finish().map(|()| plan)
}

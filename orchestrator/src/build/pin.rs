//! What a source is, exactly, and whether that is what a lock file pins it to.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::source::{self, Resolved};
use super::{Error, Step};
use crate::cache::Cache;
use crate::plan::model::{Kernel, Locked, Source};

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Equal for equal trees: `sha256 …` of a package, an archive or a ready kernel, `git …` and a commit, `dir …` and a digest.
    pub identity: String,
    /// Version of the Debian package, or the git commit.
    pub version: Option<String>,
    /// For people: `linux-source-6.1 6.1.192-2`.
    pub label: String,
}

/// Tells what a source is, without unpacking it. `fresh`: what the newest version is, is asked anew where twinboot keeps
/// package lists itself.
///
/// # Errors
///
/// When it is not to be had.
pub async fn source_identity(
    source: &Source,
    fresh: bool,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Identity, Error> {
    if let Source::Image { kernel, .. } = source {
        return Ok(Identity { identity: of_image(kernel).await?, version: None, label: kernel.display().to_string() });
    }
    let resolved = source::resolve(source, fresh, cache, progress, cancel).await?;
    Ok(Identity { identity: resolved.identity, version: resolved.version, label: resolved.label })
}

async fn of_image(kernel: &Path) -> Result<String, Error> {
    Ok(format!("sha256 {}", source::sha256_of(kernel).await?))
}

/// The kernel's source, settled, and refused when it is not the one that a lock file pins.
pub(super) async fn resolve(
    kernel: &Kernel,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Resolved, Error> {
    let resolved = source::resolve(&kernel.source, false, cache, progress, cancel).await;
    let Some(locked) = &kernel.locked else { return resolved };
    let resolved = resolved.map_err(|error| match error {
        error if error.is_interrupted() => error,
        error => Error::LockedGone { label: locked.label.clone(), lock: locked.file.clone(), source: Box::new(error) },
    })?;
    check(locked, &resolved.identity, &resolved.label)?;
    Ok(resolved)
}

/// Refuses a ready kernel that is not the one that a lock file pins.
pub(super) async fn check_image(kernel: &Kernel, image: &Path) -> Result<(), Error> {
    match &kernel.locked {
        // The kernel's own image is pinned; a variant's is named by the plan alone.
        Some(locked) if matches!(&kernel.source, Source::Image { kernel, .. } if kernel == image) => {
            check(locked, &of_image(image).await?, &image.display().to_string())
        }
        _ => Ok(()),
    }
}

fn check(locked: &Locked, found: &str, label: &str) -> Result<(), Error> {
    if locked.identity == found {
        return Ok(());
    }
    Err(Error::NotLocked {
        label: label.to_owned(),
        lock: locked.file.clone(),
        expected: locked.identity.clone(),
        found: found.to_owned(),
    })
}

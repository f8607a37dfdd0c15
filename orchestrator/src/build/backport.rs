//! Which patch goes onto which kernel, tried on the touched files alone.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::source::Resolved;
use super::{Error, Step, patch, pin, source};
use crate::cache::{Cache, Key, Kind};
use crate::plan::model::{Patch, Plan};

const FILE: &str = "fit.json";

/// Goes up when the answers would be others.
const RECIPE: &str = "1";

/// How a patch goes onto a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fit", rename_all = "snake_case")]
pub enum Fit {
    /// Every hunk, as it stands or some lines further on.
    Applies {
        /// `file: hunk 1 succeeded at 4 (offset 2 lines)`.
        notes: Vec<String>,
    },
    /// Some hunk only with lines of its context left out.
    Fuzz {
        /// Lines that had to be left out, at most (patch(1)).
        lines: u32,
        /// As for [`Fit::Applies`].
        notes: Vec<String>,
    },
    /// Some hunk does not.
    Conflict {
        /// `file: hunk 1 at line 10`.
        failures: Vec<String>,
        /// The hunks that were rejected.
        reject: String,
    },
    /// The kernel has the change: it comes out in reverse, or, for a patch that takes something out, is out already.
    AlreadyThere,
    /// The plan's `when` leaves it out.
    NotNeeded {
        /// The condition.
        when: String,
    },
    /// Not tried, because a patch before it does not apply.
    Behind {
        /// That patch.
        patch: String,
    },
    /// Not known: the source or the patch is not to be had.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// One patch on one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backport {
    /// Kernel name.
    pub kernel: String,
    /// What the kernel's source is: `linux-source-6.1 6.1.192-2`; none where it is not to be had or has none.
    pub source: Option<String>,
    /// Variant that has the patch.
    pub variant: String,
    /// File name of the patch, or the whole variant where it is left out.
    pub patch: Option<String>,
    /// It is applied in reverse.
    pub reverse: bool,
    /// How it goes on, on top of those before it in the variant.
    #[serde(flatten)]
    pub fit: Fit,
}

/// Tries every patch of the plan on its kernel, in the order of the plan. Sources that are not in the cache are fetched; with
/// `offline` nothing is.
///
/// # Errors
///
/// When the work is interrupted. A source that is not to be had makes its rows unknown.
pub async fn backports(
    plan: &Plan,
    offline: bool,
    cache: &Cache,
    progress: &(dyn Fn(&str, Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Vec<Backport>, Error> {
    let mut rows = Vec::new();
    for kernel in &plan.kernels {
        let patched = kernel.variants.iter().any(|variant| !variant.patches.is_empty());
        let mut source = None;
        if patched && !kernel.source.is_ready() {
            let step = |step: Step| progress(&kernel.name, step);
            source = match pin::resolve(kernel, cache, &step, cancel).await {
                Err(error) if error.is_interrupted() => return Err(error),
                settled => Some(settled),
            };
        }
        let label = |source: Option<&Result<Resolved, Error>>| Some(source?.as_ref().ok()?.label.clone());
        let shared = label(source.as_ref());
        let row = |source: Option<String>, variant: &str, patch: Option<String>, reverse: bool, fit: Fit| Backport {
            kernel: kernel.name.clone(),
            source,
            variant: variant.to_owned(),
            patch,
            reverse,
            fit,
        };
        for variant in &kernel.variants {
            let mut behind: Option<String> = None;
            // A revision of its own, which the kernel's source must not be taken for.
            let mut own = None;
            if variant.rev.is_some() && !variant.patches.is_empty() {
                let step = |step: Step| progress(&kernel.name, step);
                own = match source::resolve(&kernel.source_of(variant), false, cache, &step, cancel).await {
                    Err(error) if error.is_interrupted() => return Err(error),
                    settled => Some(settled),
                };
            }
            let source = own.as_ref().or(source.as_ref());
            for (index, patch) in variant.patches.iter().enumerate() {
                let name = name(patch);
                let fit = match (&behind, source) {
                    (Some(patch), _) => Fit::Behind { patch: patch.clone() },
                    (None, Some(Ok(source))) => {
                        let step = |step: Step| progress(&kernel.name, step);
                        match fit(source, &variant.patches[..=index], offline, cache, &step, cancel).await {
                            Ok(fit) => fit,
                            Err(error) if error.is_interrupted() => return Err(error),
                            Err(error) => Fit::Unknown { reason: told(&error) },
                        }
                    }
                    (None, Some(Err(error))) => Fit::Unknown { reason: told(error) },
                    (None, None) => Fit::Unknown { reason: "a ready kernel has no source".to_owned() },
                };
                if !matches!(fit, Fit::Applies { .. } | Fit::Fuzz { .. }) {
                    behind.get_or_insert_with(|| name.clone());
                }
                rows.push(row(label(source), &variant.name, Some(name), patch.reverse, fit));
            }
        }
        for out in plan.left_out.iter().filter(|out| out.kernel == kernel.name) {
            rows.push(row(
                shared.clone(),
                &out.variant,
                out.patch.clone(),
                false,
                Fit::NotNeeded { when: out.when.clone() },
            ));
        }
    }
    Ok(rows)
}

fn name(patch: &Patch) -> String {
    patch.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// An error and what is under it, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(source) = under {
        text = format!("{text}: {source}");
        under = source.source();
    }
    text.replace('\n', " ")
}

/// How the last of `patches` goes onto the source with the others applied.
async fn fit(
    source: &Resolved,
    patches: &[Patch],
    offline: bool,
    cache: &Cache,
    progress: &(dyn Fn(Step) + Sync),
    cancel: &CancellationToken,
) -> Result<Fit, Error> {
    let loaded = patches.iter().map(patch::load).collect::<Result<Vec<_>, _>>()?;
    let key = loaded
        .iter()
        .fold(Key::new().part("recipe", RECIPE).part("source", &source.identity), |key, patch| {
            key.part(if patch.info.reverse { "patch out" } else { "patch in" }, &patch.bytes)
        })
        .finish();
    if offline && !cache.has(Kind::Backports, &key).await && !source.is_here(cache).await {
        return Ok(Fit::Unknown { reason: format!("{} is not here, and nothing is fetched offline", source.label) });
    }
    let entry = cache
        .fill(Kind::Backports, &key, cancel, async |dest: &Path| {
            let scratch = tempfile::tempdir_in(dest).map_err(Error::io("make a folder in", dest))?;
            let files: BTreeSet<String> = loaded.iter().flat_map(|patch| patch.files.iter().cloned()).collect();
            if !source.is_here(cache).await {
                progress(Step::Fetch(source.label.clone()));
            }
            progress(Step::Patch);
            source.take(&files, scratch.path(), cache, cancel).await?;
            let fit = tried(&loaded, scratch.path(), cancel).await?;
            let bytes = serde_json::to_vec(&fit).map_err(|error| Error::io("write", dest)(error.into()))?;
            std::fs::write(dest.join(FILE), bytes).map_err(Error::io("write", dest))
        })
        .await?;
    let path = entry.dir.join(FILE);
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|error| Error::io("read", path)(error.into()))
}

/// Applies `patches` to the files in `dir`; tells of the last one.
async fn tried(patches: &[patch::Loaded], dir: &Path, cancel: &CancellationToken) -> Result<Fit, patch::Error> {
    let Some((last, before)) = patches.split_last() else { return Ok(Fit::Applies { notes: Vec::new() }) };
    patch::apply(before, dir, cancel).await?;
    match patch::apply(std::slice::from_ref(last), dir, cancel).await {
        Ok(notes) => {
            let fuzz = notes.iter().filter_map(|note| fuzz(note)).max();
            let prefix = format!("{}: ", last.info.file);
            let notes = notes.iter().map(|note| note.strip_prefix(&prefix).unwrap_or(note).to_owned()).collect();
            Ok(fuzz
                .map_or(Fit::Applies { notes: Vec::new() }, |lines| Fit::Fuzz { lines, notes: Vec::new() })
                .with(notes))
        }
        Err(patch::Error::Already { .. }) => Ok(Fit::AlreadyThere),
        Err(patch::Error::Rejected { failures, reject, .. }) => Ok(Fit::Conflict { failures, reject }),
        Err(error) => Err(error),
    }
}

impl Fit {
    fn with(self, told: Vec<String>) -> Self {
        match self {
            Self::Applies { .. } => Self::Applies { notes: told },
            Self::Fuzz { lines, .. } => Self::Fuzz { lines, notes: told },
            other => other,
        }
    }
}

/// Of `…: hunk 1 succeeded at 2 with fuzz 1`.
fn fuzz(note: &str) -> Option<u32> {
    let (_, rest) = note.rsplit_once(" with fuzz ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

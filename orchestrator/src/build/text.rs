//! The text of a variant's source files, for those who show lines of it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path};

use tokio_util::sync::CancellationToken;

use super::{Error, Inputs, Request, patch, resolve_inputs, source, tree};
use crate::cache::{Cache, Filled, Key, Kind};

/// The lines of those of `files` (relative to the tree) that this variant was built from: the source with the variant's
/// patches applied.
///
/// The work tree cannot be asked for them, as it holds the variant that was built last; it is only where the source's own
/// files are found without unpacking anything. A file that cannot be had is missing from the answer, whatever the reason:
/// a generated header, a ready kernel without source, an archive that is gone. Lines are only ever shown beside something
/// that stands without them.
pub async fn source_text(
    request: &Request<'_>,
    cache: &Cache,
    files: &BTreeSet<String>,
    cancel: &CancellationToken,
) -> HashMap<String, Vec<String>> {
    let files: BTreeSet<String> = files.iter().filter(|file| is_inside(file)).cloned().collect();
    if files.is_empty() || request.kernel.source_of(request.variant).is_ready() {
        return HashMap::new();
    }
    let Ok(inputs) = resolve_inputs(request, cache, &|_| {}, cancel).await else { return HashMap::new() };
    let Ok(entry) = entry(&inputs, cache, &files, cancel).await else { return HashMap::new() };
    files
        .into_iter()
        .filter_map(|file| {
            let text = fs::read(entry.dir.join(&file)).ok()?;
            let lines = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
            Some((file, lines))
        })
        .collect()
}

fn is_inside(file: &str) -> bool {
    Path::new(file).components().all(|part| matches!(part, Component::Normal(_)))
}

/// The cache entry with the texts, made where it is missing.
async fn entry(
    inputs: &Inputs,
    cache: &Cache,
    files: &BTreeSet<String>,
    cancel: &CancellationToken,
) -> Result<Filled, Error> {
    let key = files.iter().fold(Key::new().part("build", &inputs.key), |key, file| key.part("file", file)).finish();
    cache
        .fill(Kind::Text, &key, cancel, async |dest: &Path| {
            let scratch = tempfile::tempdir_in(dest).map_err(Error::io("make a folder in", dest))?;
            // Patches are applied whole, so every file they touch has to be there.
            let touched = inputs.patches.iter().flat_map(|patch| patch.files.iter().cloned());
            let needed: BTreeSet<String> = files.iter().cloned().chain(touched).collect();
            if !from_work_tree(&cache.path(Kind::Work, &inputs.work), &needed, scratch.path())? {
                inputs.source.take(&needed, scratch.path(), cache, cancel).await?;
            }
            for (file, content) in inputs.revision.iter().filter(|(file, _)| needed.contains(*file)) {
                match content {
                    Some(content) => source::put(scratch.path(), file, &content.bytes)?,
                    // It may be missing already.
                    None => drop(fs::remove_file(scratch.path().join(file))),
                }
            }
            patch::apply(&inputs.patches, scratch.path(), cancel).await?;
            for file in files {
                if let Ok(text) = fs::read(scratch.path().join(file)) {
                    source::put(dest, file, &text)?;
                }
            }
            Ok::<_, Error>(())
        })
        .await
}

/// Copies the source's own files out of the work tree; false where there is none.
fn from_work_tree(work: &Path, files: &BTreeSet<String>, dest: &Path) -> Result<bool, Error> {
    let Some(tree) = tree::Pristine::open(work) else { return Ok(false) };
    for file in files {
        match tree.read(file) {
            None => return Ok(false),
            Some(None) => {}
            Some(Some(text)) => source::put(dest, file, &text)?,
        }
    }
    Ok(true)
}

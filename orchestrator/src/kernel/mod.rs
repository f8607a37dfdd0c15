//! x
use std::path::PathBuf;
use crate::cache::Cache;
use crate::plan::model::{Kernel, Source, Variant};
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct Error;
#[derive(Debug, Clone)]
pub enum Step { Fetch(String), Unpack, Patch, Configure, Compile { done: u64, total: Option<u64> }, Link, Cached }
pub struct Request<'a> { pub kernel: &'a Kernel, pub variant: &'a Variant, pub jobs: usize }
#[derive(Debug, Clone)]
pub struct BuiltKernel { pub boot: PathBuf, pub pvh: bool, pub vmlinux: Option<PathBuf>, pub config: Option<PathBuf>, pub log: Option<PathBuf>, pub modules: Option<PathBuf>, pub info: crate::outcome::entry::Built }
pub async fn build(request: &Request<'_>, _cache: &Cache, progress: &(dyn Fn(Step) + Sync), _cancel: &tokio_util::sync::CancellationToken) -> Result<BuiltKernel, Error> {
    progress(Step::Cached);
    let Source::Image { kernel, .. } = request.variant.image.as_ref().unwrap_or(&request.kernel.source) else { return Err(Error) };
    Ok(BuiltKernel { boot: kernel.clone(), pvh: true, vmlinux: None, config: None, log: None, modules: None, info: crate::outcome::entry::Built { kernel: request.kernel.name.clone(), variant: request.variant.name.clone(), release: "x".into(), config_sha256: "x".into(), compiler: "x".into(), key: kernel.display().to_string(), load_digest: kernel.display().to_string(), cached: true, seconds: 0.0, patch_notes: vec![] } })
}
pub mod patch { pub fn info(_: &crate::plan::model::Patch) -> Result<crate::outcome::entry::PatchInfo, super::Error> { Err(super::Error) } }

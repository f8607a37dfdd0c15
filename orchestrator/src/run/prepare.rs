//! Everything a run needs before its first guest starts: kernels, images, and an accelerator that really works.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Error;
use super::builds::{Batch, build_kernels};
use super::messages::{Event, Observer};
use crate::build::BuiltKernel;
use crate::build::initramfs::{self, Image};
use crate::cache::Cache;
use crate::journal::entry::{BuildFailed, Built};
use crate::plan::model::{Guest, Kernel, Plan, Variant};
use crate::vm::Snapshots;
use crate::vm::accel;

/// The programs and places a run works with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// What was built before.
    pub cache: Cache,
    /// QEMU.
    pub qemu: PathBuf,
    /// Where guest programs are looked for, in order.
    pub program_dirs: Vec<PathBuf>,
    /// `-j` of kernel builds.
    pub build_jobs: usize,
    /// Accelerator asked for.
    pub accel: accel::Wanted,
}

/// What rounds run on. It grows while kernels are still being built; what is there stays.
#[derive(Debug, Clone)]
pub struct Ground {
    /// QEMU.
    pub qemu: PathBuf,
    /// Built kernels by kernel and variant name.
    pub kernels: HashMap<(String, String), BuiltKernel>,
    /// Variants that could not be built.
    pub failed: Vec<BuildFailed>,
    /// Images by recipe.
    pub images: HashMap<PathBuf, Image>,
    /// The accelerator, and what a reader must know about the choice.
    pub accelerator: accel::Decision,
    /// Saved guests, for rounds that are warm clones.
    pub snapshots: Arc<Snapshots>,
}

impl Ground {
    /// Takes in what became of one kernel's variants.
    pub(super) fn add(&mut self, batch: Batch) {
        self.kernels.extend(batch.built);
        self.failed.extend(batch.failed);
    }

    /// Whether it is known of a variant that it is there, or that it will not come.
    pub(super) fn settled(&self, kernel: &str, variant: &str) -> bool {
        self.kernels.contains_key(&(kernel.to_owned(), variant.to_owned()))
            || self.failed.iter().any(|failed| (failed.kernel.as_str(), failed.variant.as_str()) == (kernel, variant))
    }

    /// What was built, in the plan's order.
    pub fn built(&self, plan: &Plan) -> Vec<Built> {
        variants(plan)
            .filter_map(|(kernel, variant)| self.kernels.get(&(kernel.name.clone(), variant.name.clone())))
            .map(|built| built.info.clone())
            .collect()
    }
}

/// Builds what the plan names, all of it before anything is booted. A variant that does not build is kept as such and costs
/// only its own cells.
pub async fn prepare(
    plan: &Plan,
    tools: &Tools,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Ground, Error> {
    let (kernels, images) =
        tokio::join!(build_kernels(plan, tools, observer, cancel), images(plan, tools, observer, cancel));
    let ((kernels, failed), images) = (kernels, images?);
    let accelerator = accelerator(plan, &kernels, tools, observer, cancel).await?;
    let snapshots = Arc::new(Snapshots::new(tools.cache.clone()));
    Ok(Ground { qemu: tools.qemu.clone(), kernels, failed, images, accelerator, snapshots })
}

/// The accelerator that the first of the built kernels shows to work.
pub(super) async fn accelerator(
    plan: &Plan,
    kernels: &HashMap<(String, String), BuiltKernel>,
    tools: &Tools,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<accel::Decision, Error> {
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let first = variants(plan).find_map(|(kernel, variant)| kernels.get(&(kernel.name.clone(), variant.name.clone())));
    let Some(first) = first else { return Err(Error::NothingBuilt) };
    observer(Event::Accelerator);
    let decided = accel::decide(tools.accel, &tools.qemu, &first.boot, tools.cache.root(), cancel);
    decided.await.map_err(Error::Accelerator)
}

/// Every variant of every kernel, in plan order.
pub fn variants(plan: &Plan) -> impl Iterator<Item = (&Kernel, &Variant)> {
    plan.kernels.iter().flat_map(|kernel| kernel.variants.iter().map(move |variant| (kernel, variant)))
}

/// Makes each image the plan's guests name, with the programs that it runs in them.
pub(super) async fn images(
    plan: &Plan,
    tools: &Tools,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<HashMap<PathBuf, Image>, Error> {
    let forced = plan.interleavings.iter().map(|it| &it.run).chain(plan.sweeps.iter().map(|it| &it.run));
    let programs: BTreeSet<String> = plan.tests.iter().map(|test| &test.run).chain(forced).cloned().collect();
    let programs: Vec<String> = programs.into_iter().collect();
    let recipes: BTreeSet<&Path> = plan.guests.iter().map(|guest: &Guest| guest.image.as_path()).collect();
    let mut images = HashMap::new();
    for recipe in recipes {
        observer(Event::Image);
        let image = initramfs::build(recipe, &programs, &tools.program_dirs, &tools.cache, cancel)
            .await
            .map_err(|source| Error::Image { recipe: recipe.to_path_buf(), source })?;
        images.insert(recipe.to_path_buf(), image);
    }
    Ok(images)
}

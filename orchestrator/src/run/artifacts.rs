//! Everything a run needs before its first guest starts: kernels, images, and an accelerator that really works.

use super::Error;
use super::messages::{Event, Observer};
use crate::build;
use crate::build::initramfs::Image;
use crate::build::{BuiltKernel, Step, initramfs};
use crate::cache::Cache;
use crate::causes::chain;
use crate::journal::entry::{BuildFailed, Built};
use crate::plan::model::{Guest, Kernel, Plan, Variant};
use crate::vm::{Snapshots, accel};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The programs and folders that a run works with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The build cache.
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

/// What rounds run on: kernels, images, an accelerator. Kernels are added while others are still
/// being built.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// QEMU.
    pub qemu: PathBuf,
    /// Built kernels by kernel and variant name.
    pub kernels: HashMap<(String, String), BuiltKernel>,
    /// Variants that could not be built.
    pub failed: Vec<BuildFailed>,
    /// Images by recipe.
    pub images: HashMap<PathBuf, Image>,
    /// The accelerator, and a notice about its choice.
    pub accelerator: accel::Decision,
    /// Saved guests for warm clones.
    pub snapshots: Arc<Snapshots>,
}

impl Artifacts {
    /// Adds the variants of one kernel.
    pub(super) fn add(&mut self, batch: KernelBatch) {
        self.kernels.extend(batch.built);
        self.failed.extend(batch.failed);
    }

    /// Whether a variant's build has ended, well or not.
    pub(super) fn is_known(&self, kernel: &str, variant: &str) -> bool {
        self.kernels.contains_key(&(kernel.to_owned(), variant.to_owned()))
            || self.failed.iter().any(|failed| (failed.kernel.as_str(), failed.variant.as_str()) == (kernel, variant))
    }

    /// The built variants, in plan order.
    pub fn built(&self, plan: &Plan) -> Vec<Built> {
        variants(plan)
            .filter_map(|(kernel, variant)| self.kernels.get(&(kernel.name.clone(), variant.name.clone())))
            .map(|built| built.info.clone())
            .collect()
    }
}

/// Builds everything the plan names before anything is booted. A variant that fails to build costs
/// only its own cells.
pub async fn prepare(
    plan: &Plan,
    tools: &Tools,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Artifacts, Error> {
    let (kernels, images) =
        tokio::join!(build_kernels(plan, tools, observer, cancel), images(plan, tools, observer, cancel));
    let ((kernels, failed), images) = (kernels, images?);
    let accelerator = accelerator(plan, &kernels, tools, observer, cancel).await?;
    let snapshots = Arc::new(Snapshots::new(tools.cache.clone()));
    Ok(Artifacts { qemu: tools.qemu.clone(), kernels, failed, images, accelerator, snapshots })
}

/// Chooses the accelerator by booting the first kernel that was built.
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

/// Makes the image of each guest, with the test programs it needs.
pub(super) async fn images(
    plan: &Plan,
    tools: &Tools,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<HashMap<PathBuf, Image>, Error> {
    let forced = plan.interleavings.iter().map(|it| &it.run).chain(plan.sweeps.iter().map(|it| &it.run));
    let programs: BTreeSet<String> =
        plan.tests.iter().filter(|test| test.program.is_none()).map(|test| &test.run).chain(forced).cloned().collect();
    let programs: Vec<String> = programs.into_iter().collect();
    let own = build::program::prepare(&plan.tests, cancel).await.map_err(Error::Program)?;
    let recipes: BTreeSet<&Path> = plan.guests.iter().map(|guest: &Guest| guest.image.as_path()).collect();
    let mut images = HashMap::new();
    for recipe in recipes {
        observer(Event::Image);
        let image = initramfs::build(recipe, &programs, &own.brought, &tools.program_dirs, &tools.cache, cancel)
            .await
            .map_err(|source| Error::Image { recipe: recipe.to_path_buf(), source })?;
        images.insert(recipe.to_path_buf(), image);
    }
    Ok(images)
}

/// Kernels that are still being built, in the order in which they finish.
pub(super) type PendingKernels = tokio::sync::mpsc::UnboundedReceiver<KernelBatch>;

/// The build results of one kernel's variants, in plan order.
#[derive(Debug, Default)]
pub(super) struct KernelBatch {
    /// By kernel and variant name.
    pub built: Vec<((String, String), BuiltKernel)>,
    /// Variants that could not be built.
    pub failed: Vec<BuildFailed>,
}

/// Kernels by kernel and variant name, and the variants that could not be built.
type Kernels = (HashMap<(String, String), BuiltKernel>, Vec<BuildFailed>);

/// Builds every variant of every kernel.
pub async fn build_kernels(plan: &Plan, tools: &Tools, observer: &Observer, cancel: &CancellationToken) -> Kernels {
    let (mut built, mut failed) = (HashMap::new(), Vec::new());
    let done = |batch: KernelBatch| {
        built.extend(batch.built);
        failed.extend(batch.failed);
    };
    each(plan, tools, |_| false, observer, cancel, done).await;
    (built, failed)
}

/// Builds one kernel after the other and hands each to `done` once the builds of all its variants
/// have ended. Each build uses every CPU, and the variants of a kernel share an object tree; the
/// source of the next kernel is unpacked meanwhile. `yields` says whether the kernel at an index of
/// the plan is built at the lowest priority. Ends early after an interrupt.
pub(super) async fn each(
    plan: &Plan,
    tools: &Tools,
    yields: impl Fn(usize) -> bool,
    observer: &Observer,
    cancel: &CancellationToken,
    mut done: impl FnMut(KernelBatch),
) {
    for (at, kernel) in plan.kernels.iter().enumerate() {
        let this = async {
            let batch = build_variants(kernel, tools, yields(at), observer, cancel).await;
            if !cancel.is_cancelled() {
                done(batch);
            }
        };
        let next = async {
            if let Some(next) = plan.kernels.get(at + 1) {
                unpack(next, tools, observer, cancel).await;
            }
        };
        tokio::join!(this, next);
        if cancel.is_cancelled() {
            return;
        }
    }
}

async fn build_variants(
    kernel: &Kernel,
    tools: &Tools,
    yields: bool,
    observer: &Observer,
    cancel: &CancellationToken,
) -> KernelBatch {
    let mut batch = KernelBatch::default();
    for variant in &kernel.variants {
        let request = build::Request { kernel, variant, jobs: tools.build_jobs, yields };
        let step = |step| {
            observer(Event::Build { kernel: kernel.name.clone(), variant: variant.name.clone(), step });
        };
        match build::build(&request, &tools.cache, &step, cancel).await {
            Ok(built) => {
                observer(Event::Built(Box::new(built.info.clone())));
                batch.built.push(((kernel.name.clone(), variant.name.clone()), built));
            }
            Err(_) if cancel.is_cancelled() => break,
            Err(error) => {
                let failure =
                    BuildFailed { kernel: kernel.name.clone(), variant: variant.name.clone(), reason: chain(&error) };
                observer(Event::BuildFailed(Box::new(failure.clone())));
                batch.failed.push(failure);
            }
        }
    }
    batch
}

/// Unpacks the source of a kernel in advance. Errors are ignored: the build tries again and reports
/// them.
async fn unpack(kernel: &Kernel, tools: &Tools, observer: &Observer, cancel: &CancellationToken) {
    let Some(variant) = kernel.variants.first() else { return };
    let request = build::Request { kernel, variant, jobs: tools.build_jobs, yields: true };
    let step = |step| {
        // The build reports notices, once.
        if !matches!(step, Step::Notice(_)) {
            observer(Event::Build { kernel: kernel.name.clone(), variant: variant.name.clone(), step });
        }
    };
    let _ = build::unpack(&request, &tools.cache, &step, cancel).await;
}

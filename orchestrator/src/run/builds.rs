//! Building a plan's kernels, one after the other: each build already uses every CPU, and the variants of a kernel share one
//! object tree. While one is compiled, the source of the next is fetched and unpacked, which takes one CPU.

use std::collections::HashMap;

use tokio_util::sync::CancellationToken;

use super::messages::{Event, Observer};
use super::prepare::Tools;
use crate::build::{self, BuiltKernel, Step};
use crate::causes::chain;
use crate::journal::entry::BuildFailed;
use crate::plan::model::{Kernel, Plan};

/// What became of the variants of one kernel, in plan order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By kernel and variant name.
    pub built: Vec<((String, String), BuiltKernel)>,
    /// Those that could not be built.
    pub failed: Vec<BuildFailed>,
}

/// Kernels by kernel and variant name, and the variants that could not be built.
type Kernels = (HashMap<(String, String), BuiltKernel>, Vec<BuildFailed>);

/// Builds every variant of every kernel.
pub async fn build_kernels(plan: &Plan, tools: &Tools, observer: &Observer, cancel: &CancellationToken) -> Kernels {
    let (mut built, mut failed) = (HashMap::new(), Vec::new());
    let done = |batch: Batch| {
        built.extend(batch.built);
        failed.extend(batch.failed);
    };
    each(plan, tools, |_| false, observer, cancel, done).await;
    (built, failed)
}

/// Builds kernel by kernel and hands each to `done` as soon as all of its variants are built or known not to. `yields`
/// says of the kernel at an index of the plan whether its build leaves the CPUs to others. Ends early after an interrupt.
pub(super) async fn each(
    plan: &Plan,
    tools: &Tools,
    yields: impl Fn(usize) -> bool,
    observer: &Observer,
    cancel: &CancellationToken,
    mut done: impl FnMut(Batch),
) {
    for (at, kernel) in plan.kernels.iter().enumerate() {
        let this = async {
            let batch = variants(kernel, tools, yields(at), observer, cancel).await;
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

async fn variants(
    kernel: &Kernel,
    tools: &Tools,
    yields: bool,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Batch {
    let mut batch = Batch::default();
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

/// Puts the source of a kernel in place. What goes wrong is for the build to tell, which tries it again.
async fn unpack(kernel: &Kernel, tools: &Tools, observer: &Observer, cancel: &CancellationToken) {
    let Some(variant) = kernel.variants.first() else { return };
    let request = build::Request { kernel, variant, jobs: tools.build_jobs, yields: true };
    let step = |step| {
        // What a reader must know is told once, by the build.
        if !matches!(step, Step::Notice(_)) {
            observer(Event::Build { kernel: kernel.name.clone(), variant: variant.name.clone(), step });
        }
    };
    let _ = build::unpack(&request, &tools.cache, &step, cancel).await;
}

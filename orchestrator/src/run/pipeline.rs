//! Builds and runs at the same time: the first guests boot while other kernels are still being
//! built.
//!
//! A kernel's cells wait for all of its variants, so both sides of a comparison run interleaved
//! from the first round on. Builds beside guests run at the lowest priority. Rounds beside a build
//! count like others, since both sides of their comparison run beside it; only their rates per
//! second may be lower.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::artifacts::{Artifacts, PendingKernels, Tools, accelerator, images};
use super::artifacts::{KernelBatch, each};
use super::dispatcher::{self, Run, Start};
use super::messages::{Event, Observer};
use super::options::Options;
use crate::build::Step;
use crate::plan::model::Plan;
use crate::vm::Snapshots;

/// Builds the plan's kernels, forces its interleavings and runs its tests, each as soon as its
/// kernel is built. Everything is built before the first round if all kernels are in the cache, if
/// there is only one kernel, and for a resumed run.
pub async fn build_and_run(
    plan: &Plan,
    tools: &Tools,
    options: &Options,
    start: Start,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let (tell, pending) = mpsc::unbounded_channel();
    let (works, working) = watch::channel(false);
    let watched: Observer = {
        let observer = observer.clone();
        Arc::new(move |event| {
            if let Event::Build { step, .. } = &event
                && makes(step)
            {
                works.send_if_modified(|working| !std::mem::replace(working, true));
            }
            observer(event);
        })
    };
    // When the run fails, its builds are cancelled.
    let ending = cancel.child_token();
    let building = async {
        // The receiver is gone only if the run has failed.
        each(plan, tools, |at| at > 0, &watched, &ending, |batch| drop(tell.send(batch))).await;
        drop(tell);
    };
    let running = async {
        let _ending = ending.clone().drop_guard();
        staged(plan, tools, options, start, (pending, working), observer, cancel).await
    };
    tokio::join!(running, building).0
}

/// Whether a build step takes so long that guests should not wait for it. Package lists and sources
/// are fetched for cached kernels too.
fn makes(step: &Step) -> bool {
    match step {
        Step::Fetch(_) | Step::Notice(_) | Step::Cached => false,
        Step::Unpack | Step::Patch | Step::Configure | Step::Compile { .. } | Step::Link => true,
    }
}

async fn staged(
    plan: &Plan,
    tools: &Tools,
    options: &Options,
    start: Start,
    (mut pending, mut working): (PendingKernels, watch::Receiver<bool>),
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let first = async {
        let mut known = KernelBatch::default();
        while known.built.is_empty() {
            let Some(batch) = pending.recv().await else { break };
            known.built.extend(batch.built);
            known.failed.extend(batch.failed);
        }
        known
    };
    let (KernelBatch { built, failed }, images) = tokio::join!(first, images(plan, tools, observer, cancel));
    let kernels: HashMap<_, _> = built.into_iter().collect();
    let images = images?;
    let accelerator = accelerator(plan, &kernels, tools, observer, cancel).await?;
    let snapshots = Arc::new(Snapshots::new(tools.cache.clone()));
    let mut artifacts = Artifacts { qemu: tools.qemu.clone(), kernels, failed, images, accelerator, snapshots };
    let all = matches!(start, Start::Resume(_));
    // Cached kernels arrive at once, so that the order of rounds depends on the seed alone.
    loop {
        let batch = tokio::select! {
            biased;
            batch = pending.recv() => batch,
            _ = working.wait_for(|working| *working), if !all => break,
        };
        let Some(batch) = batch else { break };
        artifacts.add(batch);
    }
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    dispatcher::run(plan, artifacts, options, start, pending, observer, cancel).await
}

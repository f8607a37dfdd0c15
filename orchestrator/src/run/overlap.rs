//! Building and running at once: the first guests boot while other kernels are still being built.
//!
//! A kernel's cells wait for all of its variants, so that whatever is compared runs interleaved from its first round on, and
//! what is built beside guests is built at the lowest priority, so that they have the CPUs. Rounds that ran beside a build
//! are worth as much as others: both sides of their comparison did. Only their rates per second may be lower.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Error;
use super::builds::{Batch, each};
use super::dispatcher::{self, Options, Run, Start};
use super::messages::{Event, Observer};
use super::prepare::{Ground, Tools, accelerator, images};
use crate::build::Step;
use crate::plan::model::Plan;
use crate::vm::Snapshots;

/// Kernels that are still to come: what becomes of each, until all are done.
pub(super) type ToCome = mpsc::UnboundedReceiver<Batch>;

/// Builds what the plan names, forces its interleavings and runs its tests: each on its kernel as soon as that is there.
/// A plan whose kernels are all in the cache, or that has one kernel alone, is built before anything runs, and so is a run
/// that is taken up again.
pub async fn build_and_run(
    plan: &Plan,
    tools: &Tools,
    options: &Options,
    start: Start,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let (tell, to_come) = mpsc::unbounded_channel();
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
    // A run that fails takes its builds along.
    let ending = cancel.child_token();
    let building = async {
        // Nobody listens any more only when the run has failed.
        each(plan, tools, |at| at > 0, &watched, &ending, |batch| drop(tell.send(batch))).await;
        drop(tell);
    };
    let running = async {
        let _ending = ending.clone().drop_guard();
        staged(plan, tools, options, start, (to_come, working), observer, cancel).await
    };
    tokio::join!(running, building).0
}

/// Whether a step takes the time that a guest should not wait for. Lists and sources are fetched for kernels that are in
/// the cache as well.
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
    (mut to_come, mut working): (ToCome, watch::Receiver<bool>),
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<Run, Error> {
    let first = async {
        let mut known = Batch::default();
        while known.built.is_empty() {
            let Some(batch) = to_come.recv().await else { break };
            known.built.extend(batch.built);
            known.failed.extend(batch.failed);
        }
        known
    };
    let (Batch { built, failed }, images) = tokio::join!(first, images(plan, tools, observer, cancel));
    let kernels: HashMap<_, _> = built.into_iter().collect();
    let images = images?;
    let accelerator = accelerator(plan, &kernels, tools, observer, cancel).await?;
    let snapshots = Arc::new(Snapshots::new(tools.cache.clone()));
    let mut ground = Ground { qemu: tools.qemu.clone(), kernels, failed, images, accelerator, snapshots };
    let all = matches!(start, Start::Resume(_));
    // Kernels of the cache are all there in a moment: the order of rounds then hangs on the seed alone.
    loop {
        let batch = tokio::select! {
            biased;
            batch = to_come.recv() => batch,
            _ = working.wait_for(|working| *working), if !all => break,
        };
        let Some(batch) = batch else { break };
        ground.add(batch);
    }
    if cancel.is_cancelled() {
        return Err(Error::Interrupted);
    }
    dispatcher::run(plan, ground, options, start, to_come, observer, cancel).await
}

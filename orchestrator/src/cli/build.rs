//! `twinboot build`

use std::io::Write;

use super::args::{BuildArgs, Places};
use super::exit::{Failure, INFRASTRUCTURE, INTERRUPTED, OK};
use super::setup;
use crate::process;
use crate::report::progress::Progress;
use crate::run;
use crate::vm::accel::Wanted;

/// Builds every variant of a plan and says where the kernels are.
pub fn run(places: &Places, args: &BuildArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let plan = setup::load_plan(places, &args.plan)?;
    let tools = setup::tools(places, Wanted::Auto, args.jobs)?;
    let progress = Progress::on_stderr();
    let tools = setup::noticing(tools, &progress);
    let observer = progress.observer();
    let (built, failed, interrupted) = setup::block_on(async {
        let cancel = process::interrupts()?;
        let (built, failed) = run::build_kernels(&plan, &tools, &observer, &cancel).await;
        Ok::<_, Failure>((built, failed, cancel.is_cancelled()))
    })??;
    progress.finish();
    for (kernel, variant) in run::variants(&plan) {
        if let Some(done) = built.get(&(kernel.name.clone(), variant.name.clone())) {
            writeln!(out, "{} {}: {} {}", kernel.name, variant.name, done.info.release, done.boot.display())?;
        }
    }
    Ok(match (interrupted, failed.is_empty()) {
        (true, _) => INTERRUPTED,
        (false, true) => OK,
        (false, false) => INFRASTRUCTURE,
    })
}

//! What several commands set up in the same way: the plan, the tools, the asynchronous runtime.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::args::Places;
use super::exit::{Failure, INFRASTRUCTURE, USAGE};
use crate::build::Step;
use crate::cache::Cache;
use crate::plan;
use crate::plan::model::Plan;
use crate::plan::yaml::Style;
use crate::printable::one_line;
use crate::process;
use crate::report::progress::Progress;
use crate::run::Tools;
use crate::vm::{self, accel::Wanted};

/// Loads a plan; its errors are printed in full, all of them, before this returns.
pub fn load_plan(places: &Places, path: &Path) -> Result<Plan, Failure> {
    plan::load(path, places.data_dir.as_deref()).map_err(|error| plan_failure(path, error))
}

/// What to end with when the plan at `path` cannot be loaded; its errors are printed in full.
pub fn plan_failure(path: &Path, error: plan::Error) -> Failure {
    match error {
        plan::Error::Plan(problems) => {
            let _ = std::io::stderr().write_all(problems.render(Style::for_stderr()).as_bytes());
            Failure::say(USAGE, format!("`{}` is not a plan that can run", path.display()))
        }
        error => Failure::new(USAGE, &error),
    }
}

/// Says on standard error what is fetched for a kernel, and what must be known of where it comes from.
pub fn tell(kernel: &str, step: &Step) {
    let _ = match step {
        Step::Fetch(what) => writeln!(std::io::stderr(), "{kernel}: fetching {}", one_line(what)),
        Step::Notice(what) => writeln!(std::io::stderr(), "{kernel}: note: {}", one_line(what)),
        _ => Ok(()),
    };
}

/// Removes the run directories of twinboots that were killed. Returns them.
pub fn sweep() -> Vec<PathBuf> {
    let (run_dirs, temporary) = (vm::run_dir_parent(), std::env::temp_dir());
    let other = Some(temporary).filter(|temporary| *temporary != run_dirs);
    std::iter::once(run_dirs).chain(other).flat_map(|parent| process::run_dir::sweep(&parent)).collect()
}

/// The cache of this invocation, which says on standard error what a user should know.
pub fn cache(places: &Places) -> Result<Cache, Failure> {
    let cache = Cache::open(places.cache_dir.as_deref())?;
    Ok(cache.with_notices(|text| {
        // Nobody is left to tell it to if standard error is closed.
        let _ = writeln!(std::io::stderr(), "note: {}", one_line(text));
    }))
}

/// Has the cache of `tools` say what it has to say between the bars of `progress`.
pub fn noticing(tools: Tools, progress: &Progress) -> Tools {
    let progress = progress.clone();
    Tools { cache: tools.cache.with_notices(move |text| progress.note(text)), ..tools }
}

/// The programs and places of this invocation. `build_jobs` is make's `-j`, the number of CPUs when absent.
pub fn tools(places: &Places, accel: Wanted, build_jobs: Option<u16>) -> Result<Tools, Failure> {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut program_dirs: Vec<PathBuf> = places.guest_dir.iter().cloned().collect();
    let program = std::env::current_exe().map_err(|error| Failure::new(INFRASTRUCTURE, &error))?;
    program_dirs.extend(program.parent().map(Path::to_path_buf));
    for left in sweep() {
        let _ = writeln!(
            std::io::stderr(),
            "note: removed `{}`, which a twinboot that was killed had left",
            left.display()
        );
    }
    Ok(Tools {
        cache: cache(places)?,
        qemu: places.qemu.clone(),
        program_dirs,
        build_jobs: build_jobs.map_or(cpus, usize::from),
        accel,
    })
}

/// Runs `work` to its end on an asynchronous runtime of its own.
pub fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(INFRASTRUCTURE, &error))?;
    let done = runtime.block_on(work);
    // Blocking threads that wait for a guest that is gone must not hold up the end.
    runtime.shutdown_background();
    Ok(done)
}

//! `twinboot compare`: a question about a tree or a patch, without a plan.
//!
//! The question is written down as a plan beside the results, and that plan is run: nothing is compared in another way than
//! a plan would compare it.

mod sides;
mod template;
mod written;

use std::io::Write;
use std::path::Path;

use super::args::{CompareArgs, GuestArgs, Places, RunArgs};
use super::exit::{Failure, INFRASTRUCTURE, INTERRUPTED, OK, USAGE};
use super::{run, setup};
use crate::plan::roots::Roots;
use crate::printable::one_line;
use crate::process;
use crate::run::results_dir;

/// A file that is written beside the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Beside {
    name: String,
    bytes: Vec<u8>,
}

/// Writes the plan, runs it, and leads with the verdict.
pub fn run(places: &Places, args: &CompareArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let here = std::env::current_dir()?;
    let roots = Roots::find_in(&here, places.data_dir.as_deref()).map_err(|error| Failure::new(USAGE, &error))?;
    let question = setup::block_on(async {
        let cancel = process::interrupts()?;
        sides::question(args, &cancel)
            .await
            .map_err(|failure| if cancel.is_cancelled() { Failure::say(INTERRUPTED, "interrupted") } else { failure })
    })??;
    let template = template::find(args, &roots)?;
    let written = written::plan(&question, &template, &args.config, &roots)?;
    if args.dry_run {
        out.write_all(written.text.as_bytes())?;
        return Ok(OK);
    }
    let utc = jiff::Timestamp::now();
    let results = results_dir::create(args.guests.out.as_deref(), written::NAME, &utc)?;
    let folder = results.join(results_dir::PLAN);
    let plan = folder.join("plan.yaml");
    if let Err(error) = write(&folder, &written.beside, &plan, &written.text) {
        return Err(Failure::new(INFRASTRUCTURE, &error));
    }
    writeln!(std::io::stderr(), "plan: {}", one_line(&plan.display().to_string()))?;
    let guests = GuestArgs { out: Some(results), ..args.guests.clone() };
    let run_args = RunArgs {
        plan,
        guests,
        only: Vec::new(),
        control: None,
        resume: None,
        partition: None,
        dry_run: false,
        verdict_first: true,
    };
    let places = Places { data_dir: Some(roots.data().to_path_buf()), ..places.clone() };
    run::run(&places, &run_args, out)
}

fn write(folder: &Path, beside: &[Beside], plan: &Path, text: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for file in beside {
        std::fs::write(folder.join(&file.name), &file.bytes)?;
    }
    std::fs::write(plan, text)
}

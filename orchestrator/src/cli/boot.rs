//! `twinboot boot`

use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Write};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::args::{BootArgs, Places};
use super::exit::{Failure, INFRASTRUCTURE, INTERRUPTED, OK, USAGE};
use super::setup;
use crate::plan::conditions::matches_pattern;
use crate::plan::model::{Cell, Plan};
use crate::printable::{Printable, paragraph};
use crate::process;
use crate::report::progress::Progress;
use crate::run::{self, Artifacts, DebugGuest};
use crate::vm::DeathKind;

/// How often the console is looked at. It is read from the log, which the machine writes at any rate.
const LOOK: Duration = Duration::from_millis(50);

/// Shows the kernel's own messages, which rounds keep off the slow serial port.
const TALKATIVE: &str = "loglevel=7";

/// Boots the first cell asked for, with its console on `out`, until it ends or is interrupted. A terminal gets the console
/// with everything escaped that it would act on, a file or a pipe gets it byte for byte.
pub fn run(places: &Places, args: &BootArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut printable;
    let out: &mut dyn Write = if io::stdout().is_terminal() {
        printable = Printable::new(out);
        &mut printable
    } else {
        out
    };
    let (plan, cell) = choose(places, args)?;
    setup::block_on(async {
        let cancel = process::interrupts()?;
        let artifacts = artifacts(places, args, &plan, &cancel).await?;
        let mut guest = DebugGuest::start(&plan, &cell, &artifacts, TALKATIVE, &cancel).await?;
        let mut console = Console { log: File::open(guest.console_log())?, out };
        let lived = tokio::select! {
            lived = live(&mut guest, &cell, &cancel) => lived,
            broken = console.follow() => broken.map(|()| OK).map_err(Failure::from),
        };
        // Its last words came with the end; a terminal that is gone must not keep the guest.
        let shown = console.copy();
        guest.end().await?;
        let code = lived?;
        shown?;
        Ok(code)
    })?
}

/// The guest's life from its start: says how to log in once it is ready, and waits for its end.
async fn live(guest: &mut DebugGuest, cell: &Cell, cancel: &CancellationToken) -> Result<u8, Failure> {
    tokio::select! {
        ready = guest.ready() => ready.map(drop)?,
        () = cancel.cancelled() => return Ok(INTERRUPTED),
    }
    let (login, test) = (guest.ssh_line()?, guest.test_command());
    let mut err = io::stderr();
    let told = format!("\n{} is up; Ctrl-C ends it.\nlog in:   {login}\nits test: {test}\n\n", cell.id);
    err.write_all(told.as_bytes())?;
    tokio::select! {
        death = guest.vm().died() => {
            writeln!(err, "{}", paragraph(&death.to_string()))?;
            Ok(if death.kind == DeathKind::PoweredOff { OK } else { INFRASTRUCTURE })
        }
        () = cancel.cancelled() => Ok(INTERRUPTED),
    }
}

/// The plan with nothing but the cell that was asked for.
pub(super) fn choose(places: &Places, args: &BootArgs) -> Result<(Plan, Cell), Failure> {
    let mut plan = setup::load_plan(places, &args.plan)?;
    let wanted = |cell: &&Cell| args.only.as_ref().is_none_or(|only| matches_pattern(only, &cell.id));
    let Some(cell) = plan.cells.iter().find(wanted).cloned() else {
        let ids: Vec<&str> = plan.cells.iter().map(|cell| cell.id.as_str()).collect();
        let only = args.only.as_deref().unwrap_or("*");
        let message = format!("no cell matches {only}; there are:\n  {}", ids.join("\n  "));
        return Err(Failure::say(USAGE, message));
    };
    plan.keep_cells(|id| id == cell.id);
    Ok((plan, cell))
}

/// Builds what the plan's only cell stands on, with progress on standard error.
pub(super) async fn artifacts(
    places: &Places,
    args: &BootArgs,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Result<Artifacts, Failure> {
    let tools = setup::tools(places, args.accel.into(), None)?;
    let progress = Progress::on_stderr();
    let tools = setup::noticing(tools, &progress);
    let artifacts = run::prepare(plan, &tools, &progress.observer(), cancel).await;
    progress.finish();
    let artifacts = artifacts?;
    if let Some(notice) = &artifacts.accelerator.notice {
        writeln!(io::stderr(), "{}", paragraph(notice))?;
    }
    Ok(artifacts)
}

/// What the guest says, on its way to the terminal.
struct Console<'a> {
    log: File,
    out: &'a mut dyn Write,
}

impl Console<'_> {
    /// Copies what came since the last time.
    fn copy(&mut self) -> io::Result<()> {
        let mut new = Vec::new();
        self.log.read_to_end(&mut new)?;
        if !new.is_empty() {
            self.out.write_all(&new)?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// Copies for as long as there is somebody to read.
    async fn follow(&mut self) -> io::Result<()> {
        loop {
            self.copy()?;
            tokio::time::sleep(LOOK).await;
        }
    }
}

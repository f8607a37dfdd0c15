//! How machines end, and how that is noticed.

use std::fmt;
use std::process::ExitStatus;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::log::Log;
use super::qemu::STEP;
use super::qmp::{Cause, Event};
use crate::process::{Group, exit_text};

/// A death that was announced; the process may still be on its way out.
pub(super) struct Dying {
    pub(super) death: Death,
    /// When to stop waiting for the process.
    pub(super) give_up: Instant,
    /// The process has ended.
    pub(super) gone: bool,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// What kind of end.
    pub kind: DeathKind,
    /// In words, for a report: `the guest's kernel panicked (Kernel panic - not syncing: Fatal exception)`.
    pub reason: String,
}

/// Kinds of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeathKind {
    /// The guest powered off.
    PoweredOff,
    /// The guest rebooted or was reset.
    Reset,
    /// The guest's kernel panicked.
    Panicked,
    /// QEMU ended for a reason of its own or was ended from outside.
    Exited,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// Waits for the next thing that makes or completes a death, and notes it. Cancel-safe.
pub(super) async fn dying(
    events: &mut mpsc::UnboundedReceiver<Event>,
    group: &mut Group,
    death: &mut Option<Dying>,
    log: &Log,
) {
    loop {
        let Some(event) = events.recv().await else {
            let exited = Death { kind: DeathKind::Exited, reason: exit_reason(group.wait().await) };
            death.get_or_insert(Dying { death: exited, give_up: Instant::now(), gone: true }).gone = true;
            return;
        };
        if let Some(told) = told(event, log) {
            // The first word says most: a panic is followed by a reset, a power-off by nothing or by our own `quit`.
            death.get_or_insert(Dying { death: told, give_up: Instant::now() + STEP, gone: false });
            return;
        }
    }
}

fn exit_reason(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => format!("QEMU ended with {}", exit_text(status)),
        Err(error) => format!("QEMU's end could not be observed: {error}"),
    }
}

fn told(event: Event, log: &Log) -> Option<Death> {
    let death = |kind, reason: String| Some(Death { kind, reason });
    match event {
        Event::Panicked => death(DeathKind::Panicked, "the guest's kernel panicked".to_owned()),
        Event::Shutdown { cause: Cause::GuestShutdown, .. } => {
            death(DeathKind::PoweredOff, "the guest powered off".to_owned())
        }
        Event::Shutdown { cause: Cause::GuestPanic, .. } => {
            death(DeathKind::Panicked, "the guest's kernel panicked".to_owned())
        }
        Event::Shutdown { cause: Cause::GuestReset, .. } => death(DeathKind::Reset, "the guest rebooted".to_owned()),
        Event::Shutdown { reason, by_guest, .. } => {
            let who = if by_guest { "the guest" } else { "the host" };
            death(DeathKind::Exited, format!("{who} ended QEMU ({reason})"))
        }
        Event::Reset { reason, by_guest: true } => death(DeathKind::Reset, format!("the guest was reset ({reason})")),
        Event::Reset { reason, by_guest: false } => {
            log.line(&format!("twinboot: reset by the host ({reason})"));
            None
        }
        Event::Other(line) => {
            log.line(&format!("monitor: {line}"));
            None
        }
    }
}

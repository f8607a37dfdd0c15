//! What is taken from QEMU before a guest runs in it: system calls that it has no use for, and twinboot's environment.

use std::collections::HashMap;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::process::Group;

/// QEMU's seccomp filter with every switch it has: no obsolete system calls, no other user, no other program, no change of
/// priorities (qemu(1), `-sandbox`).
pub(super) const OPTION: [&str; 2] =
    ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"];

/// Variables that QEMU gets to see: where programs, libraries and its modules are, and where temporary files go.
const KEPT: [&str; 4] = ["PATH", "LD_LIBRARY_PATH", "QEMU_MODULE_DIR", "TMPDIR"];

/// How long the probe may take; QEMU itself takes 60 ms.
const PROBE: Duration = Duration::from_secs(15);

/// What is known of each QEMU so far.
static KNOWN: Mutex<Option<HashMap<PathBuf, bool>>> = Mutex::new(None);

/// Whether `qemu` was built with seccomp and this host allows it to be used, tried once in a process by starting a machine
/// without anything in it. A QEMU that cannot be started at all has its reason told when a guest is.
pub(super) async fn works(qemu: &Path, cancel: &CancellationToken) -> bool {
    let known = |answer: Option<bool>| {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        answer.map(|works| known.insert(qemu.to_path_buf(), works));
        known.get(qemu).copied()
    };
    if let Some(works) = known(None) {
        return works;
    }
    tokio::select! {
        works = probe(qemu) => {
            known(Some(works));
            works
        }
        () = cancel.cancelled() => false,
    }
}

async fn probe(qemu: &Path) -> bool {
    let order = tempfile::tempfile().and_then(|mut file| {
        file.write_all(b"quit\n")?;
        file.rewind()?;
        Ok(file)
    });
    let Ok(order) = order else { return false };
    let mut command = Command::new(qemu);
    clean_environment(&mut command);
    command.args(["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-monitor", "stdio"]);
    command.args(OPTION).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut group) = Group::spawn_reading(command, order) else { return false };
    match tokio::time::timeout(PROBE, group.wait()).await {
        Ok(status) => status.is_ok_and(|status| status.success()),
        Err(_) => false,
    }
}

/// Leaves `command` nothing of twinboot's environment but what it needs: it may hold tokens of a CI.
pub(super) fn clean_environment(command: &mut Command) {
    command.env_clear();
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("LC_ALL", "C");
}

//! `twinboot doctor`

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::args::{DoctorArgs, Places};
use super::exit::{Failure, INFRASTRUCTURE, OK};
use super::setup;
use crate::cache::{Cache, Kind};
use crate::process;
use crate::vm::accel::{self, Wanted};

/// What twinboot runs, the Debian package that has it, and what it is for.
const PROGRAMS: &[(&str, &str, &str)] = &[
    ("make", "make", "kernels"),
    ("gcc", "gcc", "kernels"),
    ("flex", "flex", "kernels"),
    ("bison", "bison", "kernels"),
    ("bc", "bc", "kernels"),
    ("xz", "xz-utils", "kernel sources"),
    ("tar", "tar", "kernel sources"),
    ("patch", "patch", "variants"),
    ("git", "git", "`git` sources"),
    ("curl", "curl", "`tarball` sources with a URL"),
    ("apt-get", "apt", "`debian` sources"),
    ("dpkg-deb", "dpkg", "`debian` sources"),
    ("busybox", "busybox-static", "guest images"),
    ("dropbear", "dropbear-bin", "guest images"),
];

/// Checks programs and the accelerator, a line each; exits 3 when something that every run needs is missing.
pub fn run(places: &Places, args: &DoctorArgs, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut missing = Vec::new();
    for (program, package, purpose) in PROGRAMS {
        if let Some(path) = find(OsStr::new(program)) {
            writeln!(out, "ok       {program:<20} {}", path.display())?;
        } else {
            writeln!(out, "missing  {program:<20} for {purpose}; Debian package {package}")?;
            missing.push(*package);
        }
    }
    if let Some(path) = find(places.qemu.as_os_str()) {
        writeln!(out, "ok       {:<20} {}", places.qemu.display(), path.display())?;
    } else {
        writeln!(out, "missing  {:<20} for guests; Debian package qemu-system-x86", places.qemu.display())?;
        missing.push("qemu-system-x86");
    }
    let cache = Cache::open(places.cache_dir.as_deref())?;
    writeln!(out, "cache    {}", cache.root().display())?;
    accelerator(places, args, &cache, out)?;
    if missing.is_empty() {
        return Ok(OK);
    }
    writeln!(out, "\ninstall: apt-get install {}", missing.join(" "))?;
    Ok(INFRASTRUCTURE)
}

fn accelerator(places: &Places, args: &DoctorArgs, cache: &Cache, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(kernel) = args.kernel.clone().or_else(|| any_kernel(cache)) else {
        writeln!(out, "accel    unknown: no kernel to boot yet; build one, or pass --kernel")?;
        return Ok(());
    };
    let decision = setup::block_on(async {
        let cancel = process::interrupts()?;
        Ok::<_, Failure>(accel::decide(Wanted::Auto, &places.qemu, &kernel, cache.root(), &cancel).await)
    })??;
    match decision {
        Ok(decision) => {
            writeln!(out, "accel    {} (QEMU {})", decision.accel.name(), decision.qemu_version)?;
            if let Some(notice) = decision.notice {
                writeln!(out, "         {notice}")?;
            }
        }
        Err(error) => writeln!(out, "accel    unknown: {}", crate::causes::chain(&error))?,
    }
    Ok(())
}

/// Some kernel of the cache.
fn any_kernel(cache: &Cache) -> Option<PathBuf> {
    let entries = std::fs::read_dir(cache.root().join(Kind::Kernels.folder())).ok()?;
    entries.filter_map(Result::ok).map(|entry| entry.path().join("vmlinux")).find(|path| path.is_file())
}

/// The program as the shell would find it.
pub(super) fn find(program: &OsStr) -> Option<PathBuf> {
    if Path::new(program).components().count() > 1 {
        return Path::new(program).is_file().then(|| PathBuf::from(program));
    }
    let path = std::env::var_os("PATH")?;
    // Where Debian keeps dropbear and friends; not on every user's PATH.
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(sbin).map(|dir| dir.join(program)).find(|candidate| candidate.is_file())
}

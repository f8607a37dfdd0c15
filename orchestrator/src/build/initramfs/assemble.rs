//! From a recipe to the image's files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::closure::{Need, closure};
use super::host::{Contents, Host, find_in, programs_in};
use super::recipe::{File, ProgramRef, Recipe};
use super::tree::{Node, Tree};
use super::{Brought, DROPBEAR_PATH, Error, PROGRAM_DIR, elf, skeleton};
use crate::build::program::FILES_DIR;
use crate::process;

/// Where busybox is in the guest; its applets are links to it.
const BUSYBOX_PATH: &str = "/bin/busybox";

/// Where programs of the host go: on the path that dropbear gives a command.
const HOST_PROGRAM_DIR: &str = "/usr/bin";

/// Folders of the guest in which a program is found by name.
const GUEST_PATH: [&str; 5] = [PROGRAM_DIR, "/usr/sbin", HOST_PROGRAM_DIR, "/sbin", "/bin"];

/// Applets that would pass for the guest's own process 1.
const UNWANTED_APPLETS: [&str; 2] = ["linuxrc", "sbin/init"];

/// An image to be put together, with everything located that another program has to be asked for.
#[derive(Debug)]
pub(super) struct Assembly {
    recipe: Recipe,
    /// Relative paths in the recipe start here.
    folder: PathBuf,
    /// Guest tests that the plan names.
    programs: Vec<String>,
    /// Programs that the plan brings.
    brought: Vec<Brought>,
    program_dirs: Vec<PathBuf>,
    host: Host,
    /// The binary and its applets, as paths without the leading slash.
    busybox: Option<(PathBuf, Vec<String>)>,
    dropbear: Option<PathBuf>,
}

/// The work on one tree.
struct Bench<'a> {
    host: &'a Host,
    contents: Contents,
    tree: Tree,
    /// Scripts and what each runs under, to be settled once everything else is in place.
    scripts: Vec<(PathBuf, String)>,
}

impl Assembly {
    /// Reads the recipe and locates busybox and dropbear.
    pub(super) async fn prepare(
        recipe: &Path,
        (programs, brought): (&[String], &[Brought]),
        program_dirs: &[PathBuf],
        host: Host,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let folder = recipe.parent().unwrap_or(Path::new("")).to_path_buf();
        let recipe = Recipe::load(recipe)?;
        let busybox = match &recipe.busybox {
            None => None,
            Some(wanted) => {
                let path = locate(wanted, &folder, &host, &advice("busybox-static", "busybox"))?;
                let mut command = Command::new(&path);
                command.arg("--list-full");
                let applets = process::capture(command, cancel).await?;
                Some((path, applets.lines().map(str::to_owned).collect()))
            }
        };
        let dropbear = match &recipe.ssh {
            None => None,
            Some(wanted) => Some(locate(wanted, &folder, &host, &advice("dropbear-bin", "ssh"))?),
        };
        let (programs, program_dirs, brought) = (programs.to_vec(), program_dirs.to_vec(), brought.to_vec());
        Ok(Self { recipe, folder, programs, brought, program_dirs, host, busybox, dropbear })
    }

    /// Everything the guest gets. What the recipe places itself comes first and keeps its place.
    pub(super) fn tree(&self) -> Result<Tree, Error> {
        let mut bench =
            Bench { host: &self.host, contents: Contents::default(), tree: Tree::default(), scripts: Vec::new() };
        for directory in &self.recipe.directories {
            bench.tree.insert(&directory.to, Node::Directory { mode: directory.mode.map_or(0o755, |mode| mode.0) })?;
        }
        for file in &self.recipe.files {
            bench.add_file(file, &self.folder)?;
        }
        let init = match &self.recipe.init {
            ProgramRef::Named(name) => self.guest_program(name).ok_or_else(|| self.unknown(name))?,
            ProgramRef::At(path) => self.folder.join(path),
        };
        bench.add_own_program(&init, "/init")?;
        if let Some(dropbear) = &self.dropbear {
            bench.add_program(dropbear, DROPBEAR_PATH)?;
        }
        for program in &self.recipe.programs {
            let path =
                locate(program, &self.folder, &self.host, "install it, or give its path in the recipe's `programs`")?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            bench.add_program(&path, &format!("{HOST_PROGRAM_DIR}/{name}"))?;
        }
        let mut elsewhere = Vec::new();
        for name in &self.programs {
            let place = format!("{PROGRAM_DIR}/{name}");
            match self.guest_program(name) {
                _ if bench.tree.get(&place).is_some() => {}
                Some(path) => bench.add_own_program(&path, &place)?,
                None => elsewhere.push((name, place)),
            }
        }
        for Brought { from, name, files } in &self.brought {
            bench.add_program(from, &format!("{PROGRAM_DIR}/{name}"))?;
            for file in files {
                let real =
                    file.canonicalize().map_err(|source| Error::Io { action: "read", path: file.clone(), source })?;
                let called = guest_name(Path::new(file.file_name().unwrap_or_default()))?.to_owned();
                bench.copy(&real, &real, &format!("{FILES_DIR}/{name}/{called}"), None)?;
            }
        }
        skeleton::fill(&mut bench.tree)?;
        if let Some((busybox, applets)) = &self.busybox {
            bench.add_program(busybox, BUSYBOX_PATH)?;
            for applet in applets.iter().filter(|applet| !UNWANTED_APPLETS.contains(&applet.as_str())) {
                bench.tree.fill(applet, Node::Symlink { target: BUSYBOX_PATH.to_owned() })?;
            }
        }
        bench.settle_scripts()?;
        for (name, place) in elsewhere {
            let target = bench.on_path(name).ok_or_else(|| self.unknown(name))?;
            bench.tree.fill(&place, Node::Symlink { target })?;
        }
        Ok(bench.tree)
    }

    /// A program of ours, by its plain name.
    fn guest_program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') { None } else { find_in(&self.program_dirs, name) }
    }

    fn unknown(&self, name: &str) -> Error {
        Error::UnknownProgram {
            name: name.to_owned(),
            looked_in: self.program_dirs.clone(),
            available: programs_in(&self.program_dirs),
        }
    }
}

fn advice(package: &str, key: &str) -> String {
    format!("install it (Debian and Ubuntu: package `{package}`), or give its path in the recipe: `{key}: /path/to/it`")
}

/// The real path of `from`, which a recipe in `folder` names: either it lies in that folder, or every user of this machine
/// may read it. A plan that somebody sent cannot carry the user's keys into a guest, nor root's.
fn public(from: &Path, folder: &Path) -> Result<PathBuf, Error> {
    let failed = |source| Error::Io { action: "read", path: from.to_path_buf(), source };
    let real = from.canonicalize().map_err(failed)?;
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if real.starts_with(folder.canonicalize().map_err(failed)?) {
        return Ok(real);
    }
    for (above, at) in real.ancestors().enumerate() {
        let mode = at.metadata().map_err(failed)?.permissions().mode();
        // What lies in a folder is reached by those who may search it.
        let wanted = if above > 0 {
            0o001
        } else if at.is_dir() {
            0o005
        } else {
            0o004
        };
        if mode & wanted != wanted {
            return Err(Error::Private { path: real.clone(), closed: at.to_path_buf() });
        }
    }
    Ok(real)
}

/// An entry of a copied folder: what is a link stays one, so nothing behind it is read.
fn public_entry(from: &Path, folder: &Path) -> Result<PathBuf, Error> {
    if from.is_symlink() { Ok(from.to_path_buf()) } else { public(from, folder) }
}

fn locate(wanted: &ProgramRef, folder: &Path, host: &Host, hint: &str) -> Result<PathBuf, Error> {
    match wanted {
        ProgramRef::At(path) => Ok(folder.join(path)),
        ProgramRef::Named(name) => host.find(name).ok_or_else(|| Error::MissingTool {
            name: name.clone(),
            looked_in: host.path.clone(),
            hint: hint.to_owned(),
        }),
    }
}

impl Bench<'_> {
    /// Puts the host's program `from` at `to`, with what it needs to run.
    fn add_program(&mut self, from: &Path, to: &str) -> Result<(), Error> {
        let content = self.contents.get(from)?;
        if !self.add_needs(from, to, &content)? {
            return Err(Error::NotAProgram { path: from.to_path_buf() });
        }
        self.tree.insert(to, Node::File { mode: 0o755, content })
    }

    /// Puts one of our programs at `to`, without the symbols and debug information that a distribution would have
    /// taken out: every guest unpacks them, and holds them in memory that the race is short of.
    fn add_own_program(&mut self, from: &Path, to: &str) -> Result<(), Error> {
        let whole = self.contents.get(from)?;
        if !self.add_needs(from, to, &whole)? {
            return Err(Error::NotAProgram { path: from.to_path_buf() });
        }
        let content = elf::loaded_part(&whole).map_or(whole, Arc::new);
        self.tree.insert(to, Node::File { mode: 0o755, content })
    }

    /// Adds what the program `content` needs; false when it is no program at all.
    fn add_needs(&mut self, from: &Path, to: &str, content: &[u8]) -> Result<bool, Error> {
        let interpreters = script_interpreters(content);
        if !interpreters.is_empty() {
            self.scripts.extend(interpreters.into_iter().map(|interpreter| (from.to_path_buf(), interpreter)));
            return Ok(true);
        }
        if !elf::looks_like(content) {
            return Ok(false);
        }
        for need in closure(from, Path::new(to), &self.host.libraries, &mut self.contents)? {
            match need {
                Need::File { from, to } => {
                    let content = self.contents.get(&from)?;
                    self.tree.insert(guest_name(&to)?, Node::File { mode: 0o755, content })?;
                }
                Need::Link { at, to } => {
                    let target = guest_name(&to)?.to_owned();
                    self.tree.insert(guest_name(&at)?, Node::Symlink { target })?;
                }
            }
        }
        Ok(true)
    }

    fn add_file(&mut self, file: &File, folder: &Path) -> Result<(), Error> {
        if let Some(text) = &file.content {
            let mode = file.mode.map_or(0o644, |mode| mode.0);
            if mode & 0o111 != 0 {
                let interpreters = script_interpreters(text.as_bytes()).into_iter();
                self.scripts.extend(interpreters.map(|interpreter| (PathBuf::from(&file.to), interpreter)));
            }
            return self.tree.insert(&file.to, Node::file(mode, text.as_bytes()));
        }
        let from = folder.join(file.from.as_deref().unwrap_or(Path::new("")));
        // Links are followed here alone: a link inside a copied folder stays a link.
        let real = public(&from, folder)?;
        self.copy(&real, folder, &file.to, file.mode.map(|mode| mode.0))
    }

    fn copy(&mut self, from: &Path, folder: &Path, to: &str, mode: Option<u32>) -> Result<(), Error> {
        let failed = |source| Error::Io { action: "read", path: from.to_path_buf(), source };
        let data = from.symlink_metadata().map_err(failed)?;
        if data.is_symlink() {
            let target = from.read_link().map_err(failed)?;
            return self.tree.insert(to, Node::Symlink { target: guest_name(&target)?.to_owned() });
        }
        if data.is_dir() {
            if !to.trim_matches('/').is_empty() {
                self.tree.insert(to, Node::Directory { mode: 0o755 })?;
            }
            for entry in from.read_dir().map_err(failed)? {
                let name = PathBuf::from(entry.map_err(failed)?.file_name());
                self.copy(
                    &public_entry(&from.join(&name), folder)?,
                    folder,
                    &format!("{to}/{}", guest_name(&name)?),
                    mode,
                )?;
            }
            return Ok(());
        }
        if !data.is_file() {
            return Err(Error::Name { name: to.to_owned(), reason: "it is neither a file, a folder nor a link" });
        }
        // The host's umask must not leak into the image, so only the executable bit counts.
        let mode = mode.unwrap_or(if data.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 });
        let content = self.contents.get(from)?;
        if mode & 0o111 != 0 {
            self.add_needs(from, to, &content)?;
        }
        self.tree.insert(to, Node::File { mode, content })
    }

    /// Brings the interpreters that no applet and no recipe entry provides.
    fn settle_scripts(&mut self) -> Result<(), Error> {
        while let Some((script, interpreter)) = self.scripts.pop() {
            let there = self.tree.get(&interpreter).is_some() || self.on_path(&interpreter).is_some();
            if there {
                continue;
            }
            if !Path::new(&interpreter).is_absolute() || !Path::new(&interpreter).is_file() {
                return Err(Error::MissingInterpreter { program: script, interpreter });
            }
            self.add_program(Path::new(&interpreter), &interpreter)?;
        }
        Ok(())
    }

    /// Where the guest finds the program called `name`.
    fn on_path(&self, name: &str) -> Option<String> {
        if name.contains('/') {
            return None;
        }
        GUEST_PATH.iter().map(|folder| format!("{folder}/{name}")).find(|path| self.tree.get(path).is_some())
    }
}

/// What a script runs under: the path on its first line, and where that is env(1), the name it is to look up as well.
/// Empty when `content` is no script.
fn script_interpreters(content: &[u8]) -> Vec<String> {
    let Some(line) = content.strip_prefix(b"#!").and_then(|rest| rest.split(|byte| *byte == b'\n').next()) else {
        return Vec::new();
    };
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let Some(path) = words.next() else { return Vec::new() };
    let by_env = Path::new(path).file_name().is_some_and(|name| name == "env");
    let looked_up = words.find(|word| by_env && !word.starts_with('-') && !word.contains('='));
    [Some(path), looked_up].into_iter().flatten().map(str::to_owned).collect()
}

fn guest_name(path: &Path) -> Result<&str, Error> {
    path.to_str()
        .ok_or_else(|| Error::Name { name: path.to_string_lossy().into_owned(), reason: "it is not valid UTF-8" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_machine_without_busybox_or_dropbear_is_told_which_package_to_install() {
        let dir = tempfile::tempdir().expect("a scratch folder");
        let recipe = dir.path().join("recipe.yaml");
        for (key, package) in [("busybox: true", "`busybox-static`"), ("ssh: dropbear", "`dropbear-bin`")] {
            std::fs::write(&recipe, format!("init: twinboot-init\n{key}\n")).expect("writes");
            let bare = Host { path: vec![dir.path().to_path_buf()], ..Host::default() };
            let refused = Assembly::prepare(&recipe, (&[], &[]), &[], bare, &CancellationToken::new()).await;
            let message = refused.expect_err("is missing").to_string();
            assert!(message.contains(package) && message.contains("/path/to/it"), "{message}");
        }
    }

    #[test]
    fn a_recipe_takes_from_elsewhere_only_what_everyone_may_read() {
        let home = tempfile::Builder::new().prefix("home").tempdir_in("/tmp").expect("a scratch folder");
        let at = |name: &str| home.path().join(name);
        let chmod = |name: &str, mode| {
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).expect("sets");
        };
        for folder in ["plan", "open", "closed"] {
            std::fs::create_dir(at(folder)).expect("makes");
            for (name, mode) in [("key", 0o600), ("text", 0o644)] {
                std::fs::write(at(folder).join(name), name).expect("writes");
                chmod(&format!("{folder}/{name}"), mode);
            }
        }
        for (folder, mode) in [("", 0o755), ("open", 0o755), ("closed", 0o700), ("plan", 0o700)] {
            chmod(folder, mode);
        }
        std::os::unix::fs::symlink("../open/key", at("plan/link")).expect("links");
        let taken = |from: &str| {
            let mut bench = Bench {
                host: &Host::default(),
                contents: Contents::default(),
                tree: Tree::default(),
                scripts: Vec::new(),
            };
            let file = File { from: Some(from.into()), content: None, to: "/x".to_owned(), mode: None };
            bench.add_file(&file, &at("plan")).map_err(|error| error.to_string())
        };
        for allowed in ["key", "text", "../open/text", "../plan/key", "/etc/passwd"] {
            taken(allowed).expect(allowed);
        }
        // A folder that everyone may read can hold a file that is private.
        for refused in ["../open/key", "link", "../open", "../closed/text", "../closed", "/etc/shadow"] {
            let message = taken(refused).expect_err(refused);
            assert!(message.contains("not readable by every user"), "{refused}: {message}");
        }
    }

    #[test]
    fn a_first_line_names_what_runs_the_script() {
        let cases: [(&[u8], &[&str]); 6] = [
            (b"#!/bin/sh\necho", &["/bin/sh"]),
            (b"#! /bin/sh -e", &["/bin/sh"]),
            (b"#!/usr/bin/env python3\n", &["/usr/bin/env", "python3"]),
            (b"#!/usr/bin/env -S A=1 perl -w\n", &["/usr/bin/env", "perl"]),
            (b"#!\n", &[]),
            (b"\x7fELF", &[]),
        ];
        for (content, expected) in cases {
            assert_eq!(script_interpreters(content), expected);
        }
    }
}

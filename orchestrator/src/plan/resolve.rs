//! From a plan as written to a plan ready to run: defaults, paths, the matrix, cells and comparisons.
//!
//! Every error is noted in the [`Document`]; the plan that comes out is meant to be run only when there is none.

mod catalogue;
mod cells;
mod conditions;
mod files;
mod forced;
mod guests;
mod kernels;
mod matrix;
mod programs;
mod variants;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::lock::LockFile;
use super::model;
use super::roots::Roots;
use super::schema::{self, Scalar};
use super::validate::{self, Problem};
use crate::plan::yaml::{Document, KeyPath, nearest};

/// What every step of the way needs.
#[derive(Clone, Copy)]
struct Context<'a> {
    /// The plan's text, and the errors found in it.
    document: &'a Document,
    /// The plan's folder: relative paths start there.
    folder: &'a Path,
    roots: &'a Roots,
    lock: Option<&'a LockFile>,
}

impl Context<'_> {
    /// Notes a problem with the value at `path`, if there is one.
    fn check(&self, path: &KeyPath, check: Result<(), Problem>) {
        if let Err(Problem { message, hint }) = check {
            self.document.error(path, message, hint);
        }
    }

    /// Checks the name of the map at `path`: there, legal, and not among `seen`, which it joins.
    fn name<'n>(&self, path: &KeyPath, name: &'n str, what: &str, seen: &mut BTreeMap<&'n str, usize>) {
        let at = path.key("name");
        if !self.document.has(&at) {
            self.document.missing(path, "name", Some(format!("every {what} has one: `name: …`")));
            return;
        }
        if self.document.damaged(&at) {
            return;
        }
        self.check(&at, validate::name(name));
        let position = seen.len();
        if seen.insert(name, position).is_some() && !name.is_empty() {
            self.document.error(&at, format!("another {what} is called '{name}' already"), None);
        }
    }

    /// Notes that the list `key` in the map at `path` has nothing in it, or is not there at all.
    fn no_items(&self, path: &KeyPath, key: &str, what: &str) {
        let at = path.key(key);
        if self.document.damaged(&at) {
            return;
        }
        if self.document.has(&at) {
            self.document.error(&at, "the list is empty", Some(format!("name at least one {what}")));
        } else {
            self.document.missing(path, key, Some(format!("name at least one {what}")));
        }
    }

    /// A map of scalars with its values as they are spelled in the file, each checked to be one line.
    fn scalars(&self, path: &KeyPath, map: &BTreeMap<String, Scalar>) -> BTreeMap<String, String> {
        map.iter()
            .map(|(key, value)| {
                let at = path.key(key);
                let text = self.spelled(&at, value);
                self.check(&at, validate::line(&text));
                (key.clone(), text)
            })
            .collect()
    }

    /// A scalar as it is spelled in the file: `6.10` is not 6.1.
    fn spelled(&self, path: &KeyPath, value: &Scalar) -> String {
        self.document.spelling(path).unwrap_or(&value.0).to_owned()
    }
}

/// A hint that asks whether `found` was meant to be one of `known`, or lists them.
fn guess<'a>(found: &str, known: impl IntoIterator<Item = &'a str> + Clone, what: &str) -> Option<String> {
    if let Some(word) = nearest(found, known.clone()) {
        return Some(format!("did you mean `{word}`?"));
    }
    let known: Vec<&str> = known.into_iter().collect();
    (!known.is_empty()).then(|| format!("{what}: {}", known.join(", ")))
}

/// The kernels of a plan without their variants: what they are made from.
pub fn kernels(raw: &schema::Plan, document: &Document, path: &Path, roots: &Roots) -> Vec<model::Kernel> {
    let folder = folder(path);
    kernels::sources(Context { document, folder: &folder, roots, lock: None }, raw).1
}

fn folder(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    path.parent().map_or_else(PathBuf::new, |folder| folder.canonicalize().unwrap_or(folder.into()))
}

/// Resolves a plan that was read from `text` into `document`; `path` is where the text comes from.
/// `lock` is the plan's lock file, where it has one: what it says against the plan is noted in its own document.
pub fn resolve(
    raw: &schema::Plan,
    document: &Document,
    text: &str,
    path: &Path,
    roots: &Roots,
    lock: Option<&LockFile>,
) -> model::Plan {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = folder(&path);
    let context = Context { document, folder: &folder, roots, lock };
    let root = KeyPath::root();

    if document.has(&root.key("name")) {
        if !document.damaged(&root.key("name")) {
            context.check(&root.key("name"), validate::plan_name(&raw.name));
        }
    } else {
        document.missing(&root, "name", Some("result folders carry it: `name: …`".to_owned()));
    }
    context.check(&KeyPath::keys(&["defaults", "alpha"]), validate::alpha(raw.defaults.alpha));
    context.check(&KeyPath::keys(&["defaults", "rounds"]), validate::rounds(raw.defaults.rounds));
    context.check(&KeyPath::keys(&["defaults", "at_most"]), validate::interval(raw.defaults.at_most.0));

    let overcommit = raw.overcommit.unwrap_or(1.0);
    context.check(&root.key("overcommit"), validate::overcommit(overcommit));

    let (kernels, left_out) = kernels::resolve(context, raw);
    let guest = guests::resolve(context, &raw.guest);
    let tests = programs::resolve(context, raw);
    let (interleavings, sweeps) = forced::resolve(context, raw, &kernels, &tests);
    let has_forced = !interleavings.is_empty() || !sweeps.is_empty();
    let mut points = matrix::expand(context, &raw.matrix, &kernels, &guest, &tests, has_forced);
    let (cells, comparisons) = cells::lay_out(context, &kernels, &points, has_forced);
    let mut ids: BTreeSet<String> = cells.iter().map(|cell| cell.id.clone()).collect();
    let mut forced_cells = |names: Vec<&str>| cells::lay_out_forced(context, &kernels, &points, &names, &mut ids);
    let forced = forced_cells(interleavings.iter().map(|it| it.name.as_str()).collect());
    let swept = forced_cells(sweeps.iter().map(|it| it.name.as_str()).collect());
    let used: HashSet<&String> =
        cells.iter().map(|cell| &cell.guest).chain(forced.iter().chain(&swept).map(|cell| &cell.guest)).collect();
    points.guests.retain(|guest| used.contains(&guest.name));
    let used: HashSet<&String> = cells.iter().map(|cell| &cell.test).collect();
    points.tests.retain(|test| used.contains(&test.name));
    model::Plan {
        name: raw.name.clone(),
        path,
        sha256: crate::cache::sha256(text),
        kernels,
        left_out,
        guests: points.guests,
        overcommit,
        tests: points.tests,
        cells,
        comparisons,
        interleavings,
        sweeps,
        forced,
        swept,
    }
}

//! From a plan as written to a plan ready to run: defaults, paths, the matrix, cells and
//! comparisons.
//!
//! Errors are collected in the [`Document`]. Run the resulting plan only if there are none.

mod axes;
mod cells;
mod context;
mod guests;
mod interleavings;
mod kernels;
mod matrix;
mod programs;
mod variants;

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use context::Context;

use super::lock::LockFile;
use super::roots::Roots;
use super::{model, schema, validate};
use crate::plan::yaml::{Document, KeyPath};

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
/// `lock` is the plan's lock file, if it has one; mismatches are collected in the lock's own
/// document.
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

    let (written, mut kernels) = kernels::sources(context, raw);
    let left_out = variants::resolve(context, &raw.variants, &written, &mut kernels);
    let guest = guests::resolve(context, &raw.guest);
    let tests = guests::resolve_tests(context, raw);
    let known = guests::known(context, &raw.known);
    let (interleavings, sweeps) = interleavings::resolve(context, raw, &kernels, &tests);
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
        known,
        interleavings,
        sweeps,
        forced,
        swept,
    }
}

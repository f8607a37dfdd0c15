//! Cells, their ids, and the comparisons between them.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::context::Context;
use super::matrix::{Point, Points};
use crate::plan::model::{Cell, Comparison, ForcedCell, Kernel};
use crate::plan::yaml::KeyPath;

/// A cell's folder is named after it, and journals add to the name; file systems take 255 bytes.
const ID_MAX: usize = 200;

/// Makes a cell for every point, and a comparison for every cell whose variant has a base. A plan
/// without cells is an error unless `forced` is set.
pub(super) fn lay_out(
    context: Context,
    kernels: &[Kernel],
    points: &Points,
    forced: bool,
) -> (Vec<Cell>, Vec<Comparison>) {
    let several_guests = points.guests.len() > 1;
    let mut taken: HashSet<String> = HashSet::new();
    let mut ids: HashMap<Point, String> = HashMap::new();
    let mut cells = Vec::new();
    for point in &points.cells {
        let kernel = &kernels[point.kernel];
        let variant = &kernel.variants[point.variant];
        let (guest, test) = (&points.guests[point.guest], &points.tests[point.test]);
        let mut id = format!("{}.{}.{}", kernel.name, variant.name, test.name);
        if several_guests {
            id = format!("{id}.{}", guest.name);
        }
        let at = KeyPath::keys(&["kernels"]).index(point.kernel).key("name");
        check_length(context, &at, &id);
        if !taken.insert(id.clone()) && !context.document.has_errors() {
            let hint = "names are joined with dots; rename a kernel, a variant or a test".to_owned();
            context.document.error(&at, format!("two cells would have the id {id}"), Some(hint));
        }
        ids.insert(*point, id.clone());
        cells.push(Cell {
            id,
            kernel: kernel.name.clone(),
            variant: variant.name.clone(),
            guest: guest.name.clone(),
            test: test.name.clone(),
        });
    }
    if cells.is_empty() && !(forced && points.tests.is_empty()) && !context.document.has_errors() {
        let hint = "`matrix.exclude` leaves no cell".to_owned();
        context.document.error(&KeyPath::keys(&["matrix", "exclude"]), "there is nothing to run", Some(hint));
    }
    let comparisons = comparisons(context, kernels, points, &ids);
    (cells, comparisons)
}

/// Makes the cells of the interleavings or sweeps called `names`. An id in `taken` cannot be used
/// again.
pub(super) fn lay_out_forced(
    context: Context,
    kernels: &[Kernel],
    points: &Points,
    names: &[&str],
    taken: &mut BTreeSet<String>,
) -> Vec<ForcedCell> {
    let mut cells = Vec::new();
    for place in &points.places {
        let (kernel, guest) = (&kernels[place.kernel], &points.guests[place.guest]);
        let variant = &kernel.variants[place.variant];
        let at = KeyPath::keys(&["kernels"]).index(place.kernel).key("name");
        for name in names {
            let mut id = format!("{}.{}.{name}", kernel.name, variant.name);
            if points.guests.len() > 1 {
                id = format!("{id}.{}", guest.name);
            }
            check_length(context, &at, &id);
            if !taken.insert(id.clone()) && !context.document.has_errors() {
                let hint = "names are joined with dots; rename a kernel, a variant, a test, an interleaving or a sweep";
                context.document.error(&at, format!("two cells would have the id {id}"), Some(hint.to_owned()));
            }
            cells.push(ForcedCell {
                id,
                kernel: kernel.name.clone(),
                variant: variant.name.clone(),
                base: variant.base.clone(),
                guest: guest.name.clone(),
                name: (*name).to_owned(),
            });
        }
    }
    let run: HashSet<(&str, &str, &str)> =
        cells.iter().map(|cell| (&*cell.kernel, &*cell.guest, &*cell.variant)).collect();
    for cell in &cells {
        if let Some(base) = &cell.base
            && !run.contains(&(&*cell.kernel, &*cell.guest, &**base))
            && !context.document.has_errors()
        {
            no_base(context, &cell.id, base);
        }
    }
    if cells.is_empty() && !names.is_empty() && !context.document.has_errors() {
        let message = "there is no kernel to force an interleaving on";
        let hint = "`matrix.exclude` leaves none".to_owned();
        context.document.error(&KeyPath::keys(&["matrix", "exclude"]), message, Some(hint));
    }
    cells
}

fn check_length(context: Context, at: &KeyPath, id: &str) {
    if id.len() > ID_MAX {
        let message = format!("the cell id {id} is longer than {ID_MAX} characters");
        context.document.error(at, message, Some("shorten the names it is made of".to_owned()));
    }
}

fn no_base(context: Context, cell: &str, base: &str) {
    let message = format!("cell {cell} has nothing to be compared with: the matrix leaves its base '{base}' out");
    let hint = "include or exclude a variant together with its base".to_owned();
    context.document.error(&KeyPath::keys(&["matrix"]), message, Some(hint));
}

fn comparisons(context: Context, kernels: &[Kernel], points: &Points, ids: &HashMap<Point, String>) -> Vec<Comparison> {
    let mut comparisons = Vec::new();
    for point in &points.cells {
        let kernel = &kernels[point.kernel];
        let Some(base) = &kernel.variants[point.variant].base else { continue };
        let Some(variant) = kernel.variants.iter().position(|variant| variant.name == *base) else { continue };
        match (ids.get(&Point { variant, ..*point }), &ids[point]) {
            (Some(base), patched) => {
                comparisons.push(Comparison { base: base.clone(), patched: patched.clone(), control: false });
            }
            (None, patched) if !context.document.has_errors() => {
                no_base(context, patched, base);
            }
            (None, _) => {}
        }
    }
    comparisons
}

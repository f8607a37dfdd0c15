//! Functions: what a name stands for, and what an address belongs to.

use std::ops::Range;

use super::names::near;
use super::names::{Symbol, base};
use super::tree::{Declared, Scope};
use super::{PointError, Symbols};

/// A function with all its code: its own, the parts split off from it, clones, and the copies inlined elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Name in the source.
    pub name: String,
    /// Its first instruction; that of the first inlined copy where it has no code of its own.
    pub start: u64,
    /// Source file relative to the tree, where known.
    pub file: Option<String>,
    /// Line of its declaration.
    pub line: Option<u32>,
    /// Its code piece by piece, in address order.
    pub pieces: Vec<Piece>,
    /// All its code: sorted, no two ranges touch.
    pub ranges: Vec<Range<u64>>,
}

/// A part of a function's code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Symbol: `do_swap_page`, `do_swap_page.cold`, `swap_readpage.constprop.0`; of an inlined copy the function's name.
    pub name: String,
    /// Its code.
    pub ranges: Vec<Range<u64>>,
    /// Where control enters it.
    pub entry: u64,
    /// Function that it is inlined into.
    pub into: Option<String>,
    /// File and line of the call that was inlined.
    pub called_at: Option<(String, u32)>,
}

/// The function that an address is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Name in the source.
    pub name: String,
    /// Symbol; differs from the name for split-off parts and clones.
    pub symbol: String,
    /// First instruction of the symbol.
    pub start: u64,
    /// Behind its last one; `start` for a label in assembly, which has no size.
    pub end: u64,
    /// Source file relative to the tree, where known.
    pub file: Option<String>,
}

impl Piece {
    /// Whether its beginning is the function's: not so for split-off parts.
    pub(super) fn is_whole(&self) -> bool {
        !self.name.contains(".cold") && !self.name.contains(".part.")
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

impl Function {
    /// Whether an address is in the function, inlined copies included.
    pub fn contains(&self, address: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

impl Symbols {
    /// The first of these names that has code, with all of it.
    ///
    /// # Errors
    /// None of the names exists, or the first that does left no code, or stands for several functions.
    pub fn function(&self, names: &[String]) -> Result<Function, PointError> {
        let mut failed = None;
        for name in names {
            match self.named(name) {
                Ok(Some(function)) => return Ok(function),
                Ok(None) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| {
            let mut near: Vec<String> = names.iter().flat_map(|name| near(name, self.table.functions())).collect();
            near.dedup();
            near.truncate(5);
            PointError::NoFunction { names: names.to_vec(), near }
        }))
    }

    /// The function that an address is in, inlined copies not looked at.
    pub fn function_at(&self, address: u64) -> Option<Placed> {
        let symbol = self.table.around(address)?;
        let file = self.declaration_at(symbol.address).and_then(|declared| declared.file);
        Some(Placed {
            name: symbol.base().to_owned(),
            symbol: symbol.name.clone(),
            start: symbol.address,
            end: symbol.address + symbol.size,
            file: file.map(|file| file.to_string()),
        })
    }

    /// What the debug information says of the function that begins at an address.
    fn declaration_at(&self, address: u64) -> Option<Declared> {
        let tree = self.tree(self.units().ok()?.at(address)?).ok()?;
        tree.around(address).last().map(|scope| scope.declared.clone())
    }

    fn named(&self, name: &str) -> Result<Option<Function>, PointError> {
        let name = base(name);
        let own: Vec<&Symbol> = self.table.pieces(name).filter(|symbol| symbol.size > 0).collect();
        let mut places: Vec<Declared> = Vec::new();
        for symbol in &own {
            if let Some(declared) = self.declaration_at(symbol.address)
                && *declared.name == *name
                && !places.contains(&declared)
            {
                places.push(declared);
            }
        }
        let mut pieces: Vec<Piece> = own
            .iter()
            .map(|symbol| Piece {
                name: symbol.name.clone(),
                ranges: std::iter::once(symbol.address..symbol.address + symbol.size).collect(),
                entry: symbol.address,
                into: None,
                called_at: None,
            })
            .collect();
        let mut defined = None;
        for unit in self.units_with_copies(name, &own, &places)? {
            let tree = self.tree(unit)?;
            defined = defined.or_else(|| tree.defined.iter().find(|declared| *declared.name == *name).cloned());
            let is_copy = |scope: &Scope| scope.inlined.is_some() && *scope.declared.name == *name;
            for scope in tree.scopes.iter().filter(|scope| is_copy(scope)) {
                if !places.contains(&scope.declared) {
                    places.push(scope.declared.clone());
                }
            }
            pieces.extend(tree.copies(is_copy));
        }
        if places.len() > 1 {
            let mut places: Vec<String> = places.iter().map(place).collect();
            places.sort();
            return Err(PointError::Ambiguous { name: name.to_owned(), places });
        }
        pieces.sort_by_key(|piece| piece.entry);
        let whole = pieces.iter().filter(|piece| piece.is_whole());
        let first = whole.min_by_key(|piece| (piece.into.is_some(), piece.name != name, piece.entry));
        let Some(start) = first.or(pieces.first()).map(|piece| piece.entry) else {
            return match defined {
                None => Ok(None),
                Some(declared) => Err(PointError::OptimisedOut {
                    name: name.to_owned(),
                    file: declared.file.map(|file| file.to_string()),
                    line: declared.line,
                }),
            };
        };
        let declared = places.pop();
        let ranges = merged(pieces.iter().flat_map(|piece| piece.ranges.iter().cloned()).collect());
        Ok(Some(Function {
            name: name.to_owned(),
            start,
            file: declared.as_ref().and_then(|declared| declared.file.as_ref()).map(ToString::to_string),
            line: declared.and_then(|declared| declared.line),
            pieces,
            ranges,
        }))
    }

    /// Units that may hold inlined copies. A function of a `.c` file has them in its own unit only, one of a header
    /// anywhere.
    fn units_with_copies(&self, name: &str, own: &[&Symbol], places: &[Declared]) -> Result<Vec<usize>, gimli::Error> {
        let of_a_unit = |declared: &Declared| declared.file.as_ref().is_some_and(|file| file.ends_with(".c"));
        if own.is_empty() || !places.iter().all(of_a_unit) {
            return self.units_mentioning(name);
        }
        let units = self.units()?;
        let mut found: Vec<usize> = own.iter().filter_map(|symbol| units.at(symbol.address)).collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

fn place(declared: &Declared) -> String {
    match (&declared.file, declared.line) {
        (Some(file), Some(line)) => format!("{file}:{line}"),
        (Some(file), None) => file.to_string(),
        _ => "in an unknown file".to_owned(),
    }
}

/// Sorted, with what overlaps or touches made one.
pub(super) fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

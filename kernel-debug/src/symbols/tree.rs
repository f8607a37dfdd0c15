//! The functions of one unit and the copies of others that are inlined into them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use gimli::{Attribute, AttributeValue, DebugInfoOffset, DwAt, EntriesRaw, UnitOffset};

use super::dwarf::{Dwarf, Slice, Unit};
use super::{Piece, Symbols, lines};

/// What is known of one unit's code.
#[derive(Debug)]
pub(super) struct Tree {
    /// Functions and inlined copies that have code, an inlined copy always behind what it is inlined into.
    pub scopes: Vec<Scope>,
    /// Functions defined in this unit, with code or without.
    pub defined: Vec<Declared>,
}

/// A function's code, or an inlined copy's.
#[derive(Debug)]
pub(super) struct Scope {
    pub declared: Declared,
    pub ranges: Vec<Range<u64>>,
    /// Where control enters.
    pub entry: u64,
    /// For an inlined copy: what it is inlined into, and the place of the call.
    pub inlined: Option<Inlined>,
}

#[derive(Debug)]
pub(super) struct Inlined {
    /// Index into [`Tree::scopes`].
    pub into: usize,
    pub file: Option<Arc<str>>,
    pub line: Option<u32>,
}

/// A function as declared in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub name: Arc<str>,
    pub file: Option<Arc<str>>,
    pub line: Option<u32>,
}

impl Scope {
    pub fn contains(&self, address: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }
}

impl Tree {
    /// The scopes around an address, the innermost first.
    pub fn around(&self, address: u64) -> Vec<&Scope> {
        let innermost = self.scopes.iter().rposition(|scope| scope.contains(address));
        let mut chain = Vec::new();
        let mut next = innermost;
        while let Some(scope) = next.map(|index| &self.scopes[index]) {
            chain.push(scope);
            next = scope.inlined.as_ref().map(|inlined| inlined.into);
        }
        chain
    }

    /// The inlined copies for which `wanted` holds.
    pub fn copies(&self, wanted: impl Fn(&Scope) -> bool) -> impl Iterator<Item = Piece> {
        let inlined = move |scope: &&Scope| wanted(scope);
        self.scopes.iter().filter(inlined).filter_map(|scope| {
            let inlined = scope.inlined.as_ref()?;
            let mut outermost = inlined.into;
            while let Some(further) = &self.scopes[outermost].inlined {
                outermost = further.into;
            }
            Some(Piece {
                name: scope.declared.name.to_string(),
                ranges: scope.ranges.clone(),
                entry: scope.entry,
                into: Some(self.scopes[outermost].declared.name.to_string()),
                called_at: inlined.file.as_ref().zip(inlined.line).map(|(file, line)| (file.to_string(), line)),
            })
        })
    }
}

impl Symbols {
    /// A unit's functions, parsed at the first question.
    pub(super) fn tree(&self, index: usize) -> Result<Arc<Tree>, gimli::Error> {
        let lock = || self.trees.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(tree) = lock().get(&index) {
            return Ok(Arc::clone(tree));
        }
        let dwarf = self.dwarf();
        let unit = self.unit(&dwarf, index)?;
        let files = lines::files(&dwarf, &unit, self.units()?)?;
        let tree =
            Arc::new(Reader { symbols: self, dwarf: &dwarf, unit: &unit, files, entries: HashMap::new() }.read()?);
        lock().insert(index, Arc::clone(&tree));
        Ok(tree)
    }
}

/// What the pass over a unit finds of one subprogram or inlined copy.
#[derive(Default)]
struct Found<'a> {
    name: Option<AttributeValue<Slice<'a>>>,
    /// `DW_AT_abstract_origin` or `DW_AT_specification`: where the name is instead.
    origin: Option<DebugInfoOffset<usize>>,
    file: Option<u64>,
    line: Option<u32>,
    declaration: bool,
    low: Option<AttributeValue<Slice<'a>>>,
    high: Option<AttributeValue<Slice<'a>>>,
    ranges: Option<AttributeValue<Slice<'a>>>,
    entry: Option<AttributeValue<Slice<'a>>>,
    call_file: Option<u64>,
    call_line: Option<u32>,
}

struct Reader<'a, 'b> {
    symbols: &'a Symbols,
    dwarf: &'b Dwarf<'a>,
    unit: &'b Unit<'a>,
    files: Vec<Arc<str>>,
    entries: HashMap<DebugInfoOffset<usize>, Declared>,
}

impl<'a> Reader<'a, '_> {
    fn read(self) -> Result<Tree, gimli::Error> {
        let mut found = Vec::new();
        let mut raw = self.unit.entries_raw(None)?;
        // Depth and index of the subprograms and inlined copies around the entry at hand.
        let mut open: Vec<(isize, usize)> = Vec::new();
        while !raw.is_empty() {
            let (depth, offset) = (raw.next_depth(), raw.next_offset());
            let Some(abbreviation) = raw.read_abbreviation()? else { continue };
            let inlined = match abbreviation.tag() {
                gimli::DW_TAG_subprogram => false,
                gimli::DW_TAG_inlined_subroutine => true,
                _ => {
                    raw.skip_attributes(abbreviation.attributes())?;
                    continue;
                }
            };
            while open.last().is_some_and(|(outer, _)| *outer >= depth) {
                open.pop();
            }
            let entry = self.entry(&mut raw, abbreviation.attributes())?;
            let into = if inlined { open.last().map(|(_, index)| *index) } else { None };
            open.push((depth, found.len()));
            found.push((offset, into, inlined, entry));
        }
        self.settle(found)
    }

    fn entry(
        &self,
        raw: &mut EntriesRaw<'_, '_, Slice<'a>>,
        specs: &[gimli::AttributeSpecification],
    ) -> Result<Found<'a>, gimli::Error> {
        let mut entry = Found::default();
        for spec in specs {
            let attribute = raw.read_attribute(*spec)?;
            self.note(&mut entry, attribute.name(), &attribute);
        }
        Ok(entry)
    }

    fn note(&self, entry: &mut Found<'a>, name: DwAt, attribute: &Attribute<Slice<'a>>) {
        let number = || attribute.udata_value().and_then(|line| u32::try_from(line).ok());
        let file = || match attribute.value() {
            AttributeValue::FileIndex(index) => Some(index),
            _ => attribute.udata_value(),
        };
        match name {
            gimli::DW_AT_name => entry.name = Some(attribute.value()),
            gimli::DW_AT_abstract_origin | gimli::DW_AT_specification => {
                entry.origin = self.reference(&attribute.value());
            }
            gimli::DW_AT_decl_file => entry.file = file(),
            gimli::DW_AT_decl_line => entry.line = number(),
            gimli::DW_AT_declaration => entry.declaration = true,
            gimli::DW_AT_low_pc => entry.low = Some(attribute.value()),
            gimli::DW_AT_high_pc => entry.high = Some(attribute.value()),
            gimli::DW_AT_ranges => entry.ranges = Some(attribute.value()),
            gimli::DW_AT_entry_pc => entry.entry = Some(attribute.value()),
            gimli::DW_AT_call_file => entry.call_file = file(),
            gimli::DW_AT_call_line => entry.call_line = number(),
            _ => {}
        }
    }

    fn reference(&self, value: &AttributeValue<Slice<'a>>) -> Option<DebugInfoOffset<usize>> {
        match value {
            AttributeValue::UnitRef(offset) => offset.to_debug_info_offset(&self.unit.header),
            AttributeValue::DebugInfoRef(offset) => Some(*offset),
            _ => None,
        }
    }

    fn settle(mut self, found: Vec<(UnitOffset, Option<usize>, bool, Found<'a>)>) -> Result<Tree, gimli::Error> {
        let mut origins = HashMap::new();
        for (offset, _, _, entry) in &found {
            let Some(offset) = offset.to_debug_info_offset(&self.unit.header) else { continue };
            if entry.name.is_some() {
                let declared = self.declared(entry)?;
                self.entries.extend(declared.map(|declared| (offset, declared)));
            } else if let Some(origin) = entry.origin {
                origins.insert(offset, origin);
            }
        }
        let mut tree = Tree { scopes: Vec::new(), defined: Vec::new() };
        // Where an entry's scope is; an entry without code stands for what is around it.
        let mut scope_of: Vec<Option<usize>> = Vec::with_capacity(found.len());
        for (offset, into, inlined, entry) in found {
            let around = into.and_then(|index| scope_of[index]);
            let at = offset.to_debug_info_offset(&self.unit.header).unwrap_or(DebugInfoOffset(0));
            let declared = self.origin(at, &origins)?;
            let (Some(declared), false) = (declared, entry.declaration) else {
                scope_of.push(around);
                continue;
            };
            if !inlined && !tree.defined.contains(&declared) {
                tree.defined.push(declared.clone());
            }
            let ranges = self.ranges(&entry)?;
            let Some(first) = ranges.first().map(|range| range.start) else {
                scope_of.push(around);
                continue;
            };
            let entry_pc = match &entry.entry {
                // DWARF 5 allows an offset from the lowest address.
                Some(AttributeValue::Udata(offset)) => Some(first + offset),
                Some(value) => self.dwarf.attr_address(self.unit, *value)?,
                None => None,
            };
            let inlined = around.filter(|_| inlined).map(|into| Inlined {
                into,
                file: self.file(entry.call_file),
                line: entry.call_line,
            });
            scope_of.push(Some(tree.scopes.len()));
            let entry = entry_pc.filter(|pc| ranges.iter().any(|range| range.contains(pc))).unwrap_or(first);
            tree.scopes.push(Scope { declared, ranges, entry, inlined });
        }
        Ok(tree)
    }

    /// Name and place of an entry, by way of its origins.
    fn origin(
        &self,
        mut at: DebugInfoOffset<usize>,
        origins: &HashMap<DebugInfoOffset<usize>, DebugInfoOffset<usize>>,
    ) -> Result<Option<Declared>, gimli::Error> {
        // A chain is two long: a clone, its abstract function, that one's declaration.
        for _ in 0..4 {
            if let Some(declared) = self.entries.get(&at) {
                return Ok(Some(declared.clone()));
            }
            let Some(next) = origins.get(&at) else { return self.foreign(at) };
            at = *next;
        }
        Ok(None)
    }

    /// The name of an entry in another unit, where link-time optimisation puts origins.
    fn foreign(&self, at: DebugInfoOffset<usize>) -> Result<Option<Declared>, gimli::Error> {
        let units = self.symbols.units()?;
        let index = units.entries.partition_point(|unit| unit.offset <= at.0).wrapping_sub(1);
        let Some(header) = units.entries.get(index) else { return Ok(None) };
        if self.unit.header.offset() == DebugInfoOffset(header.offset).into() {
            return Ok(None);
        }
        let unit = self.symbols.unit(self.dwarf, index)?;
        let Some(offset) = at.to_unit_offset(&unit.header) else { return Ok(None) };
        let entry = unit.entry(offset)?;
        let Some(name) = entry.attr_value(gimli::DW_AT_name)? else { return Ok(None) };
        let name = self.dwarf.attr_string(&unit, name)?;
        Ok(Some(Declared { name: name.to_string_lossy().into(), file: None, line: None }))
    }

    fn declared(&self, entry: &Found<'a>) -> Result<Option<Declared>, gimli::Error> {
        let Some(name) = &entry.name else { return Ok(None) };
        let name = self.dwarf.attr_string(self.unit, *name)?;
        Ok(Some(Declared { name: name.to_string_lossy().into(), file: self.file(entry.file), line: entry.line }))
    }

    fn file(&self, index: Option<u64>) -> Option<Arc<str>> {
        let file = self.files.get(usize::try_from(index?).ok()?)?;
        (!file.is_empty()).then(|| Arc::clone(file))
    }

    fn ranges(&self, entry: &Found<'a>) -> Result<Vec<Range<u64>>, gimli::Error> {
        let mut ranges = Vec::new();
        let low = match &entry.low {
            Some(low) => self.dwarf.attr_address(self.unit, *low)?,
            None => None,
        };
        if let Some(listed) = &entry.ranges {
            if let Some(mut list) = self.dwarf.attr_ranges(self.unit, *listed)? {
                while let Some(range) = list.next()? {
                    ranges.push(range.begin..range.end);
                }
            }
        } else if let (Some(low), Some(high)) = (low, &entry.high) {
            let end = match high {
                AttributeValue::Udata(size) => Some(low + size),
                high => self.dwarf.attr_address(self.unit, *high)?,
            };
            ranges.extend(end.map(|end| low..end));
        }
        // What the linker threw away begins at 0.
        ranges.retain(|range| range.start != 0 && range.start < range.end);
        ranges.sort_by_key(|range| range.start);
        Ok(ranges)
    }
}

//! The debug sections of the file and the units in them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;

use gimli::{AttributeValue, DebugInfoOffset, DebugLineOffset, EndianSlice, LittleEndian, SectionId};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection};

use super::{Error, Symbols, lines};

pub(super) type Slice<'a> = EndianSlice<'a, LittleEndian>;
pub(super) type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;
pub(super) type Unit<'a> = gimli::Unit<Slice<'a>>;

/// Where the debug sections are in the file.
#[derive(Debug)]
pub(super) struct Sections(HashMap<&'static str, Range<usize>>);

/// A compilation unit, as far as it is known without parsing it.
#[derive(Debug)]
pub(super) struct UnitEntry {
    /// Where it begins in `.debug_info`.
    pub offset: usize,
    /// Source file, relative to the tree.
    pub name: String,
    /// Absolute folder it was compiled in.
    pub directory: String,
    pub lines: Option<DebugLineOffset<usize>>,
}

/// All units, and which addresses are whose.
#[derive(Debug, Default)]
pub(super) struct Units {
    pub entries: Vec<UnitEntry>,
    /// Start, end and unit, in address order.
    addresses: Vec<(u64, u64, usize)>,
    /// Folders that source paths are told relative to: the source tree, then the build folder.
    pub roots: Vec<String>,
}

impl Sections {
    pub fn find(file: &ElfFile64<'_, object::LittleEndian>, path: &Path) -> Result<Sections, Error> {
        let mut ranges = HashMap::new();
        let unreadable = |how, option| Error::UnreadableDebugInfo { path: path.to_owned(), how, option };
        for id in [
            SectionId::DebugAbbrev,
            SectionId::DebugAddr,
            SectionId::DebugInfo,
            SectionId::DebugFrame,
            SectionId::DebugLine,
            SectionId::DebugLineStr,
            SectionId::DebugRanges,
            SectionId::DebugRngLists,
            SectionId::DebugStr,
            SectionId::DebugStrOffsets,
        ] {
            let Some(section) = file.section_by_name(id.name()) else { continue };
            let found =
                section.compressed_file_range().map_err(|source| Error::Parse { path: path.to_owned(), source })?;
            if found.format != object::CompressionFormat::None {
                return Err(unreadable("compressed", "CONFIG_DEBUG_INFO_COMPRESSED"));
            }
            let bounds = usize::try_from(found.offset).ok().zip(usize::try_from(found.compressed_size).ok());
            let Some((start, size)) = bounds else { continue };
            ranges.insert(id.name(), start..start.saturating_add(size));
        }
        if ranges.get(SectionId::DebugInfo.name()).is_none_or(Range::is_empty) {
            return Err(Error::NoDebugInfo { path: path.to_owned() });
        }
        Ok(Sections(ranges))
    }
}

impl Symbols {
    /// The bytes of a debug section; empty where the file has none.
    pub(super) fn section(&self, id: SectionId) -> &[u8] {
        let range = self.sections.0.get(id.name()).cloned();
        range.and_then(|range| self.bytes.get(range)).unwrap_or_default()
    }

    /// The debug information. Only slices are made, so that it may be asked for at every turn.
    pub(super) fn dwarf(&self) -> Dwarf<'_> {
        let load = |id| Ok::<_, Infallible>(EndianSlice::new(self.section(id), LittleEndian));
        match gimli::Dwarf::load(load) {
            Ok(dwarf) => dwarf,
            Err(never) => match never {},
        }
    }

    pub(super) fn units(&self) -> Result<&Units, gimli::Error> {
        self.units.get_or_init(|| Units::read(&self.dwarf())).as_ref().map_err(|error| *error)
    }

    /// Parses a unit's header and root.
    pub(super) fn unit<'a>(&'a self, dwarf: &Dwarf<'a>, index: usize) -> Result<Unit<'a>, gimli::Error> {
        let offset = self.units()?.entries.get(index).ok_or(gimli::Error::NoEntryAtGivenOffset)?.offset;
        dwarf.unit(dwarf.debug_info.header_from_offset(DebugInfoOffset(offset))?)
    }

    /// Units in which this string may be some entry's name; no such unit is left out.
    ///
    /// Names are references into `.debug_str`, four bytes each, or stand in the unit themselves. Looking for those bytes
    /// is some fifty times as quick as parsing all entries.
    pub(super) fn units_mentioning(&self, name: &str) -> Result<Vec<usize>, gimli::Error> {
        let units = self.units()?;
        if !self.section(SectionId::DebugStrOffsets).is_empty() {
            return Ok((0..units.entries.len()).collect());
        }
        let strings = self.section(SectionId::DebugStr);
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        // The linker lets a string begin inside a longer one with the same end, hence no look at what is before it.
        let references: Vec<u32> =
            positions(strings, &text).into_iter().filter_map(|at| u32::try_from(at).ok()).collect();
        let info = self.section(SectionId::DebugInfo);
        let mut hits: Vec<usize> = references.iter().flat_map(|at| positions(info, &at.to_le_bytes())).collect();
        if text.len() <= 4 {
            hits.extend(positions(info, &text));
        }
        let mut found: Vec<usize> = hits
            .into_iter()
            .filter_map(|at| units.entries.partition_point(|unit| unit.offset <= at).checked_sub(1))
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

/// Every place where `wanted` stands in `bytes`.
fn positions(bytes: &[u8], wanted: &[u8]) -> Vec<usize> {
    // Comparing two neighbours at a time, without a branch, is what the compiler turns into vector instructions.
    const BLOCK: usize = 256;
    let [first, second, ..] = *wanted else { return Vec::new() };
    let mut found = Vec::new();
    let mut at = 0;
    while at + wanted.len() <= bytes.len() {
        let end = (at + BLOCK).min(bytes.len() - 1);
        let likely = bytes[at..end]
            .iter()
            .zip(&bytes[at + 1..=end])
            .fold(0, |any, (a, b)| any | (u8::from(*a == first) & u8::from(*b == second)));
        if likely != 0 {
            found.extend((at..end).filter(|start| bytes[*start..].starts_with(wanted)));
        }
        at = end;
        if end == bytes.len() - 1 {
            break;
        }
    }
    found
}

impl Units {
    fn read(dwarf: &Dwarf<'_>) -> Result<Units, gimli::Error> {
        let mut units = Units::default();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next()? {
            let start = header.offset().as_debug_info_offset().map_or(0, |offset| offset.0);
            let abbreviations = dwarf.abbreviations(&header)?;
            let mut cursor = header.entries(&abbreviations);
            let Some((_, root)) = cursor.next_dfs()? else { continue };
            let text = |name| -> Result<String, gimli::Error> {
                // The forms that gcc and clang use for these two without `.debug_str_offsets`.
                Ok(match root.attr_value(name)? {
                    Some(AttributeValue::String(text)) => text.to_string_lossy().into_owned(),
                    Some(AttributeValue::DebugStrRef(at)) => dwarf.string(at)?.to_string_lossy().into_owned(),
                    Some(AttributeValue::DebugLineStrRef(at)) => dwarf.line_string(at)?.to_string_lossy().into_owned(),
                    _ => String::new(),
                })
            };
            let (mut name, mut directory) = (text(gimli::DW_AT_name)?, text(gimli::DW_AT_comp_dir)?);
            let lines = match root.attr_value(gimli::DW_AT_stmt_list)? {
                Some(AttributeValue::DebugLineRef(offset)) => Some(offset),
                _ => None,
            };
            let unit = dwarf.unit(header)?;
            if name.is_empty() {
                name = unit.name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                directory = unit.comp_dir.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            }
            let mut ranges = dwarf.unit_ranges(&unit)?;
            while let Some(range) = ranges.next()? {
                // What the linker threw away begins at 0.
                if range.begin != 0 && range.begin < range.end {
                    units.addresses.push((range.begin, range.end, units.entries.len()));
                }
            }
            units.entries.push(UnitEntry { offset: start, name, directory, lines });
        }
        units.addresses.sort_unstable();
        units.settle_names();
        Ok(units)
    }

    /// Finds the tree's root by a file that every kernel has, and makes all names relative to it.
    fn settle_names(&mut self) {
        const ALWAYS: &str = "init/main.c";
        let whole = |unit: &UnitEntry| lines::join(&unit.directory, "", &unit.name);
        let main = self.entries.iter().map(whole).find(|path| lines::names_path(ALWAYS, path));
        let tree = main.and_then(|path| Some(path.strip_suffix(ALWAYS)?.trim_end_matches('/').to_owned()));
        self.roots.extend(tree);
        let build = self.entries.iter().map(|unit| lines::join(&unit.directory, "", "")).find(|dir| dir.len() > 1);
        self.roots.extend(build);
        for index in 0..self.entries.len() {
            let path = whole(&self.entries[index]);
            lines::relative(&path, &self.roots).clone_into(&mut self.entries[index].name);
        }
    }

    /// The unit that an address belongs to.
    pub fn at(&self, address: u64) -> Option<usize> {
        let end = self.addresses.partition_point(|(start, ..)| *start <= address);
        // Ranges of units do not overlap; a little slack for linkers that pad them.
        self.addresses[..end]
            .iter()
            .rev()
            .take(4)
            .find(|(start, stop, _)| (*start..*stop).contains(&address))
            .map(|found| found.2)
    }

    /// Units in the order in which they are worth searching: those compiled from `first` before all others.
    pub fn preferring(&self, first: &[&str], among: Vec<usize>) -> Vec<usize> {
        let (mut early, late): (Vec<usize>, Vec<usize>) =
            among.into_iter().partition(|index| first.contains(&self.entries[*index].name.as_str()));
        early.extend(late);
        early
    }
}

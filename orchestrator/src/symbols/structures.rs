//! Sizes of structures and offsets of their members.

use gimli::{AttributeValue, DwTag, UnitOffset};

use super::Symbols;
use super::dwarf::{Dwarf, Unit};

/// A member of a structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member {
    /// Bytes from the structure's beginning.
    pub offset: u64,
    /// Bytes; 0 where the type does not tell.
    pub size: u64,
}

/// A structure or union in the debug information, opened for questions.
pub(super) struct Structure<'a> {
    dwarf: Dwarf<'a>,
    unit: Unit<'a>,
    entry: UnitOffset,
}

impl Symbols {
    /// A structure (`DW_TAG_structure_type`) or union by name, looked for in the units compiled from `first` before all
    /// others.
    pub(super) fn structure(
        &self,
        tag: DwTag,
        name: &str,
        first: &[&str],
    ) -> Result<Option<Structure<'_>>, gimli::Error> {
        let units = self.units()?;
        let everywhere = (0..units.entries.len()).collect();
        let early = units.preferring(first, everywhere).into_iter().take(first.len());
        let mut tried: Vec<usize> = Vec::new();
        for index in early {
            tried.push(index);
            if let Some(found) = self.structure_in(index, tag, name)? {
                return Ok(Some(found));
            }
        }
        for index in self.units_mentioning(name)?.into_iter().filter(|index| !tried.contains(index)) {
            if let Some(found) = self.structure_in(index, tag, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn structure_in(&self, index: usize, tag: DwTag, name: &str) -> Result<Option<Structure<'_>>, gimli::Error> {
        let dwarf = self.dwarf();
        let unit = self.unit(&dwarf, index)?;
        let mut raw = unit.entries_raw(None)?;
        let mut found = None;
        while !raw.is_empty() {
            let offset = raw.next_offset();
            let Some(abbreviation) = raw.read_abbreviation()? else { continue };
            if abbreviation.tag() != tag {
                raw.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let (mut named, mut declaration) = (false, false);
            for spec in abbreviation.attributes() {
                let attribute = raw.read_attribute(*spec)?;
                match attribute.name() {
                    gimli::DW_AT_name => {
                        named = dwarf.attr_string(&unit, attribute.value())?.slice() == name.as_bytes();
                    }
                    gimli::DW_AT_declaration => declaration = true,
                    _ => {}
                }
            }
            if named && !declaration {
                found = Some(offset);
                break;
            }
        }
        Ok(found.map(|entry| Structure { dwarf, unit, entry }))
    }
}

impl Structure<'_> {
    /// A member by its path: `["thread", "sp"]`. Members of unnamed structures inside count as the structure's own.
    pub fn member(&self, path: &[&str]) -> Result<Option<Member>, gimli::Error> {
        let mut at = Member { offset: 0, size: 0 };
        let mut of = self.entry;
        for name in path {
            let Some((member, kind)) = self.find(of, name)? else { return Ok(None) };
            at = Member { offset: at.offset + member.offset, size: member.size };
            of = kind;
        }
        Ok(Some(at))
    }

    /// A member and its type.
    fn find(&self, of: UnitOffset, name: &str) -> Result<Option<(Member, UnitOffset)>, gimli::Error> {
        let mut tree = self.unit.entries_tree(Some(of))?;
        let mut unnamed = Vec::new();
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            let entry = child.entry();
            if entry.tag() != gimli::DW_TAG_member {
                continue;
            }
            let Some(AttributeValue::UnitRef(kind)) = entry.attr_value(gimli::DW_AT_type)? else { continue };
            // A union's members have no location: they begin where it does.
            let location = entry.attr_value(gimli::DW_AT_data_member_location)?;
            let offset = location.and_then(|value| value.udata_value()).unwrap_or(0);
            let (kind, size) = self.plain(kind)?;
            match entry.attr_value(gimli::DW_AT_name)? {
                Some(found) => {
                    if self.dwarf.attr_string(&self.unit, found)?.slice() == name.as_bytes() {
                        return Ok(Some((Member { offset, size }, kind)));
                    }
                }
                None => unnamed.push((offset, kind)),
            }
        }
        for (offset, kind) in unnamed {
            if let Some((member, kind)) = self.find(kind, name)? {
                return Ok(Some((Member { offset: offset + member.offset, size: member.size }, kind)));
            }
        }
        Ok(None)
    }

    /// A type without `const`, `volatile`, `typedef` and their like, and its size.
    fn plain(&self, mut kind: UnitOffset) -> Result<(UnitOffset, u64), gimli::Error> {
        loop {
            let entry = self.unit.entry(kind)?;
            let wraps = matches!(
                entry.tag(),
                gimli::DW_TAG_typedef
                    | gimli::DW_TAG_const_type
                    | gimli::DW_TAG_volatile_type
                    | gimli::DW_TAG_atomic_type
            );
            match entry.attr_value(gimli::DW_AT_type)? {
                Some(AttributeValue::UnitRef(inner)) if wraps => kind = inner,
                _ => {
                    let size = entry.attr_value(gimli::DW_AT_byte_size)?.and_then(|value| value.udata_value());
                    return Ok((kind, size.unwrap_or(0)));
                }
            }
        }
    }
}

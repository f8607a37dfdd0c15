//! Line tables: which line an address comes from, and the addresses of a line.

use std::ops::Range;
use std::sync::Arc;

use super::dwarf::{Dwarf, Slice, Unit, Units};
use super::{Symbols, paths};

/// One unit's line table.
#[derive(Debug)]
pub(super) struct Lines {
    /// Paths relative to the tree, by the table's numbers.
    pub files: Vec<Arc<str>>,
    pub rows: Vec<Row>,
    /// Address ranges without a gap and their rows, in address order.
    sequences: Vec<(Range<u64>, Range<usize>)>,
}

/// One row: the line that the code from here to the next row comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub address: u64,
    pub file: u32,
    /// 0 where the compiler names none.
    pub line: u32,
    /// A statement begins here.
    pub statement: bool,
    /// First row of its sequence: nothing comes before it.
    pub first: bool,
}

/// The paths of a unit's files, relative to the tree, by number.
pub(super) fn files(dwarf: &Dwarf<'_>, unit: &Unit<'_>, units: &Units) -> Result<Vec<Arc<str>>, gimli::Error> {
    let Some(program) = &unit.line_program else { return Ok(Vec::new()) };
    let base = unit.comp_dir.map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default();
    from_header(dwarf, program.header(), &base, units)
}

/// The same from the line table alone.
pub(super) fn from_header(
    dwarf: &Dwarf<'_>,
    header: &gimli::LineProgramHeader<Slice<'_>>,
    base: &str,
    units: &Units,
) -> Result<Vec<Arc<str>>, gimli::Error> {
    let text = |value: gimli::AttributeValue<Slice<'_>>| -> Result<String, gimli::Error> {
        Ok(match value {
            gimli::AttributeValue::String(text) => text.to_string_lossy().into_owned(),
            gimli::AttributeValue::DebugStrRef(at) => dwarf.string(at)?.to_string_lossy().into_owned(),
            gimli::AttributeValue::DebugLineStrRef(at) => dwarf.line_string(at)?.to_string_lossy().into_owned(),
            _ => String::new(),
        })
    };
    let mut files: Vec<Arc<str>> = Vec::with_capacity(header.file_names().len() + 1);
    // Numbers begin at 1 before DWARF 5.
    if header.version() < 5 {
        files.push(Arc::from(""));
    }
    for file in header.file_names() {
        let name = text(file.path_name())?;
        let directory = match file.directory(header) {
            // Directory 0 is the unit's own.
            Some(directory) if header.version() >= 5 || file.directory_index() != 0 => text(directory)?,
            _ => String::new(),
        };
        let path = paths::join(base, &directory, &name);
        files.push(Arc::from(paths::relative(&path, &units.roots)));
    }
    Ok(files)
}

impl Symbols {
    /// A unit's line table, read at the first question.
    pub(super) fn lines(&self, index: usize) -> Result<Arc<Lines>, gimli::Error> {
        let lock = || self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lines) = lock().get(&index) {
            return Ok(Arc::clone(lines));
        }
        let dwarf = self.dwarf();
        let unit = self.unit(&dwarf, index)?;
        let lines = Arc::new(Lines::read(&dwarf, &unit, self.units()?)?);
        lock().insert(index, Arc::clone(&lines));
        Ok(lines)
    }
}

impl Lines {
    fn read(dwarf: &Dwarf<'_>, unit: &Unit<'_>, units: &Units) -> Result<Lines, gimli::Error> {
        let mut lines = Lines { files: files(dwarf, unit, units)?, rows: Vec::new(), sequences: Vec::new() };
        let Some(program) = unit.line_program.clone() else { return Ok(lines) };
        let mut rows = program.rows();
        let mut from = 0;
        while let Some((_, row)) = rows.next_row()? {
            if row.end_sequence() {
                let start = lines.rows.get(from).map_or(0, |row| row.address);
                // What the linker threw away begins at 0.
                if start == 0 || row.address() <= start {
                    lines.rows.truncate(from);
                } else {
                    lines.sequences.push((start..row.address(), from..lines.rows.len()));
                    from = lines.rows.len();
                }
                continue;
            }
            lines.rows.push(Row {
                address: row.address(),
                file: u32::try_from(row.file_index()).unwrap_or(0),
                line: row.line().and_then(|line| u32::try_from(line.get()).ok()).unwrap_or(0),
                statement: row.is_stmt(),
                first: lines.rows.len() == from,
            });
        }
        lines.rows.truncate(from);
        lines.sequences.sort_by_key(|(range, _)| range.start);
        Ok(lines)
    }

    /// File and line that an address comes from. Of several rows for one address the last one has its code.
    pub fn at(&self, address: u64) -> Option<(&Arc<str>, Option<u32>)> {
        let end = self.sequences.partition_point(|(range, _)| range.start <= address);
        let (range, rows) = self.sequences.get(end.checked_sub(1)?)?;
        if !range.contains(&address) {
            return None;
        }
        let rows = &self.rows[rows.clone()];
        let row = rows.get(rows.partition_point(|row| row.address <= address).checked_sub(1)?)?;
        let file = self.files.get(row.file as usize)?;
        Some((file, Some(row.line).filter(|line| *line != 0)))
    }
}

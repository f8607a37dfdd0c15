//! Line tables: which line an address comes from, and the addresses of a line.

use super::Symbols;
use super::dwarf::{Dwarf, Slice, Unit, Units};
use crate::Frame;
use std::ops::Range;
use std::sync::Arc;

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
        let path = join(base, &directory, &name);
        files.push(Arc::from(relative(&path, &units.roots)));
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

impl Symbols {
    /// The functions around an address, the innermost inlined one first, with the line that each is at. One frame without
    /// a file where there is no debug information, none where there is no symbol either.
    pub fn locate(&self, address: u64) -> Vec<Frame> {
        self.frames_at(address, address)
    }

    /// A stack as [`Symbols::unwind`] gives it: the first address as it is, each further one as the call before it.
    pub fn stack(&self, addresses: &[u64]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            // Behind a call that does not return, another line or even another function begins.
            let called_from = if index == 0 { *address } else { address.saturating_sub(1) };
            frames.extend(self.frames_at(*address, called_from));
        }
        frames
    }

    fn frames_at(&self, address: u64, looked_up: u64) -> Vec<Frame> {
        let symbol = self.table.around(looked_up);
        let unit = self.units().ok().and_then(|units| units.at(looked_up));
        let tree = unit.and_then(|unit| self.tree(unit).ok());
        let lines = unit.and_then(|unit| self.lines(unit).ok());
        let (mut file, mut line) = match lines.as_ref().and_then(|lines| lines.at(looked_up)) {
            Some((file, line)) => (Some(file.to_string()), line),
            None => (None, None),
        };
        let mut frames = Vec::new();
        for scope in tree.iter().flat_map(|tree| tree.around(looked_up)) {
            let Some(inlined) = &scope.inlined else { continue };
            frames.push(Frame { address, function: scope.declared.name.to_string(), offset: None, file, line });
            file = inlined.file.as_ref().map(ToString::to_string);
            line = inlined.line;
        }
        if let Some(symbol) = symbol {
            let (function, offset) = (symbol.name.clone(), Some(address - symbol.address));
            frames.push(Frame { address, function, offset, file, line });
        }
        frames
    }
}

/// Joins and tidies a path from the debug information: `dir` may be relative to `base`, `name` to both.
pub(super) fn join(base: &str, dir: &str, name: &str) -> String {
    let whole = if name.starts_with('/') {
        name.to_owned()
    } else if dir.starts_with('/') {
        format!("{dir}/{name}")
    } else {
        format!("{base}/{dir}/{name}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let tidy = parts.join("/");
    if whole.starts_with('/') { format!("/{tidy}") } else { tidy }
}

/// The first of `roots` that the path is under is taken off.
pub(super) fn relative<'a>(path: &'a str, roots: &[String]) -> &'a str {
    roots
        .iter()
        .filter(|root| !root.is_empty())
        .find_map(|root| path.strip_prefix(root.as_str())?.strip_prefix('/'))
        .unwrap_or(path)
}

/// Whether `asked` names this file: all of its path, or its last components.
pub(super) fn names_path(asked: &str, path: &str) -> bool {
    let asked = asked.trim_start_matches("./");
    path.strip_suffix(asked).is_some_and(|before| before.is_empty() || before.ends_with('/') || asked.starts_with('/'))
}

#[cfg(test)]
mod paths_tests {
    use super::{join, names_path, relative};

    #[test]
    fn builds_in_and_out_of_the_tree_give_the_same_names() {
        let roots = ["/src/linux".to_owned(), "/obj".to_owned()];
        for (base, dir, name) in [
            ("/src/linux", "", "mm/memory.c"),
            ("/obj", "/src/linux/mm", "memory.c"),
            ("/obj", "../src/linux/mm", "memory.c"),
            ("/obj", ".", "/src/linux/mm/memory.c"),
        ] {
            assert_eq!(relative(&join(base, dir, name), &roots), "mm/memory.c");
        }
        let generated = join("/obj", "./include/generated", "asm-offsets.h");
        assert_eq!(relative(&generated, &roots), "include/generated/asm-offsets.h");
        assert_eq!(relative("/src/linux-next/a.c", &roots), "/src/linux-next/a.c");
    }

    #[test]
    fn a_file_is_named_by_its_last_components() {
        assert!(names_path("memory.c", "mm/memory.c"));
        assert!(names_path("mm/memory.c", "mm/memory.c"));
        assert!(!names_path("memory.c", "drivers/xmemory.c"));
        assert!(!names_path("mm/memory.c", "memory.c"));
    }
}

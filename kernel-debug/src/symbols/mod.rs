//! What a kernel's debug information tells: functions, instructions, call sites, lines, inlined copies, structures, frames.
//!
//! [`Symbols`] reads one vmlinux. Addresses are those of the file, which are the running kernel's when it was booted with
//! `nokaslr`. Nothing but the symbol table is read at once: a unit of the debug information is parsed when a question
//! touches it and kept after that.
//!
//! Works on x86-64 kernels with DWARF 4 or 5 in the vmlinux itself, uncompressed.

mod dwarf;
mod error;
mod function;
mod instructions;
mod lines;
mod names;
mod points;
mod structures;
#[cfg(test)]
mod tests;
mod tree;
mod unwind;

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use object::read::elf::{ElfFile64, FileHeader};
use object::{LittleEndian, Object, ObjectSection, SectionFlags, elf};

pub use error::{Error, PointError};
pub use function::{Function, Piece, Placed};
pub use instructions::{Instruction, Kind};
pub use points::Resolved;
pub use unwind::Start;

use dwarf::{Sections, Units};
use lines::Lines;
use names::SymbolTable;
use tree::Tree;
use unwind::FrameTable;

/// The symbols and the debug information of one kernel image. Shared between threads as it is; parts already parsed are
/// kept.
#[derive(Debug)]
pub struct Symbols {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Where the debug sections are in the file.
    sections: Sections,
    /// What is loaded where.
    loaded: Vec<Loaded>,
    table: SymbolTable,
    units: OnceLock<Result<Units, gimli::Error>>,
    trees: Mutex<HashMap<usize, Arc<Tree>>>,
    lines: Mutex<HashMap<usize, Arc<Lines>>>,
    frames: OnceLock<FrameTable>,
}

/// A section of the file that the kernel has in memory.
#[derive(Debug)]
struct Loaded {
    addresses: Range<u64>,
    file: Range<usize>,
    code: bool,
}

impl Symbols {
    /// Reads a vmlinux.
    ///
    /// # Errors
    /// The file cannot be read, is no x86-64 ELF image, or has no debug information that can be used.
    pub fn load(path: &Path) -> Result<Symbols, Error> {
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Symbols::parse(path, bytes)
    }

    /// Whether the image at `path` carries debug information at all; the cheap question before a build is tried.
    pub fn has_debug_info(path: &Path) -> Result<bool, Error> {
        let file = std::fs::File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let cache = object::ReadCache::new(file);
        let file = object::File::parse(&cache).map_err(|source| Error::Parse { path: path.to_owned(), source })?;
        Ok(file.section_by_name(".debug_info").is_some_and(|section| section.size() > 0))
    }

    fn parse(path: &Path, bytes: Vec<u8>) -> Result<Symbols, Error> {
        let parse = |source| Error::Parse { path: path.to_owned(), source };
        let file = ElfFile64::<LittleEndian>::parse(&*bytes).map_err(parse)?;
        if file.elf_header().e_machine(LittleEndian) != elf::EM_X86_64 {
            return Err(Error::Machine { path: path.to_owned() });
        }
        let sections = Sections::find(&file, path)?;
        let mut loaded = Vec::new();
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
            if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            let (start, size) = section.file_range().unwrap_or((0, 0));
            let (Ok(start), Ok(size)) = (usize::try_from(start), usize::try_from(size)) else { continue };
            if start.checked_add(size).is_none_or(|end| end > bytes.len()) {
                continue;
            }
            loaded.push(Loaded {
                addresses: section.address()..section.address().saturating_add(section.size()),
                file: start..start + size,
                code: sh_flags & u64::from(elf::SHF_EXECINSTR) != 0,
            });
        }
        let table = SymbolTable::read(&file);
        Ok(Symbols {
            path: path.to_owned(),
            sections,
            loaded,
            table,
            units: OnceLock::new(),
            trees: Mutex::default(),
            lines: Mutex::default(),
            frames: OnceLock::new(),
            bytes,
        })
    }

    /// The image's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `linux_banner`, the line that the kernel begins its log with: `Linux version 6.1.192 (…) …`.
    pub fn banner(&self) -> Option<String> {
        let symbol = self.table.named("linux_banner").next()?;
        let bytes = self.memory(symbol.address, usize::try_from(symbol.size).ok()?)?;
        let text = bytes.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).trim_end().to_owned())
    }

    /// What `uname -r` says in the guest.
    pub fn kernel_release(&self) -> Option<String> {
        self.banner()?.split_whitespace().nth(2).map(str::to_owned)
    }

    /// Address of a symbol by its exact name; for a per-CPU variable what is to be added to the CPU's offset.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.table.named(name).next().map(|symbol| symbol.address)
    }

    /// Bytes of the image as loaded, where the file has them.
    fn memory(&self, address: u64, size: usize) -> Option<&[u8]> {
        let section =
            self.loaded.iter().find(|loaded| loaded.addresses.contains(&address) && !loaded.file.is_empty())?;
        let start = section.file.start + usize::try_from(address - section.addresses.start).ok()?;
        self.bytes.get(start..start.checked_add(size)?.min(section.file.end))
    }

    /// Whether an address is in an executable section.
    fn is_code(&self, address: u64) -> bool {
        self.loaded.iter().any(|loaded| loaded.code && loaded.addresses.contains(&address))
    }
}

//! What an ELF file asks of the dynamic loader. Pure: bytes in, names out.

use std::fmt;
use std::ops::Range;

use object::elf::{
    self, DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_STRSZ, DT_STRTAB, EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64,
    ET_DYN, ET_EXEC,
};
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, StringTable};

/// Where the header of a 64-bit file states where its section headers are, how many, and which of them holds their
/// names (elf(5), `Elf64_Ehdr`).
const E_SHOFF: Range<usize> = 0x28..0x30;
const E_SHNUM: Range<usize> = 0x3c..0x3e;
const E_SHSTRNDX: Range<usize> = 0x3e..0x40;

/// A kind of machine: ELF class and `e_machine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    /// 64-bit class.
    pub(super) wide: bool,
    /// `e_machine`, as elf.h numbers it.
    pub(super) number: u16,
}

/// What one file needs (elf(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Elf {
    /// Whom it is built for.
    pub(super) machine: Machine,
    /// `PT_INTERP`: the loader's absolute path.
    pub(super) interpreter: Option<String>,
    /// `DT_NEEDED` in order.
    pub(super) needed: Vec<String>,
    /// `DT_RPATH`, split at colons.
    pub(super) rpath: Vec<String>,
    /// `DT_RUNPATH`, split at colons; its presence switches `DT_RPATH` off (ld.so(8)).
    pub(super) runpath: Option<Vec<String>>,
}

impl Machine {
    /// The machine that this program was built for, which is what its guests are.
    pub(super) const HOST: Self = Self {
        wide: cfg!(target_pointer_width = "64"),
        number: if cfg!(target_arch = "x86_64") {
            EM_X86_64
        } else if cfg!(target_arch = "aarch64") {
            EM_AARCH64
        } else {
            EM_RISCV
        },
    };
}

impl fmt::Display for Machine {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.number, self.wide) {
            (EM_X86_64, true) => to.write_str("x86-64"),
            (EM_X86_64, false) => to.write_str("x32"),
            (EM_386, _) => to.write_str("i386"),
            (EM_AARCH64, _) => to.write_str("AArch64"),
            (EM_ARM, _) => to.write_str("32-bit Arm"),
            (EM_RISCV, true) => to.write_str("riscv64"),
            (number, wide) => write!(to, "ELF machine {number} ({}-bit)", if wide { 64 } else { 32 }),
        }
    }
}

/// Whether `bytes` begin like an ELF file.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    bytes.starts_with(&elf::ELFMAG)
}

/// Reads an executable or shared object; `None` for other kinds of ELF file (objects, core dumps), which no loader loads.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Elf>, object::read::Error> {
    match FileKind::parse(bytes)? {
        FileKind::Elf32 => read::<elf::FileHeader32<Endianness>>(bytes),
        FileKind::Elf64 => read::<elf::FileHeader64<Endianness>>(bytes),
        _ => Ok(None),
    }
}

/// The part of a 64-bit program that is loaded: without its sections, so without symbols and debug information, which
/// are most of what `cargo build` writes. `None` when there is nothing to leave out.
///
/// Sections serve the linker and the debugger only; the kernel and ld.so go by the program headers (elf(5)).
pub(super) fn loaded_part(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let table = header.e_phoff.get(endian) + u64::from(header.e_phentsize.get(endian)) * segments.len() as u64;
    let ends = segments.iter().map(|segment| segment.p_offset.get(endian).saturating_add(segment.p_filesz.get(endian)));
    let end = usize::try_from(ends.fold(table, u64::max)).ok()?;
    let mut part = bytes.get(..end).filter(|part| part.len() < bytes.len())?.to_vec();
    for field in [E_SHOFF, E_SHNUM, E_SHSTRNDX] {
        part.get_mut(field)?.fill(0);
    }
    Some(part)
}

fn read<H: FileHeader<Endian = Endianness>>(bytes: &[u8]) -> Result<Option<Elf>, object::read::Error> {
    let header = H::parse(bytes)?;
    let endian = header.endian()?;
    if !matches!(header.e_type(endian), ET_EXEC | ET_DYN) {
        return Ok(None);
    }
    let machine = Machine { wide: header.is_class_64(), number: header.e_machine(endian) };
    let mut found = Elf { machine, interpreter: None, needed: Vec::new(), rpath: Vec::new(), runpath: None };
    let segments = header.program_headers(endian, bytes)?;
    let mut dynamic: &[H::Dyn] = &[];
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, bytes)? {
            found.interpreter = Some(text(path));
        }
        if let Some(entries) = segment.dynamic(endian, bytes)? {
            dynamic = entries;
        }
    }
    let value =
        |tag| dynamic.iter().find(|entry| entry.tag32(endian) == Some(tag)).map(|entry| entry.d_val(endian).into());
    let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else {
        return Ok(Some(found));
    };
    let mut strings = StringTable::default();
    for segment in segments {
        if let Ok(Some(data)) = segment.data_range(endian, bytes, address, size) {
            strings = StringTable::new(data, 0, data.len() as u64);
        }
    }
    for entry in dynamic {
        match entry.tag32(endian) {
            Some(DT_NEEDED) => found.needed.push(text(entry.string(endian, strings)?)),
            Some(DT_RPATH) => found.rpath = split(entry.string(endian, strings)?),
            Some(DT_RUNPATH) => found.runpath = Some(split(entry.string(endian, strings)?)),
            _ => {}
        }
    }
    Ok(Some(found))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn split(bytes: &[u8]) -> Vec<String> {
    text(bytes).split(':').filter(|dir| !dir.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_program_is_read_as_what_it_is() {
        let bytes = std::fs::read("/proc/self/exe").expect("reads itself");
        let elf = parse(&bytes).expect("valid").expect("an executable");
        assert_eq!(elf.machine, Machine::HOST);
        let interpreter = elf.interpreter.expect("tests are linked dynamically");
        assert!(interpreter.starts_with('/') && interpreter.contains("ld-"), "{interpreter}");
        assert!(elf.needed.iter().any(|name| name.starts_with("libc.so") || name.starts_with("libc.musl")));
    }

    #[test]
    fn the_loaded_part_needs_the_same_and_runs() {
        let bytes = std::fs::read("/proc/self/exe").expect("reads itself");
        let part = loaded_part(&bytes).expect("test programs have symbols");
        assert!(part.len() < bytes.len());
        assert_eq!(parse(&part).expect("valid"), parse(&bytes).expect("valid"));
        assert_eq!(loaded_part(&part), None);

        let dir = tempfile::tempdir().expect("a scratch folder");
        let program = dir.path().join("part");
        // Not through this process's own descriptor, which a child of another test could still hold open for writing.
        let script = format!("cat > {0} && chmod +x {0}", program.display());
        let mut shell = std::process::Command::new("sh");
        let mut shell = shell.arg("-c").arg(script).stdin(std::process::Stdio::piped()).spawn().expect("sh starts");
        std::io::Write::write_all(&mut shell.stdin.take().expect("piped"), &part).expect("writes");
        assert!(shell.wait().expect("ends").success());
        let listed = std::process::Command::new(&program).arg("--list").output().expect("the part starts");
        assert!(String::from_utf8_lossy(&listed.stdout).contains("the_loaded_part_needs_the_same_and_runs: test"));
    }

    #[test]
    fn a_cut_file_is_an_error_and_never_a_panic() {
        let bytes = std::fs::read("/proc/self/exe").expect("reads itself");
        assert!(parse(&bytes[..20]).is_err());
        for end in (64..8192).step_by(97) {
            let _ = parse(&bytes[..end]);
        }
    }
}

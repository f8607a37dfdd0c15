//! What a `vmlinux` is, beyond its bytes: whether it boots through PVH, and whether two of them run the same code.

use object::elf;
use object::endian::LittleEndian;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use sha2::{Digest, Sha256};

use crate::cache::hex;

/// `XEN_ELFNOTE_PHYS32_ENTRY`, include/xen/interface/elfnote.h: the 32-bit entry point that QEMU starts a PVH kernel at.
const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;

/// Bytes of a `struct bug_entry` with relative pointers and `CONFIG_DEBUG_BUGVERBOSE` (include/asm-generic/bug.h): where
/// it is and the file name's place (4 each, relative to themselves), line and flags (2 each).
const BUG_ENTRY: usize = 12;

/// A file that cannot be read as a 64-bit little-endian ELF file.
#[derive(Debug, thiserror::Error)]
#[error("not a 64-bit ELF file: {0}")]
pub struct NotElf(#[from] object::read::Error);

type Header = elf::FileHeader64<LittleEndian>;

/// What is known of a `vmlinux`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// It has the PVH entry note, so that QEMU's `-kernel` takes it uncompressed.
    pub pvh: bool,
    /// SHA-256 over everything that is loaded: see [`read`].
    pub load_digest: String,
}

/// Reads a `vmlinux`.
///
/// The digest covers name, address, flags, size and bytes of every section that is loaded. Notes are left out (the build id
/// hashes debug information too), and so are the line numbers of the bug table: they are printed by `WARN` and `BUG` and do
/// nothing else, and shift when a comment grows. They are left out only where each record of the table is seen to be a
/// `struct bug_entry` of the layout above. Line numbers that the compiler put into code (`__LINE__` as an argument) stay in.
pub fn read(data: &[u8]) -> Result<Facts, NotElf> {
    let header = Header::parse(data)?;
    let endian = header.endian()?;
    let mut pvh = false;
    for segment in header.program_headers(endian, data)? {
        let Some(mut notes) = segment.notes(endian, data)? else { continue };
        while let Some(note) = notes.next()? {
            pvh |= note.name() == b"Xen" && note.n_type(endian) == XEN_ELFNOTE_PHYS32_ENTRY;
        }
    }
    let sections = header.sections(endian, data)?;
    let mut loaded = Vec::new();
    for section in sections.iter() {
        let (kind, flags) = (section.sh_type(endian), section.sh_flags(endian));
        if flags & u64::from(elf::SHF_ALLOC) == 0 || matches!(kind, elf::SHT_NOTE | elf::SHT_NULL) {
            continue;
        }
        let bytes = if kind == elf::SHT_NOBITS { &[][..] } else { section.data(endian, data)? };
        loaded.push(Loaded {
            name: sections.section_name(endian, section)?,
            address: section.sh_addr(endian),
            size: section.sh_size(endian),
            flags,
            bytes,
        });
    }
    let mut digest = Sha256::new();
    for section in &loaded {
        digest.update((section.name.len() as u64).to_le_bytes());
        digest.update(section.name);
        for number in [section.address, section.size, section.flags, section.bytes.len() as u64] {
            digest.update(number.to_le_bytes());
        }
        if section.name == b"__bug_table" && section.is_bug_table(&loaded) {
            for entry in section.bytes.chunks_exact(BUG_ENTRY) {
                digest.update(&entry[..8]);
                digest.update([0; 2]);
                digest.update(&entry[10..]);
            }
        } else {
            digest.update(section.bytes);
        }
    }
    Ok(Facts { pvh, load_digest: hex(&digest.finalize()) })
}

struct Loaded<'a> {
    name: &'a [u8],
    address: u64,
    size: u64,
    flags: u64,
    bytes: &'a [u8],
}

impl Loaded<'_> {
    fn holds(&self, address: u64) -> bool {
        address >= self.address && address - self.address < self.size
    }

    /// Every record points at an instruction and at a file name.
    fn is_bug_table(&self, all: &[Loaded<'_>]) -> bool {
        if self.bytes.is_empty() || !self.bytes.len().is_multiple_of(BUG_ENTRY) {
            return false;
        }
        let at = |address: u64| all.iter().find(|section| section.holds(address));
        self.bytes.chunks_exact(BUG_ENTRY).zip((self.address..).step_by(BUG_ENTRY)).all(|(entry, address)| {
            let pointer = |field: usize| {
                let field = field..field + 4;
                let offset = entry[field.clone()].try_into().map_or(0, i32::from_le_bytes);
                (address + field.start as u64).wrapping_add_signed(i64::from(offset))
            };
            let code = at(pointer(0)).is_some_and(|section| section.flags & u64::from(elf::SHF_EXECINSTR) != 0);
            let name = pointer(4);
            code && at(name).is_some_and(|section| is_file_name(section, name))
        })
    }
}

/// A printable C string with an extension begins there.
fn is_file_name(section: &Loaded<'_>, address: u64) -> bool {
    let Some(bytes) = usize::try_from(address - section.address).ok().and_then(|from| section.bytes.get(from..)) else {
        return false;
    };
    let Some(end) = bytes.iter().take(4096).position(|&byte| byte == 0) else { return false };
    bytes[..end].contains(&b'.') && bytes[..end].iter().all(u8::is_ascii_graphic)
}

/// The release in `Linux version <release> …`, the banner that every kernel image carries uncompressed in its read-only data.
pub fn banner_release(data: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    data.windows(BANNER.len()).enumerate().filter(|(_, window)| *window == BANNER).find_map(|(at, _)| {
        let rest = &data[at + BANNER.len()..];
        let release: Vec<u8> = rest.iter().copied().take_while(u8::is_ascii_graphic).collect();
        // The format strings `Linux version %s` are passed over.
        (release.first().is_some_and(u8::is_ascii_digit)).then(|| String::from_utf8_lossy(&release).into_owned())
    })
}

/// The release in a bzImage's header: `kernel_version` at 0x20e points at it, counted from 0x200
/// (Documentation/arch/x86/boot.rst). None for a file that is no bzImage.
pub fn bzimage_release(data: &[u8]) -> Option<String> {
    if data.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let at = 0x200 + usize::from(u16::from_le_bytes(data.get(0x20e..0x210)?.try_into().ok()?));
    let text = data.get(at..)?.split(|&byte| byte == 0 || byte == b' ').next()?;
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A little ELF file with the sections that matter here.
    fn vmlinux(line: u16, code: u8, build_id: u8, xen_type: u32) -> Vec<u8> {
        let (text_at, names_at, bugs_at, notes_at) = (0x1000_u64, 0x2000_u64, 0x3000_u64, 0x4000_u64);
        let relative =
            |to: u64, from: u64| i32::try_from(to.cast_signed() - from.cast_signed()).expect("is near").to_le_bytes();
        let text = vec![code; 16];
        let names = b"mm/memory.c\0".to_vec();
        let bugs: Vec<u8> =
            [&relative(text_at, bugs_at)[..], &relative(names_at, bugs_at + 4), &line.to_le_bytes(), &[1, 0]].concat();
        let note = |name: &[u8; 4], kind: u32, value: u8| -> Vec<u8> {
            [&4_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), &kind.to_le_bytes(), name, &[value, 0, 0, 0]].concat()
        };
        let notes = [note(b"GNU\0", 3, build_id), note(b"Xen\0", xen_type, 9)].concat();
        let strings = b"\0.text\0.rodata\0__bug_table\0.notes\0.shstrtab\0".to_vec();
        let name = |wanted: &str| {
            let text = String::from_utf8(strings.clone()).expect("is text");
            u32::try_from(text.find(wanted).expect("is there")).expect("is small")
        };
        let alloc = u64::from(elf::SHF_ALLOC);
        let parts = [
            (name(".text"), elf::SHT_PROGBITS, alloc | u64::from(elf::SHF_EXECINSTR), text_at, text),
            (name(".rodata"), elf::SHT_PROGBITS, alloc, names_at, names),
            (name("__bug_table"), elf::SHT_PROGBITS, alloc, bugs_at, bugs),
            (name(".notes"), elf::SHT_NOTE, alloc, notes_at, notes),
            (name(".shstrtab"), elf::SHT_STRTAB, 0, 0, strings.clone()),
        ];
        let mut body = Vec::new();
        let mut headers = vec![0_u8; 64];
        let mut segment = Vec::new();
        for (name, kind, flags, address, bytes) in &parts {
            let offset = 64 + 56 + body.len() as u64;
            let words = [*flags, *address, offset, bytes.len() as u64];
            headers.extend(name.to_le_bytes().into_iter().chain(kind.to_le_bytes()));
            headers.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            headers.extend([0_u8; 8]);
            headers.extend(4_u64.to_le_bytes().into_iter().chain([0; 8]));
            if *kind == elf::SHT_NOTE {
                segment.extend(elf::PT_NOTE.to_le_bytes().into_iter().chain(4_u32.to_le_bytes()));
                segment.extend(
                    [offset, *address, *address, bytes.len() as u64, bytes.len() as u64, 4]
                        .iter()
                        .flat_map(|word| word.to_le_bytes()),
                );
            }
            body.extend(bytes);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        file.extend([2_u16, 62].iter().flat_map(|half| half.to_le_bytes()));
        file.extend(1_u32.to_le_bytes());
        file.extend([text_at, 64, 64 + 56 + body.len() as u64].iter().flat_map(|word| word.to_le_bytes()));
        file.extend(0_u32.to_le_bytes());
        file.extend([64_u16, 56, 1, 64, 6, 5].iter().flat_map(|half| half.to_le_bytes()));
        [file, segment, body, headers].concat()
    }

    fn digest(line: u16, code: u8, build_id: u8) -> String {
        read(&vmlinux(line, code, build_id, 18)).expect("is an ELF file").load_digest
    }

    #[test]
    fn only_what_runs_counts() {
        let one = digest(10, 0x90, 1);
        assert_eq!(digest(10, 0x90, 2), one, "the build id is left out");
        assert_eq!(digest(11, 0x90, 1), one, "a line number of the bug table is left out");
        assert_ne!(digest(10, 0xcc, 1), one, "code counts");
    }

    #[test]
    fn a_table_of_another_layout_counts_whole() {
        let with_line = |line| {
            let mut file = vmlinux(line, 0x90, 1, 18);
            let at = file.windows(11).position(|window| window == b"mm/memory.c").expect("is there");
            file[at..at + 11].fill(1);
            read(&file).expect("is an ELF file").load_digest
        };
        assert_ne!(with_line(10), with_line(11));
    }

    #[test]
    fn the_pvh_note_is_seen() {
        assert!(read(&vmlinux(1, 1, 1, 18)).expect("is an ELF file").pvh);
        assert!(!read(&vmlinux(1, 1, 1, 17)).expect("is an ELF file").pvh);
        assert!(read(b"MZ not an ELF file").is_err());
    }

    #[test]
    fn releases_are_found() {
        assert_eq!(
            banner_release(b"..Linux version %s\0Linux version 6.1.192-x (a@b)\0").as_deref(),
            Some("6.1.192-x")
        );
        assert_eq!(banner_release(b"nothing"), None);
        let mut image = vec![0_u8; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x30c].copy_from_slice(b"6.12.1 (a@b)");
        assert_eq!(bzimage_release(&image).as_deref(), Some("6.12.1"));
        assert_eq!(bzimage_release(&[0; 0x400]), None);
    }
}

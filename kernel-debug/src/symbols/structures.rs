//! Sizes of structures and offsets of their members.

use super::dwarf::{Dwarf, Unit};
use super::{Error, Symbols};
use crate::layout::{Layout, TaskLayout};
use gimli::{AttributeValue, DW_TAG_structure_type, DwTag, UnitOffset};

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

/// A unit that knows the whole of `task_struct` and `signal_struct` in all versions.
const KNOWING: &[&str] = &["kernel/fork.c"];
const SMP: &str = "build the kernel with CONFIG_SMP=y";
const FULL_TYPES: &str = "build the kernel with `kernels/config/symbols.config`, whose debug information has all types";
const NEW: &str = "this kernel keeps it in a place that is not known here";

impl Symbols {
    /// Everything a hold must know of this kernel.
    ///
    /// # Errors
    /// A symbol or a structure member that is needed is not there.
    pub fn layout(&self) -> Result<Layout, Error> {
        let (current_task, preempt_count) = self.per_cpu()?;
        let msleep = self.needed("msleep", NEW)?;
        Ok(Layout {
            per_cpu_offset: self.needed("__per_cpu_offset", SMP)?,
            current_task,
            preempt_count,
            init_task: self.needed("init_task", NEW)?,
            msleep,
            // Functions are aligned, so that the byte before one is padding unless it is another's last. Since 6.2 the
            // padding may have a symbol.
            landing: Some(msleep - 1)
                .filter(|address| self.function_at(*address).is_none_or(|placed| placed.symbol.starts_with("__pfx_"))),
            task: self.task_layout()?,
            stack_size: self.stack_size()?,
        })
    }

    /// Per-CPU addresses of the running task's pointer and of the preempt count. From 6.2 to 6.14
    /// both are members of `pcpu_hot`, before and after that variables of their own.
    fn per_cpu(&self) -> Result<(u64, u64), Error> {
        if let (Some(task), Some(count)) = (self.address("current_task"), self.address("__preempt_count")) {
            return Ok((task, count));
        }
        let hot = self.needed("pcpu_hot", NEW)?;
        let members = self.known_structure("pcpu_hot")?;
        let member = |name: &str| -> Result<u64, Error> { Ok(hot + self.member(&members, "pcpu_hot", &[name])?.0) };
        Ok((member("current_task")?, member("preempt_count")?))
    }

    /// `THREAD_SIZE`: what the linker script reserves for the first task's stack (`INIT_TASK_DATA` in
    /// include/asm-generic/vmlinux.lds.h; the symbols were renamed in 6.10).
    fn stack_size(&self) -> Result<u64, Error> {
        let between = |start, end| self.address(end)?.checked_sub(self.address(start)?).filter(|size| *size > 0);
        between("__start_init_stack", "__end_init_stack")
            .or_else(|| between("__start_init_task", "__end_init_task"))
            .ok_or_else(|| self.missing("symbols around its first task's stack", NEW))
    }

    fn task_layout(&self) -> Result<TaskLayout, Error> {
        let task = self.known_structure("task_struct")?;
        let signal = self.known_structure("signal_struct")?;
        let member = |path: &[&str]| self.member(&task, "task_struct", path);
        let optional = |path: &[&str]| -> Result<Option<u64>, Error> {
            let found = task.member(path).map_err(|source| self.dwarf_error(source))?;
            Ok(found.map(|member| member.offset))
        };
        // Renamed in 5.14.
        let (state, size) = member(&["__state"]).or_else(|_| member(&["state"]))?;
        Ok(TaskLayout {
            pid: member(&["pid"])?.0,
            comm: member(&["comm"])?.0,
            state: (state, u8::try_from(size).unwrap_or(4)),
            on_cpu: optional(&["on_cpu"])?,
            sp: member(&["thread", "sp"])?.0,
            stack: member(&["stack"])?.0,
            tasks: member(&["tasks"])?.0,
            thread_node: member(&["thread_node"])?.0,
            signal: member(&["signal"])?.0,
            thread_head: self.member(&signal, "signal_struct", &["thread_head"])?.0,
            rcu_nesting: optional(&["rcu_read_lock_nesting"])?,
        })
    }

    fn known_structure(&self, name: &str) -> Result<Structure<'_>, Error> {
        let found = self.structure(DW_TAG_structure_type, name, KNOWING).map_err(|source| self.dwarf_error(source))?;
        found.ok_or_else(|| self.missing(&format!("`{name}` in its debug information"), FULL_TYPES))
    }

    fn member(&self, of: &Structure<'_>, name: &str, path: &[&str]) -> Result<(u64, u64), Error> {
        let found = of.member(path).map_err(|source| self.dwarf_error(source))?;
        let member = found.ok_or_else(|| self.missing(&format!("`{name}.{}`", path.join(".")), NEW))?;
        Ok((member.offset, member.size))
    }

    fn needed(&self, symbol: &str, hint: &'static str) -> Result<u64, Error> {
        self.address(symbol).ok_or_else(|| self.missing(&format!("symbol `{symbol}`"), hint))
    }

    fn missing(&self, what: &str, hint: &'static str) -> Error {
        Error::Missing { path: self.path.clone(), what: what.to_owned(), hint }
    }

    fn dwarf_error(&self, source: gimli::Error) -> Error {
        Error::Dwarf { path: self.path.clone(), source }
    }
}

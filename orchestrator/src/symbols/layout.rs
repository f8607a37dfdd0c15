//! Where the kernel keeps its tasks, for the debugger.

use gimli::DW_TAG_structure_type;

use crate::debugger::{Layout, TaskLayout};

use super::structures::Structure;
use super::{Error, Symbols};

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

//! What a kernel's debug information tells: functions, instructions, call sites, lines, inlined copies, structures, frames.

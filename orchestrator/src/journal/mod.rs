//! The journal of a run: one entry a line, written as things happen, read whole or cut off anywhere.

pub mod entry;
mod failed;
pub mod failure;
pub mod interleaving;
mod kernel;
mod load;
pub mod merge;
#[cfg(test)]
mod merge_tests;
mod name;
pub mod oracle;
mod reader;
pub mod rules;
pub mod writer;

pub use entry::Entry;
pub use failed::{corruptions_seen, failed};
pub use load::Load;
pub use name::{BadName, CELLS, CellId};
pub use reader::{FILE, JournalError, ReadError, journal_lines, read_journal};

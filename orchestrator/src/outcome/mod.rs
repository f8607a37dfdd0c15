//! What was seen: plain data, written to the journal as it happens and folded into results.

pub mod entry;

pub use entry::Entry;

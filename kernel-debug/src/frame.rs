//! A function on a stack.

use serde::{Deserialize, Serialize};

/// One frame of a kernel stack, or an inlined call in one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Address.
    pub address: u64,
    /// Function.
    pub function: String,
    /// Offset from the function's beginning; none for an inlined copy.
    pub offset: Option<u64>,
    /// Source file relative to the tree, where known.
    pub file: Option<String>,
    /// Line in it.
    pub line: Option<u32>,
}

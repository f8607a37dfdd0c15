//! Tests over a small compiled program, and, where one is named, over a real kernel.

mod kernel;

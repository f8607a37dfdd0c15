//! Forces drawn interleavings on a running kernel, and sweeps a function for the points at which it can be cut into.

mod check;
mod play;
#[cfg(test)]
mod play_tests;
mod scene;
mod usual;
mod waiting;

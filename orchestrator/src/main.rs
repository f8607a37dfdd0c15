//! The `twinboot` command.

fn main() {}

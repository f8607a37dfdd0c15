//! The `twinboot` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(twinboot::cli::main(std::env::args_os()))
}

//! What kernels are compiled with here.

use std::path::PathBuf;

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::process;

/// Compiler and binutils, as far as they decide what comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// First line of `gcc --version`.
    pub compiler: String,
    /// First line of `ld --version`.
    pub linker: String,
    /// ccache(1) is there; it changes how long a build takes and nothing else.
    pub ccache: bool,
}

impl Toolchain {
    /// Asks the programs on `PATH`.
    pub async fn probe(cancel: &CancellationToken) -> Result<Self, Error> {
        let (compiler, linker) = tokio::join!(version("gcc", cancel), version("ld", cancel));
        Ok(Self { compiler: compiler?, linker: linker?, ccache: on_path("ccache").is_some() })
    }

    /// What `CC` is set to.
    pub fn cc(&self) -> &'static str {
        if self.ccache { "ccache gcc" } else { "gcc" }
    }
}

async fn version(tool: &'static str, cancel: &CancellationToken) -> Result<String, Error> {
    let mut command = Command::new(tool);
    command.arg("--version").env("LC_ALL", "C");
    match process::capture(command, cancel).await {
        Ok(text) => Ok(text.lines().next().unwrap_or_default().to_owned()),
        Err(interrupted @ process::Error::Interrupted { .. }) => Err(interrupted.into()),
        Err(source) => Err(Error::Tool { tool, source }),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

//! What kernels are compiled with here.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::process;

/// Name of the compiler on `PATH`.
pub const CC: &str = "gcc";

/// Set to `off` to leave ccache alone where it is there.
const SWITCH: &str = "TWINBOOT_CCACHE";

/// Compiler and binutils, as far as they decide what comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    /// First line of `gcc --version`.
    pub compiler: String,
    /// First line of `ld --version`.
    pub linker: String,
    /// ccache(1), where it is to be used; it changes how long a build takes and nothing else.
    pub ccache: Option<PathBuf>,
}

impl Toolchain {
    /// Asks the programs on `PATH`.
    pub async fn probe(cancel: &CancellationToken) -> Result<Self, Error> {
        let (compiler, linker) = tokio::join!(version(CC, cancel), version("ld", cancel));
        let ccache = is_wanted(std::env::var_os(SWITCH).as_deref()).then(|| process::on_path("ccache")).flatten();
        Ok(Self { compiler: compiler?, linker: linker?, ccache })
    }

    /// `PATH` for a build, with `links` in front where ccache is to stand in for the compiler.
    ///
    /// ccache goes by the compiler's own name there (ccache(1), "Run modes"): Kbuild compiles anew whatever was compiled by
    /// another command, so `CC="ccache gcc"` would cost a whole build whenever ccache comes or goes.
    pub fn path(&self, links: &Path, path: OsString) -> Result<OsString, Error> {
        let Some(ccache) = &self.ccache else { return Ok(path) };
        fs::create_dir_all(links).map_err(Error::io("make", links))?;
        let link = links.join(CC);
        if fs::read_link(&link).ok().as_ref() != Some(ccache) {
            let _ = fs::remove_file(&link);
            symlink(ccache, &link).map_err(Error::io("make the link", &link))?;
        }
        let folders = std::iter::once(links.to_path_buf()).chain(std::env::split_paths(&path));
        // A folder with a colon in its name cannot be searched; then gcc is called as ever.
        Ok(std::env::join_paths(folders).unwrap_or(path))
    }
}

fn is_wanted(switch: Option<&OsStr>) -> bool {
    switch.is_none_or(|switch| switch != "off")
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

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(ccache: Option<PathBuf>) -> Toolchain {
        Toolchain { compiler: String::new(), linker: String::new(), ccache }
    }

    #[test]
    fn ccache_goes_by_the_compilers_name_in_front_of_the_path() {
        let dir = tempfile::tempdir().expect("a folder");
        let links = dir.path().join("ccache");
        let usual = OsString::from("/usr/bin:/bin");
        assert_eq!(toolchain(None).path(&links, usual.clone()).expect("a path"), usual);
        assert!(!links.exists(), "nothing is made without it");

        for ccache in ["/usr/bin/ccache", "/opt/bin/ccache", "/opt/bin/ccache"] {
            let path = toolchain(Some(ccache.into())).path(&links, usual.clone()).expect("a path");
            assert_eq!(path.to_string_lossy(), format!("{}:/usr/bin:/bin", links.display()));
            assert_eq!(fs::read_link(links.join("gcc")).expect("a link"), Path::new(ccache));
        }
    }

    #[test]
    fn the_switch_turns_it_off() {
        assert!(is_wanted(None) && is_wanted(Some(OsStr::new("on"))));
        assert!(!is_wanted(Some(OsStr::new("off"))));
    }
}

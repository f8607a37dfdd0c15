//! What a variant's kernel was made from.

use serde::{Deserialize, Serialize};

use super::name;

/// A patch, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchInfo {
    /// File name.
    pub file: String,
    /// Subject line, where the file has one.
    pub subject: Option<String>,
    /// Applied in reverse.
    pub reverse: bool,
    /// `git patch-id --stable`-like identity: SHA-256 of the diff's lines without white space and line numbers.
    pub id: String,
}

/// A kernel variant that is ready to boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Kernel name.
    #[serde(deserialize_with = "name::kernel")]
    pub kernel: String,
    /// Variant name.
    #[serde(deserialize_with = "name::variant")]
    pub variant: String,
    /// `make kernelrelease`, or what the image says of itself.
    pub release: String,
    /// What it was built from: `linux-source-6.1 6.1.192-2`; empty in journals of before this was recorded.
    #[serde(default)]
    pub source: String,
    /// SHA-256 of the final `.config`.
    pub config_sha256: String,
    /// First line of the compiler's `--version`.
    pub compiler: String,
    /// Cache key of the build.
    pub key: String,
    /// SHA-256 over the loadable sections of `vmlinux`; equal for two kernels that run the same code.
    pub load_digest: String,
    /// Taken from the cache.
    pub cached: bool,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Hunks that applied with an offset or with fuzz, as `patch` reported them.
    pub patch_notes: Vec<String>,
}

/// A kernel variant that could not be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildFailed {
    /// Kernel name.
    #[serde(deserialize_with = "name::kernel")]
    pub kernel: String,
    /// Variant name.
    #[serde(deserialize_with = "name::variant")]
    pub variant: String,
    /// What failed, with the first compiler error or the reject.
    pub reason: String,
}

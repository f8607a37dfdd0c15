//! Reading YAML into types.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// What is wrong with a YAML file.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be read as YAML: {source}", file.display())]
pub struct Diagnostics {
    file: PathBuf,
    source: serde_yaml::Error,
}

/// Reads `text`, the content of `file`.
pub fn parse<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, Diagnostics> {
    serde_yaml::from_str(text).map_err(|source| Diagnostics { file: file.to_path_buf(), source })
}

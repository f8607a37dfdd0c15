//! The catalogue of kernels, `kernels/sources.yaml`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::kernel::{BaseConfig, Source};
use super::value::{OrText, Scalar};

/// Kernels that plans may name without saying where they come from, by their names.
pub type Catalogue = BTreeMap<String, CatalogueEntry>;

/// What a kernel of the catalogue is, where the plan says nothing else.
#[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["source"]))]
pub struct CatalogueEntry {
    /// Where the tree comes from. Relative paths start at `kernels/`.
    pub source: Option<Source>,
    /// Folder under `kernels/patches/`; taken from the Debian package or the kernel's name unless given.
    pub series: Option<String>,
    /// What the configuration is built on.
    pub base_config: BaseConfig,
    /// Layers over it, as in a plan.
    pub config: Vec<OrText<BTreeMap<String, Scalar>>>,
    /// What a reader should know of this kernel; shown by `twinboot plan show`.
    pub notes: String,
}

//! Trouble that a plan's author knows of, and lets pass.

use serde::{Deserialize, Serialize};

use super::failure::CrashKind;
use crate::crash::CrashReport;

/// What is let pass: complaints on the console that fit everything that is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Of this class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<CrashKind>,
    /// With this function in its fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// With this text in one of its lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Why.
    pub reason: String,
}

impl Known {
    /// Whether the complaint fits.
    pub fn fits(&self, report: &CrashReport) -> bool {
        self.class.is_none_or(|class| class == report.kind)
            && self.function.as_ref().is_none_or(|name| report.fingerprint.iter().skip(1).any(|line| line == name))
            && self.pattern.as_ref().is_none_or(|text| report.excerpt.iter().any(|line| line.contains(text.as_str())))
    }
}

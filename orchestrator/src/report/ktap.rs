//! `results.ktap`: for the kernel's own `kunit.py parse` and everything else that reads TAP.
//!
//! Source: Documentation/dev-tools/ktap.rst: version line, subtest line, plan, results, in that order.

#![expect(clippy::format_push_string, reason = "writing to a string cannot fail; `write!` only adds a result to drop")]

use super::cases::{self, Status};
use super::{Format, RenderError};
use crate::analysis::Results;

/// The KTAP format.
#[derive(Debug, Clone, Copy)]
pub struct Ktap;

impl Format for Ktap {
    fn name(&self) -> &'static str {
        "ktap"
    }

    fn file_name(&self) -> &'static str {
        "results.ktap"
    }

    fn render(&self, results: &Results) -> Result<String, RenderError> {
        let suites = cases::suites(results);
        let mut text = format!("KTAP version 1\n1..{}\n", suites.len());
        for (number, suite) in (1..).zip(&suites) {
            let name = named(&suite.name);
            text += &format!("    KTAP version 1\n    # Subtest: {name}\n    1..{}\n", suite.cases.len());
            for (number, &case) in (1..).zip(&suite.cases) {
                for line in cases::lines(results, case) {
                    text += &format!("    # {}\n", diagnostic(&line));
                }
                let (result, directive) = words(case.status());
                text += &format!("    {result} {number} {}{directive}\n", named(case.variant()));
            }
            let statuses: Vec<Status> = suite.cases.iter().map(cases::Case::status).collect();
            let (result, directive) = words(whole(&statuses));
            text += &format!("{result} {number} {name}{directive}\n");
        }
        Ok(text)
    }
}

/// A suite fails with any of its cases and is skipped with all of them.
fn whole(statuses: &[Status]) -> Status {
    if statuses.iter().any(|status| matches!(status, Status::Fail | Status::Error)) {
        Status::Fail
    } else if statuses.iter().all(|&status| status == Status::Skip) {
        Status::Skip
    } else {
        Status::Pass
    }
}

fn words(status: Status) -> (&'static str, &'static str) {
    match status {
        Status::Pass => ("ok", ""),
        Status::Fail | Status::Error => ("not ok", ""),
        Status::Skip => ("ok", " # SKIP no round was run"),
    }
}

/// A name in a result line, where `#` would start a directive and a version line another document.
fn named(name: &str) -> String {
    super::words::one_line(name).replace('%', "%25").replace('#', "%23").replace("TAP version", "TAP_version")
}

/// A diagnostic line that no parser takes for anything else: kernel log readers look for results, plans and versions
/// anywhere in a line, so their words are broken up.
fn diagnostic(line: &str) -> String {
    line.replace("ok ", "ok_").replace("TAP version", "TAP_version").replace("Subtest:", "Subtest_")
}

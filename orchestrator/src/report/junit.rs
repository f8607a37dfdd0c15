//! `junit.xml`: for `GitLab`, Jenkins and everything else that reads `JUnit`, valid by the Jenkins xunit plugin's
//! `junit-10.xsd`.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::cases::{self, Case, Status};
use super::words::one_line;
use super::{Format, RenderError, story};
use crate::analysis::Results;

/// The `JUnit` format.
#[derive(Debug, Clone, Copy)]
pub struct Junit;

impl Format for Junit {
    fn name(&self) -> &'static str {
        "junit"
    }

    fn file_name(&self) -> &'static str {
        "junit.xml"
    }

    fn render(&self, results: &Results) -> Result<String, RenderError> {
        let plan = results.run.as_ref().map_or("", |run| run.plan.as_str());
        let mut report = Report::new(one_line(&format!("twinboot {plan}")));
        for suite in cases::suites(results) {
            let mut told = TestSuite::new(suite.name.as_str());
            if let Some(run) = &results.run {
                let stamp = [
                    ("plan sha256", run.plan_sha256.clone()),
                    ("seed", run.seed.to_string()),
                    ("accelerator", format!("{}, QEMU {}", run.accelerator.name, run.accelerator.qemu)),
                    ("host", format!("{}, {}", run.host.cpu, run.host.kernel)),
                    ("rerun", run.rerun.clone()),
                ];
                told.add_properties(stamp.map(|(name, value)| (name.to_owned(), one_line(&value))));
            }
            told.set_time(seconds(suite.cases.iter().map(Case::seconds).sum()));
            told.add_test_cases(suite.cases.iter().map(|it| case(results, *it, &suite.name)));
            report.add_test_suite(told);
        }
        let text =
            report.to_string().map_err(|error| RenderError { format: self.name(), reason: error.to_string() })?;
        Ok(skipped_for_disabled(&text))
    }
}

fn case(results: &Results, it: Case<'_>, suite: &str) -> TestCase {
    let lines = cases::lines(results, it).join("\n");
    let headline = one_line(&it.headline());
    let failed = |kind| {
        let mut status = TestCaseStatus::non_success(kind);
        let trouble = match it {
            Case::Races(cell) => story::trouble_words(cell),
            Case::Forced(_) | Case::Sweep(_) => String::new(),
        };
        let message = if trouble.is_empty() { headline.clone() } else { format!("{headline}; {trouble}") };
        status.set_type(it.word(results)).set_message(message).set_description(lines.clone());
        status
    };
    let status = match it.status() {
        Status::Pass => TestCaseStatus::success(),
        Status::Fail => failed(NonSuccessKind::Failure),
        Status::Error => failed(NonSuccessKind::Error),
        Status::Skip => TestCaseStatus::skipped(),
    };
    let mut told = TestCase::new(one_line(it.variant()), status);
    told.set_classname(suite.replace(' ', ".")).set_time(seconds(it.seconds())).set_system_out(lines);
    told
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// `quick-junit` counts skipped cases in an attribute that `junit-10.xsd` doesn't know; there it is `skipped`.
/// A line that opens with the tag is that tag: in text and attributes `<` is always escaped.
fn skipped_for_disabled(text: &str) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        if line.trim_start().starts_with("<testsuite ") {
            line.replacen(" disabled=\"", " skipped=\"", 1)
        } else {
            line.to_owned()
        }
    });
    lines.collect()
}

use anyhow::Result;
use check::{Invocation, Outcome, Report, failure_text, plain};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

/// Returns a report as `JUnit` XML.
pub fn as_junit(report: &Report, call: &Invocation) -> Result<String> {
    let mut whole = quick_junit::Report::new(format!("tincan check {}", call.profile));
    whole.set_time(report.took);
    let mut suite = TestSuite::new(call.profile.to_string());
    for (check, outcome, took) in &report.rows {
        let status = match outcome {
            Outcome::Passed => TestCaseStatus::success(),
            Outcome::NotRun(why) => skipped(why),
            Outcome::NotApplicable(why) => skipped(why),
            Outcome::Undecided(why) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                status.set_message(why.as_str());
                status
            }
            Outcome::Failed(finding) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(finding.failure.got.to_string());
                status.set_description(plain(&failure_text(check, finding, call)));
                status
            }
        };
        let mut case = TestCase::new(check.id, status);
        case.set_classname(check.theme.to_string()).set_time(*took);
        suite.add_test_case(case);
    }
    whole.add_test_suite(suite);
    Ok(whole.to_string()?)
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}

//! The report as `JUnit` XML: a suite for each submission, and a case for each check.

use anyhow::Result;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::outcome::{
    ENDED_BEFORE, ENDED_DURING, GradedSubmission, Grades, Outcome, WeightedCheck, first_line,
};

pub fn as_junit(grades: &Grades) -> Result<String> {
    let mut report = Report::new(format!("tincan grade {}", grades.profile));
    for row in &grades.rows {
        report.add_test_suite(suite(row, &grades.items));
    }
    Ok(report.to_string()?)
}

fn suite(row: &GradedSubmission, items: &[WeightedCheck]) -> TestSuite {
    let mut suite = TestSuite::new(&row.submission.name);
    suite.set_time(row.took);
    for WeightedCheck { check, .. } in items {
        let mut case = TestCase::new(check.id, status(row, row.outcome(check)));
        case.set_classname(format!("{}.{}", row.submission.name, check.theme));
        suite.add_test_case(case);
    }
    suite
}

fn status(row: &GradedSubmission, outcome: &Outcome) -> TestCaseStatus {
    match outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Failed { got, text } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(got.as_str()).set_description(text.as_str());
            status
        }
        Outcome::Undecided(why) => error(why),
        // A submission that was stopped must not look as if all of its checks had passed.
        Outcome::NotRun(why) => {
            let ended =
                row.ended.as_ref().filter(|_| [ENDED_BEFORE, ENDED_DURING].contains(&&**why));
            ended.map_or_else(|| skipped(why), |ended| error(first_line(&ended.to_string())))
        }
    }
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status.set_message(why);
    status
}

fn error(why: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(why);
    status
}

use anyhow::{Result, ensure};

/// Prints the reason why a test is skipped.
///
/// # Errors
///
/// The variable `CI` is set: a developer's machine may lack a tool, but the CI machine has to have it.
pub fn report_skipped(why: &str) -> Result<()> {
    ensure!(std::env::var_os("CI").is_none(), "not tested, although CI is set: {why}");
    eprintln!("skipped: {why}");
    Ok(())
}

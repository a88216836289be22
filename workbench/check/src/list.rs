//! The list of checks.

use std::io::{self, Write};

use clap::ValueEnum as _;

use crate::style::{LABEL, WIDTH};
use crate::{Check, Profile, Requirement, TABLE};

/// Lists the checks that apply to a profile, with their rules. Without a profile, shows for each check which
/// profiles must pass it.
///
/// # Errors
///
/// Returns an error if `out` cannot be written.
pub fn list(out: &mut dyn Write, only: Option<Profile>) -> io::Result<()> {
    match only {
        Some(profile) => list_of(out, profile),
        None => grid(out),
    }
}

fn list_of(out: &mut dyn Write, profile: Profile) -> io::Result<()> {
    let rows: Vec<_> =
        TABLE.iter().filter(|check| check.requirement(profile) != Requirement::None).collect();
    for theme in rows.chunk_by(|a, b| a.theme == b.theme) {
        writeln!(out, "{}", theme[0].theme)?;
        for check in theme {
            list_check(out, check, profile)?;
        }
    }
    Ok(())
}

fn list_check(out: &mut dyn Write, check: &Check, profile: Profile) -> io::Result<()> {
    let limit =
        if check.requirement(profile) == Requirement::MustFail { " (must fail)" } else { "" };
    writeln!(out, "  {:<21}{}{limit}", check.id, check.title)?;
    for line in watch::wrap(check.rule, WIDTH) {
        writeln!(out, "      {LABEL}{line}{LABEL:#}")?;
    }
    Ok(())
}

/// The width of the column with the ids.
const ID_WIDTH: usize = 28;

/// Writes a row for each check, and a column for each profile.
fn grid(out: &mut dyn Write) -> io::Result<()> {
    let profiles = Profile::value_variants();
    let columns =
        profiles.iter().map(Profile::to_string).chain(["servers of this project".to_owned()]);
    for (i, column) in columns.enumerate() {
        writeln!(out, "{:ID_WIDTH$}{}{column}", "", "│ ".repeat(i))?;
    }
    for theme in TABLE.chunk_by(|a, b| a.theme == b.theme) {
        writeln!(out, "{}", theme[0].theme)?;
        theme.iter().try_for_each(|check| grid_row(out, check))?;
    }
    writeln!(out)?;
    writeln!(out, "● must pass   ○ must fail   · is not checked")?;
    writeln!(out, "`tincan check PROFILE --list` shows the rules for a profile.")
}

fn grid_row(out: &mut dyn Write, check: &Check) -> io::Result<()> {
    let required =
        Profile::value_variants().iter().map(|profile| match check.requirement(*profile) {
            Requirement::MustPass => "●",
            Requirement::MustFail => "○",
            Requirement::None => "·",
        });
    let own = if check.has_own_servers() { "●" } else { "·" };
    let marks = required.chain([own]).collect::<Vec<_>>().join(" ");
    let line = format!("  {:<width$}{marks}  {}", check.id, check.title, width = ID_WIDTH - 2);
    writeln!(out, "{}", line.trim_end())
}

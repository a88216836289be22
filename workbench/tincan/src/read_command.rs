//! `tincan read`: prints pages of the book, which this program contains.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::check_command::called_as;
use crate::output::print;

/// Read a page of the book, or one part of it
///
/// Without a page, this lists the pages. A page is printed as Markdown, with the code that it includes. Its commands
/// begin as this program was called.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo tincan read\n  \
    cargo tincan read protocol\n  \
    cargo tincan read protocol \"The rest\"")]
pub struct Args {
    /// Name of the page
    page: Option<String>,
    /// Heading of the part
    #[arg(requires = "page")]
    heading: Option<String>,
}

struct Page {
    name: &'static str,
    title: &'static str,
    text: &'static str,
}

/// The pages, in reading order. The build script writes this list.
const PAGES: &[Page] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Returns the words that call this command, for a text that says what to read; or nothing if this program was called
/// through cargo, because the files of the book are at hand then.
pub fn read_command() -> Option<String> {
    std::env::var_os("CARGO").is_none().then(|| called_as("read"))
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let text = match &args.page {
        None => list(),
        Some(name) => {
            let page = find(name)?;
            match &args.heading {
                None => page.text.to_owned(),
                Some(heading) => part(page, heading)?,
            }
        }
    };
    print(text.replace("cargo tincan ", &called_as("")).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> String {
    let line = |page: &Page| format!("{:<23}{}\n", page.name, page.title);
    PAGES.iter().map(line).collect()
}

fn find(name: &str) -> Result<&'static Page> {
    let name = name.trim_end_matches(".md");
    PAGES.iter().find(|page| page.name == name).with_context(|| {
        let names: Vec<_> = PAGES.iter().map(|page| page.name).collect();
        format!("there is no page `{name}`; the pages are {}", names.join(", "))
    })
}

/// Returns the lines from a heading to the next one of the same level.
fn part(page: &Page, heading: &str) -> Result<String> {
    let parts = parts(page.text);
    let found = parts.iter().find(|(it, _)| it.eq_ignore_ascii_case(heading));
    found.map(|(_, text)| text.clone()).with_context(|| {
        let headings: Vec<_> = parts.iter().map(|(it, _)| format!("\"{it}\"")).collect();
        format!(
            "the page {} has no heading \"{heading}\"; its headings are {}",
            page.name,
            headings.join(", ")
        )
    })
}

/// Divides a page at its headings of the second level. Returns each heading with the text from there on.
fn parts(text: &'static str) -> Vec<(&'static str, String)> {
    let mut parts: Vec<(&str, String)> = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if !is_code && let Some(heading) = line.strip_prefix("## ") {
            parts.push((heading, String::new()));
        }
        if let Some((_, text)) = parts.last_mut() {
            *text += line;
            text.push('\n');
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_that_a_check_names_can_be_read() {
        for check in check::TABLE.iter().filter(|check| !check.page.is_empty()) {
            let (page, heading) = check.page.split_once('#').unwrap();
            // The command in the text of a failure has the heading between these marks.
            assert!(!heading.contains(['"', '$', '`', '\\', '!']), "{heading}");
            let text = part(find(page).unwrap(), heading).unwrap();
            assert!(text.starts_with(&format!("## {heading}\n")), "{text}");
            assert!(text.lines().count() > 4 && !text.contains("{{#include"), "{text}");
        }
    }
}

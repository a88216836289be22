//! Lists the pages of the book for `src/read_command.rs`, so that the program contains them, with the code that they
//! include.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let book = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../docs/src");
    println!("cargo::rerun-if-changed={}", book.display());
    let summary = fs::read_to_string(book.join("SUMMARY.md"))?;
    let mut table = String::from("&[\n");
    for line in summary.lines() {
        // A line is `[title](name.md)`, in a list or not.
        let Some((title, rest)) = line.split_once("](") else { continue };
        let (_, title) = title.split_once('[').ok_or("a link without a title")?;
        let name = rest.strip_suffix(".md)").ok_or_else(|| format!("a link to no page: {line}"))?;
        let text = with_code(&book, &fs::read_to_string(book.join(format!("{name}.md")))?)?;
        writeln!(table, "    Page {{ name: {name:?}, title: {title:?}, text: {text:?} }},")?;
    }
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("pages.rs"), table + "]\n")?;
    Ok(())
}

/// Returns a page with code in place of each line `{{#include PATH}}` or `{{#include PATH:FIRST:LAST}}`, as mdBook
/// would show it.
fn with_code(book: &Path, page: &str) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    for line in page.lines() {
        let include = line.strip_prefix("{{#include ").and_then(|rest| rest.strip_suffix("}}"));
        let Some(include) = include else {
            text += line;
            text.push('\n');
            continue;
        };
        let mut parts = include.split(':');
        let file = book.join(parts.next().unwrap_or_default());
        println!("cargo::rerun-if-changed={}", file.display());
        let code = fs::read_to_string(&file).map_err(|err| format!("{include}: {err}"))?;
        let first = parts.next().map_or(Ok(1), str::parse::<usize>)?;
        let last = parts.next().map_or(Ok(usize::MAX), str::parse::<usize>)?;
        let lines = code.lines().take(last).skip(first - 1);
        text.extend(lines.flat_map(|line| [line, "\n"]));
    }
    Ok(text)
}

//! Draws a trace that a server has recorded itself.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use probe::wire::show_text;
use watch::{About, Trace, trace_svg};

use super::WRONG_USE;
use super::svg_file;
use crate::output::print;

/// Draws the trace in one file into another.
pub fn draw_trace(path: &Path, svg: &Path) -> Result<ExitCode> {
    // Goes away after what is written into its file.
    let _place = match svg_file::make_ready(svg) {
        Ok(place) => place,
        Err(refused) => {
            eprintln!("tincan: {refused}");
            return Ok(ExitCode::from(WRONG_USE));
        }
    };
    let trace = Trace::read(path)?;
    let file_name = || show_text(path.file_name().unwrap_or_default().as_encoded_bytes());
    let name = trace.process().map_or_else(file_name, |name| show_text(name.as_bytes()));
    let summary = trace.summary();
    let about = About {
        title: format!("What each thread or task of {name} did"),
        lines: vec![format!("tincan watch --trace {}", path.display()), summary.clone()],
        notes: Vec::new(),
    };
    fs::write(svg, trace_svg(&trace, &about))
        .with_context(|| format!("cannot write {}", svg.display()))?;
    print(format!("The timeline is in {}: {summary}.\n", svg.display()).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

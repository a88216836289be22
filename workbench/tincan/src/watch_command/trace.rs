//! Draws a trace that a server has recorded itself.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use probe::wire::show_text;
use watch::{Caption, Trace, trace_svg};

use crate::output::print;

/// Draws the trace in one file, and writes the picture to another.
pub fn draw(path: &Path, svg: &Path) -> Result<ExitCode> {
    let trace = Trace::read(path)?;
    let file_name = || show_text(path.file_name().unwrap_or_default().as_encoded_bytes());
    let name = trace.process().map_or_else(file_name, |name| show_text(name.as_bytes()));
    let summary = trace.summary();
    let caption = Caption {
        title: format!("What each thread or task of {name} did"),
        lines: vec![format!("tincan watch --trace {}", path.display()), summary.clone()],
        notes: Vec::new(),
    };
    fs::write(svg, trace_svg(&trace, &caption))
        .with_context(|| format!("cannot write {}", svg.display()))?;
    print(format!("The timeline is in {}: {summary}.\n", svg.display()).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

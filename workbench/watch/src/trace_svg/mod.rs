//! Draws a trace as an SVG file: a lane for each thread or task, a box for each span.

mod boxes;
mod colours;
mod layout;
mod shapes;
mod words;

use crate::page::{About, Page};
use crate::trace::Trace;
use layout::Drawn;

/// The width of the picture and of its bars in pixels, where the window has so much room.
const WIDTH: usize = 1200;

const STYLE: &str = r"
.box { stroke: #fff; stroke-width: 0.7; }
.strip { fill: #111; }
.open { stroke: #1c1e21; stroke-width: 1.5; stroke-dasharray: 2 2; fill: none; }
.mark { stroke: #c5221f; stroke-width: 1.5; stroke-dasharray: 6 3; }
@media (prefers-color-scheme: dark) {
.box { stroke: #17191c; }
.open { stroke: #f1f3f4; }
.mark { stroke: #f28b82; }
}
";

/// Draws a trace as an SVG file: a lane for each thread or task, and in it a box for each span, below
/// the span around it.
///
/// The picture has at most 64 lanes, those that begin first, and at most 12,000 boxes: spans that are
/// narrower than a pixel, or than some pixels if there are so many, are put together. What is left out
/// is counted in the notes below the legend.
#[must_use]
pub fn trace_svg(trace: &Trace, about: &About) -> String {
    let drawn = Drawn::of(trace);
    let page = Page {
        about,
        description: drawn.description(),
        width: WIDTH,
        colours: drawn.colours(),
        style: STYLE,
        legend: drawn.legend(),
        notes: drawn.notes(),
        names: drawn.names(),
        bars: drawn.bars(),
        height: drawn.height,
    };
    page.svg()
}

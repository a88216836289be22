//! Draws a trace as an SVG file: a lane for each thread or task, a box for each span.

mod boxes;
mod colours;
mod layout;
mod shapes;
mod words;

use crate::page::{Caption, Page};
use crate::trace::Trace;
use layout::{Drawn, WIDTH};

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

/// Draws a trace as an SVG file. Each thread or task has a lane, and each span has a box below the box of the
/// span that contains it.
///
/// The picture has at most 64 lanes, the ones that begin first, and at most 12,000 boxes: spans that are
/// narrower than a pixel share a box, and wider ones too if there are too many. The notes below the legend
/// count what is left out.
#[must_use]
pub fn trace_svg(trace: &Trace, caption: &Caption) -> String {
    let drawn = Drawn::new(trace);
    let page = Page {
        caption,
        description: drawn.description(),
        width: WIDTH,
        colours: drawn.colours(),
        style: STYLE,
        legend: drawn.legend(),
        notes: drawn.notes(),
        names: drawn.draw_names(),
        lanes: drawn.draw_lanes(),
        height: drawn.height,
    };
    page.svg()
}

//! Lays out an SVG file of lanes that needs no other file, with a light and a dark version, for wide and
//! narrow windows.
//!
//! The file has no `viewBox`, which would make letters smaller in a narrow window. Instead, the lanes are as wide
//! as the window allows. Wrapped text is in the file twice: for wide windows, and for medium and narrow ones. The
//! lanes begin to the right of the longest name, so they are in the file three times: for wide, medium and narrow
//! windows.

use std::fmt::Write as _;
use std::time::Duration;

use crate::numbers::{axis_label, axis_step};
use crate::wrap::wrap;
use probe::markup::escape;

/// The text of a picture, except for the legend and its notes.
#[derive(Clone, Debug)]
pub struct Caption {
    /// The subject of the picture.
    pub title: String,
    /// Paragraphs below the title.
    pub lines: Vec<String>,
    /// Paragraphs at the end, about the things that could not be seen.
    pub notes: Vec<String>,
}

/// The first bytes of each picture. No other file starts with them.
pub const SVG_START: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"watch\" ";

/// The maximum number of lanes that are drawn. Other lanes are only counted.
pub(crate) const MAX_LANES: usize = 64;

/// Where the lanes begin in a wide window, in percent of its width.
pub(crate) const LANES_BEGIN: f64 = 17.5;

/// Where the lanes end, in percent of the width of the window.
pub(crate) const LANES_END: f64 = 97.5;

/// The margin of the page, in pixels.
pub(crate) const MARGIN: usize = 12;

/// The height of a lane, in pixels.
pub(crate) const LANE_HEIGHT: usize = 30;

/// The height of a line of text, in pixels.
pub(crate) const LINE_HEIGHT: usize = 17;

/// The height of a bar, in pixels.
pub(crate) const BAR_HEIGHT: usize = 18;

/// The height of the times below the lanes, in pixels.
const TIMES: usize = 34;

/// The parts of a picture, before they are laid out.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub caption: &'a Caption,
    /// A description for readers who cannot see the picture.
    pub description: String,
    /// The width in pixels, in a window that is wide enough.
    pub width: usize,
    pub colours: Vec<Colour>,
    /// CSS rules for the elements that only this kind of picture has.
    pub style: &'static str,
    pub legend: Vec<Entry>,
    /// Paragraphs that a reader of the picture needs.
    pub notes: Vec<String>,
    /// SVG: the names on the left of the lanes.
    pub names: String,
    /// SVG: the lanes and their times, with horizontal lengths in percent of their width.
    pub lanes: String,
    /// The height of all lanes together, in pixels.
    pub height: usize,
}

/// A CSS class for elements of one colour. The text on such an element has the class `on-` followed by the
/// same name.
#[derive(Debug)]
pub(crate) struct Colour {
    pub class: String,
    pub fill: &'static str,
    /// The colour of the text.
    pub text: &'static str,
}

/// An entry of a legend.
#[derive(Debug)]
pub(crate) struct Entry {
    /// SVG: a sample of 20 × [`BAR_HEIGHT`] pixels.
    pub swatch: String,
    pub name: String,
}

/// The parts of a picture that depend on the width of the window.
struct Layout {
    /// The CSS classes of the windows for which this layout is: wide, medium or narrow.
    class: &'static str,
    title: Vec<String>,
    lines: Vec<String>,
    notes: Vec<String>,
    /// The number of entries of the legend beside each other.
    columns: usize,
    /// The width of an entry, in pixels.
    column: usize,
    entries: usize,
}

impl Layout {
    fn new(page: &Page<'_>, class: &'static str) -> Self {
        let (title, text, columns, column) =
            if class == "wide" { (90, 135, 5, 184) } else { (36, 50, 2, 164) };
        let notes = page.notes.iter().chain(&page.caption.notes);
        Self {
            class,
            title: wrap(&page.caption.title, title),
            lines: page.caption.lines.iter().flat_map(|it| wrap(it, text)).collect(),
            notes: notes.flat_map(|it| wrap(it, text)).collect(),
            columns,
            column,
            entries: page.legend.len(),
        }
    }

    /// Returns the height of the caption.
    fn head(&self) -> usize {
        MARGIN + 22 * self.title.len() + LINE_HEIGHT * self.lines.len() + 10
    }

    /// Returns the height of the legend.
    fn legend(&self) -> usize {
        self.entries.div_ceil(self.columns) * 24
    }

    /// Returns the height of the page.
    fn height(&self, lanes: usize) -> usize {
        self.head() + lanes + TIMES + self.legend() + 6 + LINE_HEIGHT * self.notes.len() + MARGIN
    }

    /// Returns the place of an entry of the legend.
    fn entry(&self, nth: usize) -> (usize, usize) {
        (MARGIN + nth % self.columns * self.column, nth / self.columns * 24)
    }
}

impl Page<'_> {
    /// Returns the SVG file.
    pub(crate) fn svg(&self) -> String {
        let (wide, narrow) = (Layout::new(self, "wide"), Layout::new(self, "medium narrow"));
        let (width, height) = (self.width, wide.height(self.height));
        let mut text = format!(
            "{SVG_START}width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">\n\
             <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n",
            escape(&self.caption.title),
            escape(&self.description)
        );
        text += &self.styles(&wide, &narrow);
        text += "<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";
        for layout in [&wide, &narrow] {
            let _ = writeln!(text, "<g class=\"{}\">", layout.class);
            let y = lines(&mut text, "title", &layout.title, MARGIN + 16, 22);
            lines(&mut text, "text", &layout.lines, y - 4, LINE_HEIGHT);
            text += "</g>\n";
        }
        let _ = writeln!(text, "<g class=\"body\" transform=\"translate(0,{})\">", wide.head());
        text += &self.body();
        let _ = writeln!(text, "<g transform=\"translate(0,{})\">", self.height + TIMES);
        text += &self.legend(&wide);
        for layout in [&wide, &narrow] {
            let _ = writeln!(text, "<g class=\"{}\">", layout.class);
            lines(&mut text, "text", &layout.notes, layout.legend() + 6 + 12, LINE_HEIGHT);
            text += "</g>\n";
        }
        text + "</g>\n</g>\n</svg>\n"
    }

    fn styles(&self, wide: &Layout, narrow: &Layout) -> String {
        let mut text = format!("<style>{LIGHT}");
        for Colour { class, fill, text: on } in &self.colours {
            let _ = writeln!(text, ".{class} {{ fill: {fill}; }}\n.on-{class} {{ fill: {on}; }}");
        }
        text += DARK;
        text += self.style;
        text += "@media (max-width: 720px) {\n\
            .wide { display: none; }\n\
            .medium { display: inline; }\n";
        let _ = writeln!(text, ".watch {{ height: {}px; }}", narrow.height(self.height));
        let _ = writeln!(text, ".body {{ transform: translate(0, {}px); }}", narrow.head());
        for nth in 0..wide.entries {
            let (x, y) = narrow.entry(nth);
            let _ = writeln!(text, "#k{nth} {{ transform: translate({x}px, {y}px); }}");
        }
        text += "}\n@media (max-width: 520px) {\n\
            .medium { display: none; }\n\
            .narrow { display: inline; }\n";
        text + "}\n</style>\n"
    }

    /// Draws the lanes, with their names.
    fn body(&self) -> String {
        let mut text = String::from("<symbol id=\"bars\" overflow=\"visible\">\n");
        text += &self.lanes;
        text += "</symbol>\n";
        text += &self.names;
        for (class, left) in [("wide", LANES_BEGIN), ("medium", 24.0), ("narrow", 36.5)] {
            let width = LANES_END - left;
            let height = self.height + TIMES;
            let _ = writeln!(
                text,
                "<use class=\"{class}\" href=\"#bars\" x=\"{left}%\" width=\"{width}%\" \
                 height=\"{height}\"/>"
            );
        }
        text
    }

    fn legend(&self, layout: &Layout) -> String {
        let mut text = String::new();
        for (nth, Entry { swatch, name }) in self.legend.iter().enumerate() {
            let (x, y) = layout.entry(nth);
            let name = escape(name);
            let _ = writeln!(
                text,
                "<g id=\"k{nth}\" transform=\"translate({x},{y})\">{swatch}\
                 <text class=\"text\" x=\"26\" y=\"13\">{name}</text></g>"
            );
        }
        text
    }
}

/// The colours of a light page, and the rules that hold for light and dark pages.
const LIGHT: &str = r"
.watch { max-width: 100%; background: #fff; font-family: system-ui, sans-serif; }
.page { fill: #fff; }
.title { font-size: 15px; font-weight: 600; fill: #1c1e21; }
.text { font-size: 12.5px; fill: #3c4043; }
.name { font: 12px ui-monospace, monospace; fill: #1c1e21; }
.id, .time { font-size: 11px; fill: #5f6368; }
.grid { stroke: #dadce0; }
.free { fill: #c4c7cb; }
.letter { font: 600 11px ui-monospace, monospace; }
.ran { stroke: #111; stroke-width: 4; stroke-linecap: square; }
.medium, .narrow { display: none; }
";

const DARK: &str = r"@media (prefers-color-scheme: dark) {
.watch { background: #17191c; }
.page { fill: #17191c; }
.title, .name { fill: #f1f3f4; }
.text { fill: #d2d5d9; }
.id, .time { fill: #a8adb4; }
.grid { stroke: #3c4043; }
}
";

/// Writes lines of text, and returns the vertical position of the line after them.
fn lines(text: &mut String, class: &str, lines: &[String], first: usize, height: usize) -> usize {
    let mut y = first;
    for line in lines {
        let line = escape(line);
        let _ = writeln!(text, "<text class=\"{class}\" x=\"{MARGIN}\" y=\"{y}\">{line}</text>");
        y += height;
    }
    y
}

/// Draws the times from one moment to another below lanes that end at `bottom`, and also above the lanes if they are
/// tall.
pub(crate) fn axis(from: Duration, to: Duration, bottom: usize) -> String {
    const LABELS: f64 = 5.0;
    /// The height of lanes, in pixels, from which on there are times above them, too.
    const TALL: usize = 600;
    let mut text = String::new();
    let (begin, end) = (from.as_secs_f64(), to.as_secs_f64());
    let whole = to.saturating_sub(from).as_secs_f64();
    let step = axis_step(whole / LABELS);
    let first = (begin / step).ceil();
    // There are about five times. The limit is for times so far from zero that a step does not change them.
    let times =
        (0u32..20).map(|n| (first + f64::from(n)) * step).take_while(|at| *at <= end + step / 1e3);
    for at in times {
        let x = 100.0 * (at - begin) / whole;
        let anchor = match x {
            x if x < 4.0 => "start",
            x if x > 92.0 => "end",
            _ => "middle",
        };
        let label = axis_label(at, step);
        let foot = bottom + 4;
        let _ =
            writeln!(text, "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y2=\"{foot}\"/>");
        let below = bottom + 17;
        let above = (bottom > TALL).then_some(1);
        for y in above.into_iter().chain([below]) {
            let _ = writeln!(
                text,
                "<text class=\"time\" x=\"{x:.2}%\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
            );
        }
    }
    text
}

//! A page of lanes as an SVG file that stands by itself: light and dark, wide and narrow.
//!
//! Without a `viewBox`: that would make letters smaller where the window is narrow. The bars are as
//! wide as there is room; what has to be broken into lines is there twice, for either kind of window;
//! and the bars, which begin where the longest name ends, are placed for three.

use std::fmt::Write as _;
use std::time::Duration;

use crate::numbers::{nice, shown_time};
use crate::wrap::wrap;
use probe::markup::escape;

/// What a picture says above its lanes.
#[derive(Clone, Debug)]
pub struct About {
    /// What it shows.
    pub title: String,
    /// The circumstances, a paragraph each.
    pub lines: Vec<String>,
    /// What could not be seen.
    pub notes: Vec<String>,
}

/// How each drawing begins, and nothing else does.
pub const SVG_BEGINS: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"watch\" ";

/// The most lanes that are drawn; the rest is counted.
pub(crate) const LANES: usize = 64;

/// How much is left beside everything, how far lanes and lines are apart, how high a bar is.
pub(crate) const MARGIN: usize = 12;
pub(crate) const LANE: usize = 30;
pub(crate) const LINE: usize = 17;
pub(crate) const BAR: usize = 18;

/// The height of the times below the lanes.
const TIMES: usize = 34;

/// A picture, before it is laid out.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub about: &'a About,
    /// The same for readers who do not see it.
    pub description: String,
    /// Its width in pixels, where the window has so much room.
    pub width: usize,
    pub colours: Vec<Colour>,
    /// Rules of style for what only this kind of picture has.
    pub style: &'static str,
    pub legend: Vec<Entry>,
    /// What is to be known to read it, a paragraph each.
    pub notes: Vec<String>,
    /// What stands on the left of the lanes.
    pub names: String,
    /// The lanes themselves, with their times; horizontal lengths are in percent of their width.
    pub bars: String,
    /// The height of all lanes together.
    pub height: usize,
}

/// The class of what has this colour; what is written on it has the class `on-` and that name.
#[derive(Debug)]
pub(crate) struct Colour {
    pub class: String,
    pub fill: &'static str,
    /// The colour of a letter on it.
    pub ink: &'static str,
}

/// Part of a legend.
#[derive(Debug)]
pub(crate) struct Entry {
    /// SVG, of 20 × [`BAR`] pixels.
    pub swatch: String,
    pub name: String,
}

/// What depends on how wide the window is.
struct Layout {
    class: &'static str,
    title: Vec<String>,
    lines: Vec<String>,
    notes: Vec<String>,
    /// Entries of the legend beside each other, and how wide each is.
    columns: usize,
    column: usize,
    entries: usize,
}

impl Layout {
    fn of(page: &Page<'_>, class: &'static str) -> Self {
        let (title, text, columns, column) =
            if class == "wide" { (90, 135, 5, 184) } else { (36, 50, 2, 164) };
        let notes = page.notes.iter().chain(&page.about.notes);
        Self {
            class,
            title: wrap(&page.about.title, title),
            lines: page.about.lines.iter().flat_map(|it| wrap(it, text)).collect(),
            notes: notes.flat_map(|it| wrap(it, text)).collect(),
            columns,
            column,
            entries: page.legend.len(),
        }
    }

    fn head(&self) -> usize {
        MARGIN + 22 * self.title.len() + LINE * self.lines.len() + 10
    }

    fn legend(&self) -> usize {
        self.entries.div_ceil(self.columns) * 24
    }

    fn height(&self, lanes: usize) -> usize {
        self.head() + lanes + TIMES + self.legend() + 6 + LINE * self.notes.len() + MARGIN
    }

    fn entry(&self, nth: usize) -> (usize, usize) {
        (MARGIN + nth % self.columns * self.column, nth / self.columns * 24)
    }
}

impl Page<'_> {
    /// Returns the SVG file.
    pub(crate) fn svg(&self) -> String {
        let (wide, narrow) = (Layout::of(self, "wide"), Layout::of(self, "narrow"));
        let (width, height) = (self.width, wide.height(self.height));
        let mut text = format!(
            "{SVG_BEGINS}width=\"{width}\" \
             height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">\n\
             <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n",
            escape(&self.about.title),
            escape(&self.description)
        );
        text += &self.styles(&wide, &narrow);
        text += "<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";
        for layout in [&wide, &narrow] {
            let _ = writeln!(text, "<g class=\"{}\">", layout.class);
            let y = lines(&mut text, "title", &layout.title, MARGIN + 16, 22);
            lines(&mut text, "text", &layout.lines, y - 4, LINE);
            text += "</g>\n";
        }
        let _ = writeln!(text, "<g class=\"body\" transform=\"translate(0,{})\">", wide.head());
        text += &self.body();
        let _ = writeln!(text, "<g transform=\"translate(0,{})\">", self.height + TIMES);
        text += &self.legend(&wide);
        for layout in [&wide, &narrow] {
            let _ = writeln!(text, "<g class=\"{}\">", layout.class);
            lines(&mut text, "text", &layout.notes, layout.legend() + 6 + 12, LINE);
            text += "</g>\n";
        }
        text + "</g>\n</g>\n</svg>\n"
    }

    fn styles(&self, wide: &Layout, narrow: &Layout) -> String {
        let mut text = format!("<style>{LIGHT}");
        for Colour { class, fill, ink } in &self.colours {
            let _ = writeln!(text, ".{class} {{ fill: {fill}; }}\n.on-{class} {{ fill: {ink}; }}");
        }
        text += DARK;
        text += self.style;
        text += "@media (max-width: 720px) {\n\
            .wide, .broad { display: none; }\n\
            .narrow, .medium { display: inline; }\n";
        let _ = writeln!(text, ".watch {{ height: {}px; }}", narrow.height(self.height));
        let _ = writeln!(text, ".body {{ transform: translate(0, {}px); }}", narrow.head());
        for nth in 0..wide.entries {
            let (x, y) = narrow.entry(nth);
            let _ = writeln!(text, "#k{nth} {{ transform: translate({x}px, {y}px); }}");
        }
        text += "}\n@media (max-width: 520px) {\n\
            .medium { display: none; }\n\
            .slim { display: inline; }\n";
        text + "}\n</style>\n"
    }

    /// The lanes, with their names.
    fn body(&self) -> String {
        let mut text = String::from("<symbol id=\"bars\" overflow=\"visible\">\n");
        text += &self.bars;
        text += "</symbol>\n";
        text += &self.names;
        for (class, left) in [("broad", 17.5), ("medium", 24.0), ("slim", 36.5)] {
            let width = 97.5 - left;
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

/// The colours of a light page, and whatever does not depend on that.
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
.narrow, .medium, .slim { display: none; }
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

/// Writes lines of text, and gives where the next would be.
fn lines(text: &mut String, class: &str, lines: &[String], first: usize, apart: usize) -> usize {
    let mut y = first;
    for line in lines {
        let line = escape(line);
        let _ = writeln!(text, "<text class=\"{class}\" x=\"{MARGIN}\" y=\"{y}\">{line}</text>");
        y += apart;
    }
    y
}

/// The times from one moment to another, below lanes that end at `bottom`; above them, too, where that
/// is far away.
pub(crate) fn axis(from: Duration, to: Duration, bottom: usize) -> String {
    const TICKS: f64 = 5.0;
    const FAR: usize = 600;
    let mut text = String::new();
    let (begin, end) = (from.as_secs_f64(), to.as_secs_f64());
    let whole = to.saturating_sub(from).as_secs_f64();
    let step = nice(whole / TICKS);
    let first = (begin / step).ceil();
    // There are about five; the limit is for times so far from zero that they cannot be told apart.
    let ticks =
        (0u32..20).map(|n| (first + f64::from(n)) * step).take_while(|at| *at <= end + step / 1e3);
    for at in ticks {
        let x = 100.0 * (at - begin) / whole;
        let anchor = match x {
            x if x < 4.0 => "start",
            x if x > 92.0 => "end",
            _ => "middle",
        };
        let label = shown_time(at, step);
        let foot = bottom + 4;
        let _ =
            writeln!(text, "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y2=\"{foot}\"/>");
        let below = bottom + 17;
        let above = (bottom > FAR).then_some(1);
        for y in above.into_iter().chain([below]) {
            let _ = writeln!(
                text,
                "<text class=\"time\" x=\"{x:.2}%\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
            );
        }
    }
    text
}

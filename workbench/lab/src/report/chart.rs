//! The charts: for each case a panel, and in it for each server a row. Its name and its numbers stand above
//! a bar, or above signs with a line from the lowest to the highest.
//!
//! Places are in percent and letters in pixels, so that a chart takes the width that it is given and its
//! letters keep their size, on a telephone too. All panels of a chart have one axis.

use std::fmt::Write as _;

use super::super::case::Case;
use super::super::experiment::{Chart, Mark};
use super::super::figures::Spread;
use super::super::measurement::Measurement;
use super::super::origin::Origin;
use super::super::results::ExperimentResult;
use super::super::text::shortened;
use super::super::units::InOneUnit;
use super::axis::Axis;
use super::html::{colour, percent, px};
use probe::markup::escape;

/// The height of a row, the baseline of its text, and the top and the height of its bar.
const ROW: f64 = 40.0;
const TEXT: f64 = 16.0;
const BAR: f64 = 23.0;
const BAR_HEIGHT: f64 = 9.0;
/// The height of the axis with its numbers.
const FOOT: f64 = 24.0;
/// Longer names do not fit beside their numbers.
const MAX_NAME: usize = 18;
/// More numbers do not fit on an axis.
const MAX_TICKS: usize = 4;

/// Draws a chart with its heading, and below it an explanation of its signs.
pub fn draw(result: &ExperimentResult, chart: &Chart, id: &str) -> String {
    let Chart { title, axis, is_log, .. } = chart;
    // A heading is not repeated.
    let axis = if axis.eq_ignore_ascii_case(title) { "" } else { axis };
    let log = if *is_log { "logarithmic" } else { "" };
    let parts: Vec<&str> = [axis, log].into_iter().filter(|part| !part.is_empty()).collect();
    let cases = result.cases();
    let wide = if cases.len() > 1 { " wide" } else { "" };
    let mut html = format!(
        "<figure class=\"chart{wide}\">\n<figcaption><h3>{}</h3><p>{}</p></figcaption>\n",
        escape(title),
        escape(&parts.join(", "))
    );
    let Some(drawing) = Drawing::new(result, chart) else {
        html += "<p class=\"nothing\">No server has a figure that this axis can show.</p>\n";
        return html + "</figure>\n";
    };
    html += "<div class=\"panels\">\n";
    for (nth, case) in cases.into_iter().enumerate() {
        html += &drawing.panel(case, &format!("{id}-{nth}"));
    }
    html += "</div>\n";
    let legend = drawing.legend();
    if !legend.is_empty() {
        let _ = writeln!(html, "<p class=\"signs\">{}</p>", legend.join(" "));
    }
    html + "</figure>\n"
}

/// Everything that the rows of a chart have in common.
struct Drawing<'a> {
    result: &'a ExperimentResult,
    chart: &'a Chart,
    axis: Axis,
    unit: InOneUnit,
    /// The servers that have figures.
    servers: Vec<&'a str>,
    spreads: Vec<Spread>,
}

impl<'a> Drawing<'a> {
    /// Returns `None` if there is no figure that the axis can show.
    fn new(result: &'a ExperimentResult, chart: &'a Chart) -> Option<Self> {
        let of_one = |it: &Measurement| {
            chart.marks.iter().filter_map(|mark| it.spread(mark.figure)).collect()
        };
        let spreads: Vec<Spread> =
            result.measurements.iter().flat_map(|it| -> Vec<Spread> { of_one(it) }).collect();
        let values = spreads.iter().flat_map(|spread| [spread.min, spread.median, spread.max]);
        let axis = Axis::new(values, chart.is_log, chart.unit)?;
        let unit = chart.unit.column(spreads.iter().map(|spread| spread.median));
        let servers = result.servers().into_iter().filter(|it| result.has_figures(it)).collect();
        Some(Self { result, chart, axis, unit, servers, spreads })
    }

    /// Draws one case.
    fn panel(&self, case: &Case, id: &str) -> String {
        let height = self.servers.iter().fold(FOOT, |height, _| height + ROW);
        let (mut svg, mut described) = (self.draw_axis(height), Vec::new());
        let mut y = 0.0;
        for server in &self.servers {
            let measurement = self.result.measurement(server, case);
            let numbers = measurement.and_then(|it| self.numbers(it));
            let text = numbers.as_ref().map_or_else(
                || missing(measurement).to_owned(),
                |(value, more)| format!("{value} {more}").trim().to_owned(),
            );
            let _ = writeln!(svg, "<g><title>{}: {}</title>", escape(server), escape(&text));
            svg += &heading(server, measurement, numbers.as_ref(), y);
            if let Some(measurement) = measurement.filter(|_| numbers.is_some()) {
                svg += &self.draw_marks(measurement, y);
            }
            svg += "</g>\n";
            described.push(format!("{server}: {text}"));
            y += ROW;
        }
        format!(
            "<div class=\"panel\">\n<h4>{case}</h4>\n\
             <svg role=\"img\" aria-labelledby=\"{id}-t {id}-d\" width=\"100%\" height=\"{height}\">\n\
             <title id=\"{id}-t\">{title}: {case}</title>\n<desc id=\"{id}-d\">{described}</desc>\n\
             {svg}</svg>\n</div>\n",
            case = escape(&case.label),
            title = escape(self.chart.title),
            described = escape(&described.join("; ")),
        )
    }

    /// Writes the median and the spread of a single mark; the first and the last of several marks.
    fn numbers(&self, measurement: &Measurement) -> Option<(String, String)> {
        let write = |mark: &Mark| {
            let median = measurement.median(mark.figure);
            let median = median.map_or_else(|| "-".to_owned(), |it| self.unit.show(it));
            format!("{} {median}", mark.name)
        };
        match self.chart.marks {
            [mark] => {
                let spread = measurement.spread(mark.figure)?;
                let range = self.unit.show_spread(spread, measurement.runs.len());
                Some((self.unit.show(spread.median), range.unwrap_or_default()))
            }
            [first, .., last] => {
                let has_figure = |mark: &&Mark| measurement.median(mark.figure).is_some();
                [first, last].into_iter().find(has_figure)?;
                Some((write(first), format!("· {}", write(last))))
            }
            [] => None,
        }
    }

    /// Draws lines at round numbers, and the numbers below them.
    fn draw_axis(&self, height: f64) -> String {
        let mut svg = String::new();
        let (bottom, foot) = (px(height - FOOT + 4.0), px(height - 6.0));
        for (tick, at) in self.axis.ticks(MAX_TICKS) {
            let class = if tick == 0.0 && !self.chart.is_log { "zero" } else { "grid" };
            let x = percent(at);
            let anchor = match at {
                ..0.07 => "start",
                0.93.. => "end",
                _ => "middle",
            };
            let _ = writeln!(
                svg,
                "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"2\" y2=\"{bottom}\"/>\
                 <text class=\"tick {anchor}\" x=\"{x}\" y=\"{foot}\">{}</text>",
                escape(&self.chart.unit.tick(tick))
            );
        }
        svg
    }

    /// Draws the figures of one server in one case.
    fn draw_marks(&self, measurement: &Measurement, y: f64) -> String {
        let class = colour(&measurement.server, measurement.origin);
        let doubtful = if measurement.is_faulty() { " doubtful" } else { "" };
        let spreads: Vec<(usize, Spread)> = (0..)
            .zip(self.chart.marks)
            .filter_map(|(nth, mark)| Some((nth, measurement.spread(mark.figure)?)))
            .collect();
        let middle = y + BAR + BAR_HEIGHT / 2.0;
        let mut svg: String =
            spreads.iter().map(|(_, spread)| self.draw_spread(&class, *spread, middle)).collect();
        if let ([_], Some(zero)) = (self.chart.marks, self.axis.at(0.0)) {
            let at = spreads.first().and_then(|(_, spread)| self.axis.at(spread.median));
            let at = at.unwrap_or(zero);
            let (x, width, y) = (percent(zero.min(at)), percent((at - zero).abs()), px(y + BAR));
            let _ = writeln!(
                svg,
                "<rect class=\"bar {class}{doubtful}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" \
                 height=\"{BAR_HEIGHT}\"/>"
            );
            return svg;
        }
        let places = || spreads.iter().map(|(_, it)| self.axis.at(it.median).unwrap_or(0.0));
        let low = percent(places().fold(1.0, f64::min));
        let high = percent(places().fold(0.0, f64::max));
        let line = px(middle);
        let _ = writeln!(
            svg,
            "<line class=\"track\" x1=\"0\" x2=\"100%\" y1=\"{line}\" y2=\"{line}\"/>\
             <line class=\"strip {class}\" x1=\"{low}\" x2=\"{high}\" y1=\"{line}\" y2=\"{line}\"/>"
        );
        for (nth, spread) in &spreads {
            let at = self.axis.at(spread.median);
            let hollow = if at.is_none() { " hollow" } else { doubtful };
            let _ = writeln!(
                svg,
                "<use href=\"#k{}\" x=\"{}\" y=\"{line}\" class=\"{class}{hollow}\"/>",
                shape(*nth, self.chart.marks.len()),
                at.map_or("6".to_owned(), percent)
            );
        }
        svg
    }

    /// Draws a band from the lowest run to the highest.
    fn draw_spread(&self, class: &str, spread: Spread, middle: f64) -> String {
        let from = self.axis.at(spread.min).unwrap_or(0.0);
        let width = self.axis.at(spread.max).unwrap_or(0.0) - from;
        if width <= 0.0 {
            return String::new();
        }
        let (x, width, y) = (percent(from), percent(width), px(middle - 7.0));
        format!(
            "<rect class=\"band {class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"14\"/>\n"
        )
    }

    /// Explains the signs that occur.
    fn legend(&self) -> Vec<String> {
        let mut signs = Vec::new();
        let marks = self.chart.marks;
        if marks.len() > 1 {
            signs.extend((0..).zip(marks).map(|(nth, mark)| {
                let shape = shape(nth, marks.len());
                let shape = format!("<use href=\"#k{shape}\" x=\"8\" y=\"7\" class=\"plain\"/>");
                sign(&shape, mark.name)
            }));
        }
        if self.spreads.iter().any(|spread| spread.min < spread.max) {
            let band = "<rect class=\"band plain\" x=\"2\" y=\"0\" width=\"12\" height=\"14\"/>";
            signs.push(sign(band, "from the lowest to the highest run"));
        }
        if self.chart.is_log && self.spreads.iter().any(|spread| spread.median <= 0.0) {
            let text = "A hollow sign at the edge: zero has no place on a logarithmic axis.";
            signs.push(format!("<span>{text}</span>"));
        }
        if self.result.has_faults() {
            let text = "<b class=\"fault\">!</b> a fault: these figures must not be trusted";
            signs.push(format!("<span>{text}</span>"));
        }
        signs
    }
}

/// The reason why a row has no figure.
fn missing(measurement: Option<&Measurement>) -> &'static str {
    match measurement {
        Some(measurement) if !measurement.runs.is_empty() => "no figure",
        _ => "not measured",
    }
}

/// Draws the name on the left and the numbers on the right.
fn heading(
    server: &str,
    measurement: Option<&Measurement>,
    numbers: Option<&(String, String)>,
    y: f64,
) -> String {
    let mut svg = String::new();
    let is_users = measurement.is_some_and(|it| it.origin == Origin::User);
    if is_users {
        let (y, height) = (px(y + 1.0), px(ROW - 2.0));
        let _ = writeln!(
            svg,
            "<rect class=\"highlight\" x=\"0\" y=\"{y}\" width=\"100%\" height=\"{height}\"/>"
        );
    }
    let class = if is_users { " class=\"user\"" } else { "" };
    let baseline = px(y + TEXT);
    let name = escape(&shortened(server, MAX_NAME));
    let _ = write!(svg, "<text x=\"4\" y=\"{baseline}\"{class}>{name}");
    if measurement.is_some_and(Measurement::is_faulty) {
        svg += " <tspan class=\"fault\">!</tspan>";
    }
    svg += "</text>\n";
    let _ = match numbers {
        Some((value, more)) => writeln!(
            svg,
            "<text x=\"100%\" y=\"{baseline}\" class=\"value\">{} <tspan class=\"soft\">{}</tspan>\
             </text>",
            escape(value),
            escape(more)
        ),
        None => writeln!(
            svg,
            "<text x=\"100%\" y=\"{baseline}\" class=\"value soft\">{}</text>",
            missing(measurement)
        ),
    };
    svg
}

/// Writes a sign with its meaning.
fn sign(shape: &str, meaning: &str) -> String {
    format!(
        "<span><svg class=\"key\" aria-hidden=\"true\" width=\"16\" height=\"14\">{shape}</svg>\
         {}</span>",
        escape(meaning)
    )
}

/// The number of a mark's shape in `page.rs`: one for the first mark, two for the marks in the middle, one for
/// the last.
fn shape(nth: usize, of: usize) -> usize {
    match nth {
        0 => 0,
        _ if nth + 1 == of => 3,
        _ => 1 + (nth - 1) % 2,
    }
}

//! Bars and strips: a row for each server, its name and number above what is drawn.

use std::fmt::Write as _;

use super::super::markup::{clipped, percent, px};
use super::super::remarks::is_faulty;
use super::super::scale::Scale;
use super::super::{Case, Row, Spread};
use super::{Drawing, Panel, fault_sign, sign, zero_sign};
use probe::markup::escape;

/// From one row to the next, and where in it the words and the bar are.
const ROW: f64 = 40.0;
const WORDS: f64 = 16.0;
const BAR: f64 = 23.0;
const THICK: f64 = 9.0;
/// Where the numbers of the axis stand.
const FOOT: f64 = 24.0;
/// Longer names do not fit beside their numbers.
const NAME: usize = 16;
/// More numbers do not fit on an axis.
const TICKS: usize = 4;

/// A figure and the name of its mark.
type Mark = (&'static str, &'static str);

pub fn bars(drawing: &Drawing<'_>, figure: &str) -> (Vec<Panel>, Vec<String>) {
    let mark = [figure];
    let Some(scale) = scale(drawing, &mark) else {
        return (Vec::new(), Vec::new());
    };
    let unit = drawing.chart.unit.column(spreads(drawing, &mark).map(|spread| spread.median));
    let draw = |row: &Row, y: f64| Some(bar(drawing, &scale, row, row.spread(figure)?, y));
    let tell = |row: &Row| {
        let spread = row.spread(figure)?;
        let wide = unit.show_spread(spread, row.runs.len()).unwrap_or_default();
        Some((unit.show(spread.median), wide))
    };
    let mut signs = Vec::new();
    if has_spread(drawing, &mark) {
        signs.push(spread_sign());
    }
    (panels(drawing, &scale, draw, tell), with_warnings(drawing, &mark, signs))
}

pub fn strips(drawing: &Drawing<'_>, marks: &[Mark]) -> (Vec<Panel>, Vec<String>) {
    let figures: Vec<&str> = marks.iter().map(|(figure, _)| *figure).collect();
    let Some(scale) = scale(drawing, &figures) else {
        return (Vec::new(), Vec::new());
    };
    let unit = drawing.chart.unit.column(spreads(drawing, &figures).map(|spread| spread.median));
    let draw = |row: &Row, y: f64| strip(drawing, &scale, row, marks, y);
    let tell = |row: &Row| {
        let (first, last) = (marks.first()?, marks.last()?);
        let of = |(figure, name): &Mark| {
            row.median(figure)
                .map_or_else(|| "-".to_owned(), |it| format!("{name} {}", unit.show(it)))
        };
        row.median(first.0).or(row.median(last.0))?;
        Some((of(first), format!("· {}", of(last))))
    };
    let glyph = |nth: usize| {
        format!("<use href=\"#k{}\" x=\"8\" y=\"7\" class=\"plain\"/>", shape(nth, marks.len()))
    };
    let mut signs: Vec<String> =
        marks.iter().enumerate().map(|(nth, (_, name))| sign(&glyph(nth), name)).collect();
    if has_spread(drawing, &figures) {
        signs.push(spread_sign());
    }
    (panels(drawing, &scale, draw, tell), with_warnings(drawing, &figures, signs))
}

fn scale(drawing: &Drawing<'_>, figures: &[&str]) -> Option<Scale> {
    let spreads = spreads(drawing, figures);
    let values = spreads.flat_map(|spread| [spread.min, spread.median, spread.max]);
    Scale::new(values, drawing.chart.is_log, drawing.chart.unit)
}

fn spreads<'a>(
    drawing: &'a Drawing<'_>,
    figures: &'a [&'a str],
) -> impl Iterator<Item = Spread> + 'a {
    let of_row = |row: &'a Row| figures.iter().filter_map(|figure| row.spread(figure));
    drawing.outcome.rows.iter().flat_map(of_row)
}

fn has_spread(drawing: &Drawing<'_>, figures: &[&str]) -> bool {
    spreads(drawing, figures).any(|spread| spread.min < spread.max)
}

fn with_warnings(drawing: &Drawing<'_>, figures: &[&str], mut signs: Vec<String>) -> Vec<String> {
    if drawing.chart.is_log && spreads(drawing, figures).any(|spread| spread.median <= 0.0) {
        signs.push(zero_sign());
    }
    signs.extend(fault_sign(drawing));
    signs
}

/// A panel for each case, drawn and told by what is given.
fn panels(
    drawing: &Drawing<'_>,
    scale: &Scale,
    draw: impl Fn(&Row, f64) -> Option<String>,
    tell: impl Fn(&Row) -> Option<(String, String)>,
) -> Vec<Panel> {
    let panel = |case: &Case| {
        let height = drawing.servers.iter().fold(FOOT, |height, _| height + ROW);
        let (mut svg, mut words) = (axis(scale, drawing, height), Vec::new());
        let mut y = 0.0;
        for server in &drawing.servers {
            let row = drawing.outcome.row(server, case);
            let told = row.and_then(&tell);
            let what = told.as_ref().map_or_else(
                || row.map_or("not measured", missing).to_owned(),
                |(value, more)| format!("{value} {more}").trim().to_owned(),
            );
            let _ = writeln!(svg, "<g><title>{}: {}</title>", escape(server), escape(&what));
            svg += &head(drawing, server, row, told.as_ref(), y);
            svg += &row.and_then(|row| draw(row, y)).unwrap_or_default();
            svg += "</g>\n";
            words.push(format!("{server}: {what}"));
            y += ROW;
        }
        Panel { heading: case.label.clone(), height, svg, words: words.join("; ") }
    };
    drawing.outcome.cases().into_iter().map(panel).collect()
}

/// Why a row shows nothing.
fn missing(row: &Row) -> &'static str {
    if row.runs.is_empty() { "not measured" } else { "no figure" }
}

/// The name on the left, the number on the right.
fn head(
    drawing: &Drawing<'_>,
    server: &str,
    row: Option<&Row>,
    told: Option<&(String, String)>,
    y: f64,
) -> String {
    let mut svg = String::new();
    let mine = drawing.looks.is_mine(server);
    if mine {
        let (y, height) = (px(y + 1.0), px(ROW - 2.0));
        let _ = writeln!(
            svg,
            "<rect class=\"own\" x=\"0\" y=\"{y}\" width=\"100%\" height=\"{height}\"/>"
        );
    }
    svg += &drawing.sign(server, "7", y + WORDS - 4.5, "");
    let name = if mine { " class=\"name mine\"" } else { " class=\"name\"" };
    let baseline = px(y + WORDS);
    let _ = write!(svg, "<text x=\"18\" y=\"{baseline}\"{name}>{}", escape(&clipped(server, NAME)));
    if row.is_some_and(is_faulty) {
        svg += " <tspan class=\"fault\">!</tspan>";
    }
    svg += "</text>\n";
    let _ = match told {
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
            row.map_or("not measured", missing)
        ),
    };
    svg
}

/// Lines at round numbers, and the numbers below.
fn axis(scale: &Scale, drawing: &Drawing<'_>, height: f64) -> String {
    let mut svg = String::new();
    let bottom = height - FOOT + 4.0;
    for (tick, at) in scale.ticks(TICKS) {
        let class = if tick == 0.0 && !scale.is_log() { "zero" } else { "grid" };
        let x = percent(at);
        let (bottom, foot) = (px(bottom), px(height - 6.0));
        let anchor = match at {
            ..0.07 => "start",
            0.93.. => "end",
            _ => "middle",
        };
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"{x}\" x2=\"{x}\" y1=\"2\" y2=\"{bottom}\"/>\
             <text class=\"tick {anchor}\" x=\"{x}\" y=\"{foot}\">{}</text>",
            escape(&drawing.chart.unit.tick(tick))
        );
    }
    svg
}

/// A bar from zero; on a logarithmic axis, which has no zero, a sign.
fn bar(drawing: &Drawing<'_>, scale: &Scale, row: &Row, spread: Spread, y: f64) -> String {
    let class = drawing.class(&row.server);
    let middle = y + BAR + THICK / 2.0;
    let faulty = if is_faulty(row) { " doubtful" } else { "" };
    let band = band(scale, &class, spread, middle);
    match (scale.at(0.0), scale.at(spread.median)) {
        (None, None) => drawing.sign(&row.server, "6", middle, " hollow"),
        (None, Some(at)) => {
            let y = px(middle);
            let track =
                format!("<line class=\"track\" x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>");
            track + &band + &drawing.sign(&row.server, &percent(at), middle, faulty)
        }
        (Some(zero), at) => {
            let at = at.unwrap_or(zero);
            let (x, width) = (percent(zero.min(at)), percent((at - zero).abs()));
            let y = px(y + BAR);
            format!(
                "{band}<rect class=\"bar {class}{faulty}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" \
                 height=\"{THICK}\"/>\n"
            )
        }
    }
}

/// From the lowest run to the highest.
fn band(scale: &Scale, class: &str, spread: Spread, middle: f64) -> String {
    let from = scale.at(spread.min).unwrap_or(0.0);
    let width = scale.at(spread.max).unwrap_or(0.0) - from;
    if width <= 0.0 {
        return String::new();
    }
    let (x, width, y) = (percent(from), percent(width), px(middle - 7.0));
    format!("<rect class=\"band {class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"14\"/>\n")
}

fn spread_sign() -> String {
    let band = "<rect class=\"band plain\" x=\"2\" y=\"0\" width=\"12\" height=\"14\"/>";
    sign(band, "from the lowest to the highest run")
}

/// From the lowest mark to the highest, with a sign at each, and around each where the runs lay.
fn strip(
    drawing: &Drawing<'_>,
    scale: &Scale,
    row: &Row,
    marks: &[Mark],
    y: f64,
) -> Option<String> {
    let class = drawing.class(&row.server);
    let middle = y + BAR + THICK / 2.0;
    let places: Vec<_> = marks
        .iter()
        .enumerate()
        .filter_map(|(nth, (figure, _))| row.spread(figure).map(|spread| (nth, spread)))
        .collect();
    let ats = || places.iter().map(|(_, spread)| scale.at(spread.median).unwrap_or(0.0));
    let (low, high) = (ats().reduce(f64::min)?, ats().reduce(f64::max)?);
    let line = px(middle);
    let mut svg = String::new();
    for (_, spread) in &places {
        svg += &band(scale, &class, *spread, middle);
    }
    let (low, high) = (percent(low), percent(high));
    let _ = writeln!(
        svg,
        "<line class=\"strip {class}\" x1=\"{low}\" x2=\"{high}\" y1=\"{line}\" y2=\"{line}\"/>"
    );
    for (nth, spread) in &places {
        let at = scale.at(spread.median);
        let hollow = if at.is_none() { " hollow" } else { "" };
        let _ = writeln!(
            svg,
            "<use href=\"#k{}\" x=\"{}\" y=\"{line}\" class=\"{class}{hollow}\"/>",
            shape(*nth, marks.len()),
            at.map_or("6".to_owned(), percent)
        );
    }
    Some(svg)
}

/// The shape of a mark: the first, some between, the last.
fn shape(nth: usize, of: usize) -> usize {
    match nth {
        0 => 0,
        _ if nth + 1 == of => 3,
        _ => 1 + (nth - 1) % 2,
    }
}

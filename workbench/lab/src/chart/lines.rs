//! Lines: over the cases of an experiment, and over the seconds of one run.

use std::fmt::Write as _;

use super::super::markup::{clipped, percent, px};
use super::super::remarks::is_faulty;
use super::super::scale::Scale;
use super::super::{Case, Figures, Row, Spread, Unit};
use super::{Drawing, Panel, fault_sign, sign, zero_sign};
use probe::markup::escape;

const HEIGHT: f64 = 300.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = HEIGHT - 40.0;
/// On its left are the numbers of the axis, on its right the names.
const LEFT: f64 = 0.19;
const RIGHT: f64 = 0.64;
const NAMES: f64 = 0.70;
/// Longer names do not fit on a telephone.
const NAME: usize = 13;
/// From one name to the next.
const LINE: f64 = 16.0;
const TICKS: usize = 5;
/// More points than a screen has dots say nothing.
const POINTS: usize = 240;

/// Seconds, and the number then.
type Points = Vec<(f64, f64)>;

/// What one server's line goes through: places and what is known there.
struct Line<'a> {
    server: &'a str,
    /// From 0 to 1 and in pixels; none where nothing was measured.
    points: Vec<Option<(f64, f64)>>,
}

pub fn over_cases(drawing: &Drawing<'_>, figure: &str) -> (Vec<Panel>, Vec<String>) {
    let chart = drawing.chart;
    let spreads: Vec<Spread> =
        drawing.outcome.rows.iter().filter_map(|row| row.spread(figure)).collect();
    let values = spreads.iter().flat_map(|spread| [spread.min, spread.median, spread.max]);
    let Some(scale) = Scale::new(values, chart.is_log, chart.unit) else {
        return (Vec::new(), Vec::new());
    };
    let cases = drawing.outcome.cases();
    let places = places(&cases, chart.is_log);
    let mut svg = heights(&scale, chart.unit);
    svg += &case_axis(&cases, &places);
    let mut lines = Vec::new();
    let (mut signs, mut words) = (Vec::new(), Vec::new());
    for server in &drawing.servers {
        let rows: Vec<_> = cases.iter().map(|case| drawing.outcome.row(server, case)).collect();
        let spread = |row: Option<&Row>| row.and_then(|row| row.spread(figure));
        let mut points = Vec::new();
        for (row, x) in rows.iter().zip(&places) {
            let known = spread(*row).map(|spread| (*x, spread));
            points.push(known.map(|(x, spread)| (x, height(&scale, spread.median))));
            if let (Some((x, spread)), Some(row)) = (known, row) {
                signs.push(point(drawing, &scale, row, x, spread));
            }
        }
        words.push(told(server, &rows, figure, chart.unit));
        lines.push(Line { server, points });
    }
    svg += &all_drawn(drawing, &lines);
    // Of signs on one place the first server's is to be seen, and the points of a star around it.
    signs.reverse();
    svg = svg + &signs.concat() + &names(drawing, &lines);
    let heading = String::new();
    let panel = Panel { heading, height: HEIGHT, svg, words: words.join("; ") };
    (vec![panel], meanings(drawing, &spreads))
}

/// What the signs in it mean.
fn meanings(drawing: &Drawing<'_>, spreads: &[Spread]) -> Vec<String> {
    let mut meanings = Vec::new();
    if spreads.iter().any(|spread| spread.min < spread.max) {
        let whisker = "<path class=\"whisker\" d=\"M8 1V13M5 1H11M5 13H11\"/>";
        meanings.push(sign(whisker, "from the lowest to the highest run"));
    }
    if drawing.chart.is_log && spreads.iter().any(|spread| spread.median <= 0.0) {
        meanings.push(zero_sign());
    }
    meanings.extend(fault_sign(drawing));
    meanings
}

/// Where the cases stand; evenly if their own places do not tell them apart.
fn places(cases: &[&Case], is_log: bool) -> Vec<f64> {
    let ats: Vec<f64> =
        cases.iter().map(|case| if is_log { case.at.ln() } else { case.at }).collect();
    let rises = ats.windows(2).all(|pair| pair[0] < pair[1]);
    let count = u32::try_from(ats.len()).map_or(1.0, f64::from);
    let (first, last) = match (ats.first(), ats.last()) {
        (Some(first), Some(last)) if rises && (last - first).is_finite() && first < last => {
            (*first, *last)
        }
        _ => {
            let nth = (0..).map(f64::from).take(ats.len());
            return nth.map(|nth| inside((nth + 0.5) / count)).collect();
        }
    };
    ats.iter().map(|at| inside((at - first) / (last - first))).collect()
}

/// A part of the room between the numbers and the names.
fn inside(part: f64) -> f64 {
    LEFT + 0.02 + part * (RIGHT - LEFT - 0.03)
}

fn height(scale: &Scale, value: f64) -> f64 {
    BOTTOM - scale.at(value).unwrap_or(0.0) * (BOTTOM - TOP)
}

/// Lines at round numbers, with the numbers on them.
fn heights(scale: &Scale, unit: Unit) -> String {
    let mut svg = String::new();
    let right = percent(RIGHT);
    for (tick, at) in scale.ticks(TICKS) {
        let class = if tick == 0.0 && !scale.is_log() { "zero" } else { "grid" };
        let at = BOTTOM - at * (BOTTOM - TOP);
        let (y, above) = (px(at), px(at - 4.0));
        let _ = writeln!(
            svg,
            "<line class=\"{class}\" x1=\"0\" x2=\"{right}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text class=\"tick start\" x=\"0\" y=\"{above}\">{}</text>",
            escape(&unit.tick(tick))
        );
    }
    svg
}

/// The numbers of the cases, and below them what is counted.
fn case_axis(cases: &[&Case], places: &[f64]) -> String {
    let mut svg = String::new();
    let split = |case: &&Case| -> Option<(String, String)> {
        let (number, rest) = case.label.split_once(' ')?;
        let is_number = number.starts_with(|first: char| first.is_ascii_digit());
        is_number.then(|| (number.to_owned(), rest.to_owned()))
    };
    let parts: Option<Vec<_>> = cases.iter().map(split).collect();
    let parts = parts.filter(|all| all.windows(2).all(|pair| pair[0].1 == pair[1].1));
    let (y, below) = (px(BOTTOM + 18.0), px(HEIGHT - 4.0));
    for (nth, (case, x)) in cases.iter().zip(places).enumerate() {
        let label = parts.as_ref().map_or(case.label.as_str(), |parts| parts[nth].0.as_str());
        let x = percent(*x);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>\
             <text class=\"tick middle\" x=\"{x}\" y=\"{y}\">{}</text>",
            px(BOTTOM),
            px(BOTTOM + 5.0),
            escape(label)
        );
    }
    if let Some((_, counted)) = parts.as_ref().and_then(|parts| parts.first()) {
        let x = percent(f64::midpoint(LEFT, RIGHT));
        let _ = writeln!(
            svg,
            "<text class=\"tick middle\" x=\"{x}\" y=\"{below}\">{}</text>",
            escape(counted)
        );
    }
    svg
}

/// A server's sign, with the spread around it.
fn point(drawing: &Drawing<'_>, scale: &Scale, row: &Row, x: f64, spread: Spread) -> String {
    let y = height(scale, spread.median);
    let unit = drawing.chart.unit;
    let wide = unit.show_spread(spread, row.runs.len()).unwrap_or_default();
    let mut svg = format!(
        "<g><title>{}, {}: {}</title>\n",
        escape(&row.server),
        escape(&row.case.label),
        escape(format!("{} {wide}", unit.show(spread.median)).trim()),
    );
    if spread.min < spread.max {
        let (top, bottom) = (px(height(scale, spread.max)), px(height(scale, spread.min)));
        let x = percent(x);
        let _ = writeln!(
            svg,
            "<line class=\"whisker\" x1=\"{x}\" x2=\"{x}\" y1=\"{top}\" y2=\"{bottom}\"/>"
        );
    }
    let off = scale.at(spread.median).is_none();
    svg += &drawing.sign(&row.server, &percent(x), y, if off { " hollow" } else { "" });
    if is_faulty(row) {
        let (x, y) = (percent(x + 0.03), px(y - 4.0));
        let _ = writeln!(svg, "<text class=\"fault\" x=\"{x}\" y=\"{y}\">!</text>");
    }
    svg + "</g>\n"
}

/// All lines, the wide one of the reader's own server below the others, which it would hide.
fn all_drawn(drawing: &Drawing<'_>, lines: &[Line<'_>]) -> String {
    let of = |mine: bool| lines.iter().filter(move |it| drawing.looks.is_mine(it.server) == mine);
    of(true).chain(of(false)).map(|line| drawn(drawing, line)).collect()
}

/// The line itself, with a gap where nothing was measured.
fn drawn(drawing: &Drawing<'_>, line: &Line<'_>) -> String {
    let mut svg = format!(
        "<svg width=\"100%\" height=\"{HEIGHT}\" viewBox=\"0 0 1000 {HEIGHT}\" \
         preserveAspectRatio=\"none\" overflow=\"visible\">"
    );
    for part in line.points.split(Option::is_none) {
        let points: Vec<String> =
            part.iter().flatten().map(|(x, y)| format!("{},{}", px(x * 1000.0), px(*y))).collect();
        if points.len() > 1 {
            let class = drawing.class(line.server);
            let points = points.join(" ");
            let _ = write!(svg, "<polyline class=\"line {class}\" points=\"{points}\"/>");
        }
    }
    svg + "</svg>\n"
}

/// The names on the right, in the order in which the lines end, none on another.
fn names(drawing: &Drawing<'_>, lines: &[Line<'_>]) -> String {
    let end = |line: &Line<'_>| line.points.iter().rev().find_map(|point| *point);
    let mut ends: Vec<_> =
        lines.iter().filter_map(|line| Some((line.server, end(line)?))).collect();
    ends.sort_by(|(_, a), (_, b)| a.1.total_cmp(&b.1));
    let wanted: Vec<f64> = ends.iter().map(|(_, (_, y))| *y).collect();
    let mut svg = String::new();
    for ((server, (x, y)), at) in ends.iter().zip(apart(&wanted)) {
        let class = drawing.class(server);
        let (from, to) = (percent(x + 0.015), percent(NAMES - 0.035));
        let _ = writeln!(
            svg,
            "<line class=\"leader {class}\" x1=\"{from}\" x2=\"{to}\" y1=\"{}\" y2=\"{}\"/>",
            px(*y),
            px(at)
        );
        svg += &drawing.sign(server, &percent(NAMES - 0.01), at, "");
        let mine = if drawing.looks.is_mine(server) { " mine" } else { "" };
        let _ = writeln!(
            svg,
            "<text class=\"name small{mine}\" x=\"{}\" y=\"{}\">{}</text>",
            percent(NAMES + 0.015),
            px(at + 4.0),
            escape(&clipped(server, NAME))
        );
    }
    svg
}

/// Heights near those that are wanted, in their order, with a line's distance between any two.
fn apart(wanted: &[f64]) -> Vec<f64> {
    let mut at = wanted.to_vec();
    for i in 1..at.len() {
        at[i] = at[i].max(at[i - 1] + LINE);
    }
    let mut limit = BOTTOM;
    for place in at.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - LINE;
    }
    at
}

fn told(server: &str, rows: &[Option<&Row>], figure: &str, unit: Unit) -> String {
    let known = rows.iter().flatten().map(|row| match row.median(figure) {
        Some(median) => format!("{} at {}", unit.show(median), row.case.label),
        None => format!("not measured at {}", row.case.label),
    });
    format!("{server}: {}", known.collect::<Vec<_>>().join(", "))
}

/// A figure, and what happened then.
type Moment = Option<(&'static str, &'static str)>;

pub fn over_time(drawing: &Drawing<'_>, series: &str, mark: Moment) -> (Vec<Panel>, Vec<String>) {
    let panels: Vec<Panel> = drawing
        .outcome
        .cases()
        .into_iter()
        .filter_map(|case| course(drawing, case, series, mark))
        .collect();
    let mut signs = vec!["<span>The middle one of each server's runs.</span>".to_owned()];
    if let Some((figure, what)) = mark {
        let rows = || drawing.outcome.rows.iter();
        let happened = rows().any(|row| row.median(figure).is_some());
        if happened {
            let cross = "<use href=\"#kx\" x=\"8\" y=\"7\" class=\"plain\"/>";
            signs.push(sign(cross, &escape(what)));
        }
    }
    signs.extend(fault_sign(drawing));
    (panels, signs)
}

fn course(drawing: &Drawing<'_>, case: &Case, series: &str, mark: Moment) -> Option<Panel> {
    let unit = drawing.chart.unit;
    let rows = drawing.servers.iter().filter_map(|server| drawing.outcome.row(server, case));
    let runs: Vec<(&str, &Figures, Points)> = rows
        .filter_map(|row| {
            let (run, points) = middle_run(row, series)?;
            Some((row.server.as_str(), run, points))
        })
        .collect();
    let all = || runs.iter().flat_map(|(.., points)| points);
    let across = Scale::new(all().map(|(at, _)| *at), false, Unit::Seconds)?;
    let up = Scale::new(all().map(|(_, value)| *value), drawing.chart.is_log, unit)?;
    let x_of = |at: f64| across.at(at).map(inside);
    let mut svg = heights(&up, unit) + &seconds(&across);
    let (mut lines, mut words, mut crosses) = (Vec::new(), Vec::new(), String::new());
    for (server, run, points) in &runs {
        let place = |(at, value): &(f64, f64)| Some((x_of(*at)?, height(&up, *value)));
        let most = points.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
        let mut said = format!("{server}: at most {}", unit.show(most));
        let moment = mark.and_then(|(figure, what)| Some((run.get(figure)?, what)));
        if let Some((at, what)) = moment.filter(|(at, _)| at.is_finite()) {
            crosses += &cross(drawing, server, x_of(at)?, height(&up, value_at(points, at)));
            let _ = write!(said, ", {what} after {}", Unit::Seconds.show(at));
        }
        words.push(said);
        lines.push(Line { server, points: thinned(points).iter().map(place).collect() });
    }
    svg += &all_drawn(drawing, &lines);
    svg = svg + &crosses + &names(drawing, &lines);
    let several = drawing.outcome.cases().len() > 1;
    let heading = if several { case.label.clone() } else { String::new() };
    Some(Panel { heading, height: HEIGHT, svg, words: words.join("; ") })
}

/// Of the runs that have the series, the one whose peak is the middle one.
fn middle_run<'a>(row: &'a Row, series: &str) -> Option<(&'a Figures, Points)> {
    let points = |run: &'a Figures| {
        let found = run.series.iter().find(|it| it.name == series)?;
        let finite = |(at, value): &&(f64, f64)| at.is_finite() && value.is_finite();
        let points: Points = found.points.iter().filter(finite).copied().collect();
        (!points.is_empty()).then_some((run, points))
    };
    let peak = |points: &[(f64, f64)]| points.iter().map(|it| it.1).fold(f64::MIN, f64::max);
    let mut runs: Vec<_> = row.runs.iter().filter_map(points).collect();
    runs.sort_by(|(_, a), (_, b)| peak(a).total_cmp(&peak(b)));
    let middle = runs.len().saturating_sub(1) / 2;
    (!runs.is_empty()).then(|| runs.swap_remove(middle))
}

/// Fewer points with the same peaks and valleys.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let each = points.len().div_ceil(POINTS / 2).max(1);
    if each <= 2 {
        return points.to_vec();
    }
    let mut kept = Vec::new();
    for part in points.chunks(each) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = part.iter().min_by(by_value).into_iter().chain(part.iter().max_by(by_value));
        let mut ends: Vec<(f64, f64)> = ends.copied().collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        ends.dedup();
        kept.extend(ends);
    }
    kept
}

/// The number at a moment: that of the last point before it.
fn value_at(points: &[(f64, f64)], at: f64) -> f64 {
    let before = points.iter().rev().find(|(then, _)| *then <= at);
    before.or(points.first()).map_or(0.0, |(_, value)| *value)
}

fn seconds(scale: &Scale) -> String {
    let mut svg = String::new();
    let y = px(BOTTOM + 18.0);
    for (tick, at) in scale.ticks(4) {
        let x = percent(inside(at));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>\
             <text class=\"tick middle\" x=\"{x}\" y=\"{y}\">{}</text>",
            px(BOTTOM),
            px(BOTTOM + 5.0),
            escape(&Unit::Seconds.tick(tick))
        );
    }
    svg
}

/// Something happened to a server there.
fn cross(drawing: &Drawing<'_>, server: &str, x: f64, y: f64) -> String {
    let (class, x) = (drawing.class(server), percent(x));
    let (y, bottom) = (px(y), px(BOTTOM));
    format!(
        "<line class=\"moment {class}\" x1=\"{x}\" x2=\"{x}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
         <use href=\"#kx\" x=\"{x}\" y=\"{y}\" class=\"{class}\"/>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_distance_and_their_order() {
        for wanted in [[250.0, 255.0, 258.0, 259.0], [20.0, 20.0, 21.0, 200.0]] {
            let at = apart(&wanted);
            assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= LINE - 1e-9), "{at:?}");
            assert!(at.iter().all(|y| (TOP..=BOTTOM).contains(y)), "{at:?}");
        }
        assert_eq!(apart(&[20.0, 100.0]), [20.0, 100.0]);
    }

    #[test]
    fn thinning_keeps_peaks() {
        let points: Vec<(f64, f64)> = (0..5000).map(|i| (f64::from(i), 1.0)).collect();
        let mut with_peak = points.clone();
        with_peak[3333].1 = 9.0;
        let thin = thinned(&with_peak);
        assert!(thin.len() <= POINTS && thin.contains(&(3333.0, 9.0)));
        assert!(thin.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn cases_stand_evenly_where_a_logarithm_fails() {
        let case = |at: f64| Case { label: String::new(), at };
        let (a, b, c) = (case(0.0), case(10.0), case(1000.0));
        let even = places(&[&a, &b, &c], true);
        assert!((even[1] - even[0] - (even[2] - even[1])).abs() < 1e-9);
        assert_eq!(places(&[&b], true), [inside(0.5)]);
    }
}

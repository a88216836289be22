//! The charts: SVG with places in percent and letters in pixels, so that a chart takes the width
//! it is given and its letters keep their size, on a telephone too.
//!
//! There is a panel for each case, all on one scale. A name stands with what it names; where it
//! cannot, lines lead to it.

mod lines;
mod rows;

use std::fmt::Write as _;

use super::markup::Looks;
use super::remarks::is_absent;
use super::{Chart, Form, Outcome};
use probe::markup::escape;

/// What every chart is drawn from.
struct Drawing<'a> {
    outcome: &'a Outcome,
    chart: &'a Chart,
    looks: &'a Looks,
    /// The servers that have figures.
    servers: Vec<&'a str>,
    /// What its elements are called by, so that a name can refer to one.
    id: &'a str,
}

/// What one panel shows, for the eye and in words.
struct Panel {
    /// Above it; empty where one panel shows all cases.
    heading: String,
    height: f64,
    svg: String,
    words: String,
}

/// A chart with its heading and, below it, what its signs mean.
pub fn figure(outcome: &Outcome, chart: &Chart, looks: &Looks, id: &str) -> String {
    let servers = outcome.servers().into_iter().filter(|server| !is_absent(outcome, server));
    let drawing = Drawing { outcome, chart, looks, servers: servers.collect(), id };
    let (panels, signs) = match chart.form {
        Form::Lines(figure) => lines::over_cases(&drawing, figure),
        Form::Course { series, mark } => lines::over_time(&drawing, series, mark),
        Form::Bars(figure) => rows::bars(&drawing, figure),
        Form::Strips(marks) => rows::strips(&drawing, marks),
    };
    drawing.figure(&panels, &signs)
}

impl Drawing<'_> {
    fn figure(&self, panels: &[Panel], signs: &[String]) -> String {
        let Chart { title, axis, is_log, .. } = self.chart;
        // A heading need not be said twice.
        let axis = if axis.eq_ignore_ascii_case(title) { "" } else { axis };
        let axis: Vec<&str> = [axis, if *is_log { "logarithmic" } else { "" }]
            .into_iter()
            .filter(|it| !it.is_empty())
            .collect();
        let wide = if panels.len() > 1 { " wide" } else { "" };
        let mut html = format!(
            "<figure class=\"chart{wide}\">\n<figcaption><h3>{}</h3><p>{}</p></figcaption>\n",
            escape(title),
            escape(&axis.join(", "))
        );
        if panels.is_empty() {
            html += "<p class=\"nothing\">Nothing to draw: no server has a figure that this axis can show.</p>\n";
        }
        html += "<div class=\"panels\">\n";
        for (nth, panel) in panels.iter().enumerate() {
            html += &self.panel(panel, nth);
        }
        html += "</div>\n";
        if !signs.is_empty() && !panels.is_empty() {
            let _ = writeln!(html, "<p class=\"signs\">{}</p>", signs.join(" "));
        }
        html + "</figure>\n"
    }

    fn panel(&self, panel: &Panel, nth: usize) -> String {
        let id = format!("{}-{nth}", self.id);
        let Panel { heading, height, svg, words } = panel;
        let mut html = String::from("<div class=\"panel\">\n");
        let mut title = escape(self.chart.title);
        if !heading.is_empty() {
            let _ = writeln!(html, "<h4>{}</h4>", escape(heading));
            let _ = write!(title, ": {}", escape(heading));
        }
        let _ = writeln!(
            html,
            "<svg role=\"img\" aria-labelledby=\"{id}-t {id}-d\" width=\"100%\" height=\"{height}\">\n\
             <title id=\"{id}-t\">{title}</title>\n<desc id=\"{id}-d\">{}</desc>\n{svg}</svg>\n</div>",
            escape(words)
        );
        html
    }

    /// The class of what belongs to a server.
    fn class(&self, server: &str) -> String {
        format!("s{}", self.looks.of(server))
    }

    /// Its sign at a place.
    fn sign(&self, server: &str, x: &str, y: f64, more: &str) -> String {
        let look = self.looks.of(server);
        format!(
            "<use href=\"#m{look}\" x=\"{x}\" y=\"{}\" class=\"s{look}{more}\"/>\n",
            super::markup::px(y)
        )
    }

    fn has_faults(&self) -> bool {
        self.outcome.rows.iter().any(super::remarks::is_faulty)
    }
}

/// A sign and what it means.
fn sign(shape: &str, meaning: &str) -> String {
    format!(
        "<span><svg class=\"key\" aria-hidden=\"true\" width=\"16\" height=\"14\">{shape}</svg>\
         {meaning}</span>"
    )
}

/// What tells of a fault, if there is one.
fn fault_sign(drawing: &Drawing<'_>) -> Option<String> {
    let text = "<b class=\"fault\">!</b> a fault, told above: not to be trusted";
    drawing.has_faults().then(|| format!("<span>{text}</span>"))
}

/// What a sign at the edge of a logarithmic axis means.
fn zero_sign() -> String {
    "<span>A zero has no place on a logarithmic axis: its sign stands at the edge, hollow.</span>"
        .to_owned()
}

//! One experiment on the page: its question, its sentences, its charts, its remarks and its table.

use std::fmt::Write as _;

use super::super::experiment::Column;
use super::super::measurement::Measurement;
use super::super::origin::Origin;
use super::super::results::ExperimentResult;
use super::super::units::InOneUnit;
use super::chart;
use super::html::unbroken;
use super::remarks::{Kind, Remark, remarks};
use probe::markup::escape;

/// Returns the section of one experiment.
pub fn section(result: &ExperimentResult) -> String {
    let experiment = result.experiment;
    let id = escape(experiment.id);
    let mut html = format!(
        "<section class=\"experiment\" id=\"{id}\">\n<h2>{}</h2>\n<p class=\"question\">{}</p>\n",
        escape(experiment.title),
        escape(experiment.question)
    );
    let remarks = remarks(result);
    html += &list(&remarks, Kind::Fault, "Faults");
    if result.measurements.is_empty() {
        return html + "<p class=\"nothing\">No server was measured.</p>\n</section>\n";
    }
    let _ = writeln!(
        html,
        "<p class=\"see\">{}</p>\n<p class=\"see\"><b>What the designs suggest.</b> {}</p>",
        escape(experiment.look_at),
        escape(experiment.prediction)
    );
    html += "<div class=\"charts\">\n";
    for (nth, chart) in experiment.charts.iter().enumerate() {
        html += &chart::draw(result, chart, &format!("{id}-{nth}"));
    }
    html += "</div>\n";
    html += &list(&remarks, Kind::NotMeasured, "Not in the charts");
    html += &list(&remarks, Kind::Note, "Notes");
    let setting = escape(&result.setting);
    let _ = writeln!(html, "<p class=\"setting\"><b>Setting.</b> {setting}</p>");
    html + &table(result) + "</section>\n"
}

/// Returns the list of all remarks of one kind.
fn list(remarks: &[Remark], kind: Kind, title: &str) -> String {
    let mut found = remarks.iter().filter(|remark| remark.kind == kind).peekable();
    if found.peek().is_none() {
        return String::new();
    }
    let class = if kind == Kind::Fault { "remarks faults" } else { "remarks" };
    let mut html = format!("<div class=\"{class}\"><h3>{title}</h3><ul>\n");
    for remark in found {
        let _ =
            writeln!(html, "<li><b>{}</b>: {}</li>", escape(&remark.servers), escape(&remark.text));
    }
    html + "</ul></div>\n"
}

/// Returns the table with all columns.
fn table(result: &ExperimentResult) -> String {
    let columns = result.experiment.columns;
    let title = escape(result.experiment.title);
    let mut html = format!(
        "<details>\n<summary>All figures</summary>\n\
         <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Figures: {title}\">\n\
         <table>\n<thead><tr><th scope=\"col\">server</th>"
    );
    for column in columns {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(column.head));
    }
    html += "</tr></thead>\n";
    let is_shown = |row: &&Measurement| result.has_figures(&row.server);
    let shown: Vec<&Measurement> = result.measurements.iter().filter(is_shown).collect();
    let unit = |column: &Column| {
        column.unit.column(shown.iter().filter_map(|row| row.median(column.figure)))
    };
    let units: Vec<InOneUnit> = columns.iter().map(unit).collect();
    for case in result.cases() {
        let _ = writeln!(
            html,
            "<tbody><tr><th class=\"case\" scope=\"rowgroup\" colspan=\"{}\">{}</th></tr>",
            columns.len() + 1,
            escape(&case.label)
        );
        for row in shown.iter().filter(|row| row.case == *case) {
            html += &table_row(row, columns, &units);
        }
        html += "</tbody>\n";
    }
    html + "</table>\n</div>\n</details>\n"
}

fn table_row(row: &Measurement, columns: &[Column], units: &[InOneUnit]) -> String {
    let class = if row.origin == Origin::User { " class=\"user\"" } else { "" };
    let fault = if row.is_faulty() { " <b class=\"fault\">!</b>" } else { "" };
    let mut html = format!("<tr{class}><th scope=\"row\">{}{fault}</th>", escape(&row.server));
    if row.runs.is_empty() {
        let _ = write!(html, "<td class=\"soft\" colspan=\"{}\">not measured</td>", columns.len());
    }
    for (column, unit) in columns.iter().zip(units).filter(|_| !row.runs.is_empty()) {
        let Some(spread) = row.spread(column.figure) else {
            html += "<td class=\"soft\">–</td>";
            continue;
        };
        let wide = unit.show_spread(spread, row.runs.len());
        let wide = wide.map_or_else(String::new, |wide| {
            format!(" <span class=\"soft\">{}</span>", escape(&unbroken(&wide)))
        });
        let _ = write!(html, "<td>{}{wide}</td>", escape(&unbroken(&unit.show(spread.median))));
    }
    html + "</tr>\n"
}

//! The answers on the page: its first section.

use std::fmt::Write as _;

use super::super::answers::{Answers, Cell, Row, Sign};
use super::super::origin::Origin;
use super::super::results::Results;
use super::super::units::InOneUnit;
use super::answers_table::HEADING;
use super::html::unbroken;
use probe::markup::escape;

/// Returns the section. Returns an empty text if no need was measured.
pub fn answers_section(results: &Results) -> String {
    let answers = Answers::find(results);
    if answers.rows.is_empty() {
        return String::new();
    }
    let mut html = format!(
        "<section class=\"answers\" id=\"answers\">\n<h2>{HEADING}</h2>\n\
         <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{HEADING}\">\n<table>\n\
         <thead><tr><th scope=\"col\">need</th>"
    );
    for server in &answers.servers {
        let name = escape(&server.name);
        let (begin, end) = if server.origin == Origin::User { ("<b>", "</b>") } else { ("", "") };
        let _ = write!(html, "<th scope=\"col\">{begin}{name}{end}</th>");
    }
    html += "</tr></thead>\n";
    for rows in answers.rows.chunk_by(|a, b| a.need.name == b.need.name) {
        let need = rows[0].need;
        let _ = writeln!(
            html,
            "<tbody><tr><th class=\"case\" scope=\"rowgroup\" colspan=\"{}\">{} <a href=\"#{}\">{}</a></th></tr>",
            answers.servers.len() + 1,
            escape(need.name),
            escape(need.experiment),
            escape(need.experiment)
        );
        for row in rows {
            html += &table_row(row);
        }
        html += "</tbody>\n";
    }
    html += "</table>\n</div>\n<ul class=\"caveats\">\n";
    let sign = |it: Sign| format!("<b>{}</b> {}", escape(it.symbol()), it.meaning());
    let signs: Vec<String> = answers.signs().into_iter().map(sign).collect();
    if !signs.is_empty() {
        let _ = writeln!(html, "<li>{}.</li>", signs.join("; "));
    }
    for caveat in answers.designs.iter().chain(&answers.caveats) {
        let _ = writeln!(html, "<li>{}</li>", escape(caveat));
    }
    html + "</ul>\n</section>\n"
}

fn table_row(row: &Row<'_>) -> String {
    let unit = row.unit();
    let mut html = format!("<tr><th scope=\"row\">{}</th>", escape(&row.page_label()));
    for cell in &row.cells {
        html += &cell
            .as_ref()
            .map_or_else(|| "<td class=\"soft\">–</td>".to_owned(), |cell| table_cell(cell, unit));
    }
    html + "</tr>\n"
}

fn table_cell(cell: &Cell, unit: InOneUnit) -> String {
    let number = escape(&unbroken(&cell.number(unit)));
    let content = match cell.sign {
        None => number,
        Some(sign) => {
            let symbol = escape(sign.symbol());
            match sign {
                Sign::Fault => format!("<b class=\"fault\">{symbol}</b>\u{a0}{number}"),
                Sign::Best => format!("<b>{symbol}\u{a0}{number}</b>"),
                Sign::NoDifference | Sign::AtLeast => format!("{symbol}\u{a0}{number}"),
            }
        }
    };
    format!("<td>{content}</td>")
}

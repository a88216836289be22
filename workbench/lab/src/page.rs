//! The report: one page that needs no network, no script and no other file.

use std::fmt::Write as _;

use super::markup::{Looks, prose};
use super::remarks::{Kind, Remark, is_absent, is_faulty, remarks};
use super::units::InOneUnit;
use super::{Column, Machine, Origin, Outcome, Results, Row, Unit, chart};
use probe::markup::escape;

const STYLE: &str = include_str!("page.css");

/// The shapes of the servers' signs, by the number of their look; then those of the strips' marks.
const SHAPES: &str = r#"<svg class="shapes" aria-hidden="true" width="0" height="0"><defs>
<circle id="m0" r="4.2"/>
<path id="m1" d="M-3.8-3.8H3.8V3.8H-3.8z"/>
<path id="m2" d="M0-5.2L4.8 3.6H-4.8z"/>
<path id="m3" d="M0-5.4L5.2 0 0 5.4-5.2 0z"/>
<path id="m4" d="M0 5.2L4.8-3.6H-4.8z"/>
<path id="m5" d="M-1.6-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6z"/>
<path id="m6" d="M0-5L4.8-1.5 2.9 4.2H-2.9L-4.8-1.5z"/>
<path id="m7" d="M-5.2 0L3.6-4.8V4.8z"/>
<path id="m8" d="M-4.4-4.4H4.4L-4.4 4.4H4.4z"/>
<path id="m9" d="M5.2 0L-3.6-4.8V4.8z"/>
<path id="m10" d="M0-5L5 .4V5L0-.2-5 5V.4z"/>
<circle id="m11" class="open" r="3.8"/>
<path id="m12" class="open" d="M-3.5-3.5H3.5V3.5H-3.5z"/>
<path id="m13" class="open" d="M0-5L4.8 0 0 5-4.8 0z"/>
<path id="m14" d="M0-6.4L1.7-2.2 6.1-1.9 2.7.9 3.8 5.2 0 2.8-3.8 5.2-2.7.9-6.1-1.9-1.7-2.2z"/>
<circle id="k0" r="4"/>
<path id="k1" d="M-1.3-5H1.3V5H-1.3z"/>
<path id="k2" class="open" d="M0-4.8L4.6 0 0 4.8-4.6 0z"/>
<circle id="k3" class="open" r="3.8"/>
<path id="kx" class="cross" d="M-4.5-4.5L4.5 4.5M4.5-4.5L-4.5 4.5"/>
</defs></svg>
"#;

/// The whole report as HTML.
#[must_use]
pub fn page(results: &Results) -> String {
    let looks = Looks::new(results);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Tin Can Chat: what servers cost, {}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n{SHAPES}",
        escape(&results.began)
    );
    html += &header(results);
    html += "<main>\n";
    html += &servers(results, &looks);
    html += &how_to_read(results);
    for outcome in &results.outcomes {
        html += &section(outcome, &looks);
    }
    html + "</main>\n</body>\n</html>\n"
}

fn header(results: &Results) -> String {
    let mut html = format!(
        "<header>\n<p class=\"kicker\">Tin Can Chat, the laboratory</p>\n<h1>What servers cost</h1>\n\
         <p class=\"when\">Measured on {} in {}.</p>\n",
        escape(&results.began),
        duration(results.seconds),
    );
    html += &warnings(results);
    html += "<div class=\"top\">\n";
    html += &contents(results);
    html += &circumstances(results);
    html + "</div>\n</header>\n"
}

fn contents(results: &Results) -> String {
    if results.outcomes.is_empty() {
        return "<p>Nothing was measured.</p>\n".to_owned();
    }
    let mut html = String::from("<nav aria-label=\"Experiments\"><ol>\n");
    for outcome in &results.outcomes {
        let experiment = outcome.experiment;
        let _ = writeln!(
            html,
            "<li><a href=\"#{}\">{}</a> <span>{}</span></li>",
            escape(experiment.id),
            escape(experiment.title),
            escape(experiment.question)
        );
    }
    html + "</ol></nav>\n"
}

/// What a reader has to know before any figure.
fn warnings(results: &Results) -> String {
    let mut html = String::new();
    if results.has_faults() {
        let faulty = results.outcomes.iter().filter(|outcome| outcome.rows.iter().any(is_faulty));
        let links = faulty.map(|outcome| {
            let experiment = outcome.experiment;
            format!("<a href=\"#{}\">{}</a>", escape(experiment.id), escape(experiment.title))
        });
        let links = links.collect::<Vec<_>>().join(", ");
        let text = "Copies were lost, came twice, or something else was wrong with a server, in:";
        let text = format!("{text} {links}. The affected rows are marked with !.");
        html += &alert("Faults.", &text).replacen("alert", "alert bad", 1);
    }
    if let Some(percent) = results.machine.others_percent.filter(|_| results.machine.was_busy()) {
        let text = format!(
            "Other programs took {} of the machine meanwhile. Ratios may hold, small differences do not, \
             and where the sentences below give a reason, it may not be the one.",
            escape(&Unit::Percent.show(percent))
        );
        html += &alert("The machine was busy.", &text);
    }
    if results.is_quick {
        html += &alert("A quick look.", "Fewer clients and shorter runs: good for a first idea.");
    }
    if !results.left_out.is_empty() {
        let reasons: Vec<String> = results.left_out.iter().map(|why| escape(why)).collect();
        html += &alert("Left out.", &reasons.join(" "));
    }
    html
}

/// The text is HTML.
fn alert(title: &str, text: &str) -> String {
    format!("<p class=\"alert\"><b>{title}</b> {text}</p>\n")
}

fn servers(results: &Results, looks: &Looks) -> String {
    if results.servers.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section class=\"servers\">\n<h2>The servers</h2>\n<ul>\n");
    for (name, origin, command) in &results.servers {
        let look = looks.of(name);
        let whose = match origin {
            Origin::Ours => "",
            Origin::Mine => " <span class=\"whose\">yours</span>",
            Origin::Peer => " <span class=\"whose\">another project’s</span>",
        };
        let mine = if looks.is_mine(name) { " class=\"mine\"" } else { "" };
        let _ = writeln!(
            html,
            "<li{mine}><svg class=\"key\" aria-hidden=\"true\" width=\"16\" height=\"14\">\
             <use href=\"#m{look}\" x=\"8\" y=\"7\" class=\"s{look}\"/></svg><b>{}</b>{whose} \
             <code>{}</code></li>",
            escape(name),
            escape(command)
        );
    }
    html + "</ul>\n</section>\n"
}

fn how_to_read(results: &Results) -> String {
    let runs = match results.runs {
        0 | 1 => "Each figure is from one run, so nothing tells how much it varies.".to_owned(),
        runs => format!(
            "Each figure is the median of {runs} runs; thin lines and pale bands reach from the \
             lowest to the highest of them, and ± is the distance of the furthest. Where these \
             overlap, two servers differ less than a server differs from itself."
        ),
    };
    format!(
        "<p class=\"reading\">{runs} A server has the same colour and sign everywhere. All panels \
         of a chart have one scale.</p>\n"
    )
}

fn section(outcome: &Outcome, looks: &Looks) -> String {
    let experiment = outcome.experiment;
    let id = escape(experiment.id);
    let mut html = format!(
        "<section class=\"experiment\" id=\"{id}\">\n<h2>{}</h2>\n<p class=\"question\">{}</p>\n",
        escape(experiment.title),
        escape(experiment.question)
    );
    let remarks = remarks(outcome);
    html += &told(&remarks, Kind::Fault, "Faults");
    if outcome.rows.is_empty() {
        return html + "<p class=\"nothing\">No server was measured.</p>\n</section>\n";
    }
    let see = (experiment.see)(outcome);
    for paragraph in see.lines() {
        let _ = writeln!(html, "<p class=\"see\">{}</p>", prose(paragraph));
    }
    html += "<div class=\"charts\">\n";
    for (nth, chart) in experiment.charts.iter().enumerate() {
        html += &chart::figure(outcome, chart, looks, &format!("{id}-{nth}"));
    }
    html += "</div>\n";
    html += &told(&remarks, Kind::Missing, "Not in the charts");
    html += &told(&remarks, Kind::Note, "Notes");
    if !outcome.setting.is_empty() {
        let _ =
            writeln!(html, "<p class=\"setting\"><b>Setting.</b> {}</p>", escape(&outcome.setting));
    }
    html + &table(outcome, looks) + "</section>\n"
}

fn told(remarks: &[Remark], kind: Kind, title: &str) -> String {
    let mut such = remarks.iter().filter(|remark| remark.kind == kind).peekable();
    if such.peek().is_none() {
        return String::new();
    }
    let class = if kind == Kind::Fault { "remarks faults" } else { "remarks" };
    let mut html = format!("<div class=\"{class}\"><h3>{title}</h3><ul>\n");
    for remark in such {
        let _ =
            writeln!(html, "<li><b>{}</b>: {}</li>", escape(&remark.whom), escape(&remark.text));
    }
    html + "</ul></div>\n"
}

fn table(outcome: &Outcome, looks: &Looks) -> String {
    let columns = outcome.experiment.columns;
    let title = escape(outcome.experiment.title);
    let mut html = format!(
        "<details>\n<summary>All figures</summary>\n\
         <div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Figures: {title}\">\n\
         <table>\n<thead><tr><th scope=\"col\">server</th>"
    );
    for column in columns {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(column.head));
    }
    html += "</tr></thead>\n";
    let is_shown = |row: &&Row| !is_absent(outcome, &row.server);
    let shown: Vec<&Row> = outcome.rows.iter().filter(is_shown).collect();
    let units: Vec<InOneUnit> = columns.iter().map(|it| it.in_one_unit(&shown)).collect();
    for case in outcome.cases() {
        let _ = writeln!(
            html,
            "<tbody><tr><th class=\"case\" scope=\"rowgroup\" colspan=\"{}\">{}</th></tr>",
            columns.len() + 1,
            escape(&case.label)
        );
        for row in shown.iter().filter(|row| row.case == *case) {
            html += &table_row(row, columns, &units, looks);
        }
        html += "</tbody>\n";
    }
    html + "</table>\n</div>\n</details>\n"
}

fn table_row(row: &Row, columns: &[Column], units: &[InOneUnit], looks: &Looks) -> String {
    let mine = if looks.is_mine(&row.server) { " class=\"mine\"" } else { "" };
    let fault = if is_faulty(row) { " <b class=\"fault\">!</b>" } else { "" };
    let mut html = format!("<tr{mine}><th scope=\"row\">{}{fault}</th>", escape(&row.server));
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

/// A number that stays with its unit.
fn unbroken(number: &str) -> String {
    number.replace(' ', "\u{a0}")
}

/// The machine's card, and how to do it again.
fn circumstances(results: &Results) -> String {
    let mut html =
        String::from("<section class=\"card\" id=\"machine\">\n<h2>The machine</h2>\n<dl>\n");
    for (what, how_much) in card(&results.machine) {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(&what), escape(&how_much));
    }
    if !results.cores.is_empty() {
        let _ = writeln!(html, "<dt>Who ran where</dt><dd>{}</dd>", escape(&results.cores));
    }
    html += "</dl>\n<h2>Do it again</h2>\n";
    if !results.again.is_empty() {
        let _ = writeln!(html, "<pre><code>{}</code></pre>", escape(&results.again));
    }
    html + "<p>Every run with every figure is in <code>data.json</code>, which was written with \
            this page. Figures of two machines do not compare; ratios between servers on one \
            machine often do.</p>\n</section>\n"
}

/// What was measured on: what, and how much or which.
fn card(machine: &Machine) -> Vec<(String, String)> {
    let unknown = || "not known".to_owned();
    let number = |value: Option<f64>| value.map_or_else(unknown, |value| format!("{value:.2}"));
    let memory = machine.memory_bytes.and_then(|bytes| u32::try_from(bytes >> 20).ok());
    let memory = memory.map(|mebibytes| Unit::Bytes.show(f64::from(mebibytes) * 1_048_576.0));
    let mut card = vec![
        ("Processor".to_owned(), machine.processor.clone()),
        ("Cores to use".to_owned(), machine.cores.to_string()),
        ("Memory".to_owned(), memory.unwrap_or_else(unknown)),
        ("System".to_owned(), machine.system.clone()),
    ];
    let limits = machine.limits.iter();
    card.extend(limits.map(|(what, limit)| (format!("Limit: {what}"), limit.clone())));
    let load =
        format!("{} before, {} after", number(machine.load_before), number(machine.load_after));
    let others = machine.others_percent.map(|percent| Unit::Percent.show(percent));
    card.push(("Load".to_owned(), load));
    card.push(("Other programs’ share".to_owned(), others.unwrap_or_else(unknown)));
    card
}

fn duration(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Series, sample};
    use super::*;

    /// All sorts of results, by name.
    fn samples() -> Vec<(&'static str, Results)> {
        let mut nothing = sample::results();
        nothing.outcomes.clear();
        let mut one_experiment = sample::results();
        one_experiment.outcomes.truncate(1);
        let mut empty = sample::results();
        empty.outcomes.iter_mut().for_each(|outcome| outcome.rows.clear());
        let mut interrupted = sample::results();
        interrupted.outcomes.truncate(4);
        interrupted.outcomes[3].rows.truncate(11);
        interrupted.left_out.push("Interrupted: what was measured by then is here.".into());
        let mut one_run = sample::results();
        for row in one_run.outcomes.iter_mut().flat_map(|outcome| &mut outcome.rows) {
            row.runs.truncate(1);
        }
        one_run.runs = 1;
        one_run.is_quick = true;
        vec![
            ("all", sample::results()),
            ("nothing", nothing),
            ("one-experiment", one_experiment),
            ("one-server", sample::only(&["chat-poll"])),
            ("mine-alone", sample::only(&["mine"])),
            ("empty", empty),
            ("interrupted", interrupted),
            ("one-run", one_run),
            ("crowd", crowd()),
            ("hostile", hostile()),
        ]
    }

    /// As many servers as there ever are.
    fn crowd() -> Results {
        let mut results = sample::results();
        let more = [
            "chat-green",
            "chat-smol",
            "chat-uring",
            "chat-epoll-by-hand-in-one-file",
            "chat-tls",
            "chat-nats",
        ];
        for (nth, name) in more.into_iter().enumerate() {
            results.servers.insert(5, (name.into(), Origin::Ours, name.into()));
            for outcome in &mut results.outcomes {
                let like = ["chat-poll", "chat-threads", "chat-async", "mine"][nth % 4];
                let same = outcome.rows.iter().filter(|row| row.server == like).cloned();
                let mut rows: Vec<Row> = same.collect();
                for row in &mut rows {
                    row.server = name.into();
                    row.origin = Origin::Ours;
                }
                outcome.rows.extend(rows);
            }
        }
        results
    }

    /// Numbers and names that nobody expects.
    fn hostile() -> Results {
        let mut results = sample::results();
        let odd = [0.0, f64::NAN, f64::INFINITY, -5.0, 1e300, 1e-300, 3.0];
        let mut nth = 0;
        for row in results.outcomes.iter_mut().flat_map(|outcome| &mut outcome.rows) {
            if row.server == "nats" {
                row.server = "</svg><script>alert('\u{1b}')</script>".into();
            }
            for run in &mut row.runs {
                let mut figures = super::super::Figures::default();
                for (name, _) in run.iter() {
                    nth += 1;
                    figures.add(name, odd[nth % odd.len()]);
                }
                let points = vec![(f64::NAN, 1.0), (0.0, f64::NAN), (1.0, 2.0), (2.0, 0.0)];
                figures.series = vec![Series { name: "growth_bytes_over_s", points }];
                *run = figures;
            }
        }
        results
    }

    /// To look at the pages, name a folder: they are written there.
    #[test]
    fn pages_are_well_formed_and_need_nothing_else() {
        let folder = std::env::var_os("TINCAN_SAMPLE_PAGES").map(PathBuf::from);
        for (name, results) in samples() {
            let html = page(&results);
            if let Some(folder) = &folder {
                std::fs::write(folder.join(name).with_extension("html"), &html).unwrap();
            }
            assert_eq!(unbalanced(&html), None, "{name}");
            for bad in
                ["NaN", "inf%", "inf\"", "<script", "http:", "https:", "url(", "src=", "@import"]
            {
                assert!(!html.contains(bad), "{name} has {bad}");
            }
            for (nth, id) in html.match_indices(" id=\"") {
                let id = &html[nth + id.len()..];
                let id = &id[..id.find('"').unwrap()];
                let same = html.matches(&format!(" id=\"{id}\"")).count();
                assert_eq!(same, 1, "{name}: {id}");
            }
        }
    }

    /// The first tag that has no partner.
    fn unbalanced(html: &str) -> Option<String> {
        let mut open = Vec::new();
        for part in html.split('<').skip(1) {
            let Some((tag, text)) = part.split_once('>') else {
                return Some(format!("a bare < before {part}"));
            };
            // A style sheet may have one.
            if text.contains('>') && tag != "style" {
                return Some(format!("a bare > after <{tag}>"));
            }
            let name = tag.split([' ', '\n', '/']).next().unwrap_or_default();
            if let Some(closed) = tag.strip_prefix('/') {
                if open.pop() != Some(closed) {
                    return Some(tag.to_owned());
                }
            } else if !tag.ends_with('/') && !["!DOCTYPE", "meta"].contains(&name) {
                open.push(name);
            }
        }
        open.pop().map(str::to_owned)
    }

    #[test]
    fn a_missing_row_is_said_and_not_drawn() {
        let html = page(&sample::results());
        assert!(
            html.contains("<b>ncat (1,000 clients)</b>: not measured: takes 990 clients at most")
        );
        assert!(
            html.contains("ncat: 9,240 B at 10 clients")
                || html.contains("not measured at 1,000 clients")
        );
    }

    #[test]
    fn no_sentence_is_told_twice() {
        for (name, results) in samples() {
            for outcome in &results.outcomes {
                let text = (outcome.experiment.see)(outcome);
                let told: Vec<&str> = text.split(". ").map(str::trim).collect();
                let twice =
                    told.iter().find(|it| told.iter().filter(|other| other == it).count() > 1);
                assert_eq!(twice, None, "{name}: {text}");
            }
        }
    }

    #[test]
    fn warnings_stand_where_they_are_due() {
        let mut results = sample::results();
        assert!(page(&results).contains("The machine was busy."));
        assert!(page(&results).contains("Copies were lost"));
        results.machine.others_percent = Some(0.4);
        for row in results.outcomes.iter_mut().flat_map(|outcome| &mut outcome.rows) {
            row.runs.iter_mut().for_each(|run| run.faults.clear());
        }
        assert!(!page(&results).contains("The machine was busy."));
        assert!(!page(&results).contains("Copies were lost"));
    }

    #[test]
    fn every_look_has_a_shape_and_a_colour() {
        for look in 0..super::super::markup::LOOKS {
            assert!(SHAPES.contains(&format!("id=\"m{look}\"")), "{look}");
            assert_eq!(STYLE.matches(&format!(".s{look} {{ --c:")).count(), 2, "{look}");
        }
    }

    #[test]
    fn a_duration_is_told_in_two_units_at_most() {
        assert_eq!(
            [7.4, 412.0, 7_322.0, f64::NAN].map(duration),
            ["7 s", "6 min 52 s", "2 h 2 min", "0 s"]
        );
    }
}

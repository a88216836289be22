//! The page: one HTML file that needs no network, no script and no other file.

use std::fmt::Write as _;

use super::super::machine::Machine;
use super::super::origin::Origin;
use super::super::results::Results;
use super::super::units::Unit;
use super::answers_section::answers_section;
use super::html::colour;
use super::section::section;
use probe::markup::escape;

const STYLE: &str = include_str!("page.css");

/// The signs in the charts: for the first mark, two for marks in the middle, and for the last mark.
const SHAPES: &str = r#"<svg class="shapes" aria-hidden="true" width="0" height="0"><defs>
<circle id="k0" r="4.2"/>
<path id="k1" d="M-1.3-5H1.3V5H-1.3z"/>
<path id="k2" class="open" d="M0-4.8L4.6 0 0 4.8-4.6 0z"/>
<circle id="k3" class="open" r="3.8"/>
</defs></svg>
"#;

/// Returns the whole page as HTML.
#[must_use]
pub fn page(results: &Results) -> String {
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
    html += &servers(results);
    html += &how_to_read(results);
    for result in &results.experiments {
        html += &section(result);
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
    html += &answers_section(results);
    html += "<div class=\"top\">\n";
    html += &contents(results);
    html += &circumstances(results);
    html + "</div>\n</header>\n"
}

fn contents(results: &Results) -> String {
    if results.experiments.is_empty() {
        return "<p>Nothing was measured.</p>\n".to_owned();
    }
    let mut html = String::from("<nav aria-label=\"Experiments\"><ol>\n");
    for result in &results.experiments {
        let experiment = result.experiment;
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

/// Returns the sentences that a reader has to know before any figure.
fn warnings(results: &Results) -> String {
    let mut html = String::new();
    if results.has_faults() {
        let faulty = results.experiments.iter().filter(|result| result.has_faults());
        let links = faulty.map(|result| {
            let experiment = result.experiment;
            format!("<a href=\"#{}\">{}</a>", escape(experiment.id), escape(experiment.title))
        });
        let links = links.collect::<Vec<_>>().join(", ");
        let text = "Copies were lost or came twice, or something else was wrong with a server, in:";
        let text = format!("{text} {links}. The affected rows are marked with !.");
        html += &alert("Faults.", &text).replacen("alert", "alert bad", 1);
    }
    if let Some(percent) = results.machine.others_percent.filter(|_| results.machine.was_busy()) {
        let text = format!(
            "Other programs used {} of the processors in the meantime. Ratios may hold, small \
             differences do not.",
            escape(&Unit::Percent.show(percent))
        );
        html += &alert("The machine was busy.", &text);
    }
    if results.is_quick {
        html += &alert("A quick look.", "Fewer clients and shorter runs: good for a first idea.");
    }
    if let Some(interruption) = &results.interruption {
        html += &alert("Interrupted.", &escape(interruption));
    }
    if !results.left_out.is_empty() {
        let reasons: Vec<String> = results.left_out.iter().map(|why| escape(why)).collect();
        html += &alert("Left out.", &reasons.join(" "));
    }
    html
}

/// Returns a warning. The text is HTML.
fn alert(title: &str, text: &str) -> String {
    format!("<p class=\"alert\"><b>{title}</b> {text}</p>\n")
}

fn servers(results: &Results) -> String {
    if results.servers.is_empty() {
        return String::new();
    }
    let mut html = String::from("<section class=\"servers\">\n<h2>The servers</h2>\n<ul>\n");
    for server in &results.servers {
        let class = colour(&server.name, server.origin);
        let origin = match server.origin {
            Origin::Project => "",
            Origin::User => " <span class=\"origin\">yours</span>",
            Origin::Peer => " <span class=\"origin\">for comparison</span>",
        };
        let _ = writeln!(
            html,
            "<li><svg class=\"key\" aria-hidden=\"true\" width=\"16\" height=\"14\">\
             <use href=\"#k0\" x=\"8\" y=\"7\" class=\"{class}\"/></svg><b>{}</b>{origin} \
             <code>{}</code></li>",
            escape(&server.name),
            escape(&server.command)
        );
    }
    html + "</ul>\n</section>\n"
}

fn how_to_read(results: &Results) -> String {
    let runs = match results.runs {
        0 | 1 => "Each figure is from one run, so the variation is not known.".to_owned(),
        runs => format!(
            "Each figure is the median of {runs} runs. Pale bands reach from the lowest run to the \
             highest, and ± is the distance of the furthest run. Where the bands of two servers \
             overlap, the difference may be chance."
        ),
    };
    format!(
        "<p class=\"reading\">{runs} Each stage has a colour of its own; variations share one, and so \
         do the servers that are measured for comparison. All panels of a chart have one axis.</p>\n"
    )
}

/// Returns the description of the machine, and the command that repeats the measurements.
fn circumstances(results: &Results) -> String {
    let mut html =
        String::from("<section class=\"card\" id=\"machine\">\n<h2>The machine</h2>\n<dl>\n");
    for (name, value) in description(&results.machine) {
        let _ = writeln!(html, "<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&value));
    }
    if !results.cores.is_empty() {
        let _ = writeln!(html, "<dt>Cores of each</dt><dd>{}</dd>", escape(&results.cores));
    }
    html += "</dl>\n<h2>Do it again</h2>\n";
    if !results.again.is_empty() {
        let _ = writeln!(html, "<pre><code>{}</code></pre>", escape(&results.again));
    }
    html + "<p>Every run with every figure is in <code>data.json</code>, which was written with \
            this page. Figures of two machines cannot be compared; ratios between servers on one \
            machine often can.</p>\n</section>\n"
}

fn description(machine: &Machine) -> Vec<(String, String)> {
    let unknown = || "not known".to_owned();
    let number = |value: Option<f64>| value.map_or_else(unknown, |value| format!("{value:.2}"));
    let memory = machine.memory_bytes.and_then(|bytes| u32::try_from(bytes >> 20).ok());
    let memory = memory.map(|mebibytes| Unit::Bytes.show(f64::from(mebibytes) * 1_048_576.0));
    let mut lines = vec![
        ("Processor".to_owned(), machine.processor.clone()),
        ("Cores to use".to_owned(), machine.cores.to_string()),
        ("Memory".to_owned(), memory.unwrap_or_else(unknown)),
        ("System".to_owned(), machine.system.clone()),
    ];
    let limits = machine.limits.iter();
    lines.extend(limits.map(|(name, limit)| (format!("Limit: {name}"), limit.clone())));
    let load =
        format!("{} before, {} after", number(machine.load_before), number(machine.load_after));
    let others = machine.others_percent.map(|percent| Unit::Percent.show(percent));
    lines.push(("Load".to_owned(), load));
    lines.push(("Used by other programs".to_owned(), others.unwrap_or_else(unknown)));
    lines
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

    use super::super::super::figures::{Figures, Series};
    use super::super::super::measurement::Measurement;
    use super::super::super::results::ListedServer;
    use super::super::super::sample;
    use super::*;

    /// Returns results of many kinds, with a name for each.
    fn samples() -> Vec<(&'static str, Results)> {
        let mut nothing = sample::results();
        nothing.experiments.clear();
        let mut one_experiment = sample::results();
        one_experiment.experiments.truncate(1);
        let mut empty = sample::results();
        empty.experiments.iter_mut().for_each(|result| result.measurements.clear());
        let mut interrupted = sample::results();
        interrupted.experiments.truncate(4);
        interrupted.experiments[3].measurements.truncate(11);
        interrupted.interruption = Some("It was interrupted after 41 of 90 runs.".into());
        let mut one_run = sample::results();
        for it in one_run.experiments.iter_mut().flat_map(|result| &mut result.measurements) {
            it.runs.truncate(1);
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

    /// Returns the results of as many servers as there can be.
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
            let (name, command) = (name.to_owned(), name.to_owned());
            let (name_listed, origin) = (name.clone(), Origin::Project);
            let listed = ListedServer { name: name_listed, origin, command, limit: None };
            results.servers.insert(5, listed);
            for result in &mut results.experiments {
                let like = ["chat-poll", "chat-threads", "chat-async", "mine"][nth % 4];
                let same = result.measurements.iter().filter(|it| it.server == like).cloned();
                let mut rows: Vec<Measurement> = same.collect();
                for row in &mut rows {
                    row.server.clone_from(&name);
                    row.origin = Origin::Project;
                }
                result.measurements.extend(rows);
            }
        }
        results
    }

    /// Returns unusual numbers and names.
    fn hostile() -> Results {
        let mut results = sample::results();
        let odd = [0.0, f64::NAN, f64::INFINITY, -5.0, 1e300, 1e-300, 3.0];
        let mut nth = 0;
        for row in results.experiments.iter_mut().flat_map(|result| &mut result.measurements) {
            if row.server == "nats" {
                row.server = "</svg><script>alert('\u{1b}')</script>".into();
            }
            for run in &mut row.runs {
                let mut figures = Figures::default();
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

    /// Writes the pages into the folder that `TINCAN_SAMPLE_PAGES` names, if it is set, to look at them.
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

    /// Returns the first tag that has no partner.
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
    fn a_missing_figure_is_in_words() {
        let html = page(&sample::results());
        assert!(
            html.contains("<b>ncat (1,000 clients)</b>: not measured: takes 990 clients at most")
        );
        assert!(html.contains("ncat: not measured"));
    }

    #[test]
    fn every_experiment_has_its_two_sentences() {
        let results = sample::results();
        let html = page(&results);
        for experiment in results.experiments.iter().map(|result| result.experiment) {
            for sentence in [experiment.look_at, experiment.prediction] {
                assert!(sentence.ends_with('.') && html.contains(&escape(sentence)), "{sentence}");
            }
        }
    }

    #[test]
    fn warnings_are_shown_only_where_they_apply() {
        let mut results = sample::results();
        assert!(page(&results).contains("The machine was busy."));
        assert!(page(&results).contains("Copies were lost"));
        results.machine.others_percent = Some(0.4);
        for row in results.experiments.iter_mut().flat_map(|result| &mut result.measurements) {
            row.runs.iter_mut().for_each(|run| run.faults.clear());
        }
        assert!(!page(&results).contains("The machine was busy."));
        assert!(!page(&results).contains("Copies were lost"));
    }

    #[test]
    fn a_duration_has_two_units_at_most() {
        assert_eq!(
            [7.4, 412.0, 7_322.0, f64::NAN].map(duration),
            ["7 s", "6 min 52 s", "2 h 2 min", "0 s"]
        );
    }
}

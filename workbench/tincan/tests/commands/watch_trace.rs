//! Tests `tincan watch --trace` as its user sees it: from a trace, it makes a picture or an error.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::harness::{expect_well_formed, stage, stderr, stdout, wait_until};

/// A folder for a trace and its picture.
struct Files {
    folder: TempDir,
}

impl Files {
    fn with_trace(text: impl AsRef<[u8]>) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(files.trace(), text).unwrap();
        files
    }

    fn trace(&self) -> PathBuf {
        self.folder.path().join("trace.json")
    }

    fn svg(&self) -> PathBuf {
        self.folder.path().join("timeline.svg")
    }

    fn watch(&self) -> Output {
        let mut tincan = Command::new(env!("CARGO_BIN_EXE_tincan"));
        tincan.arg("watch").arg("--trace").arg(self.trace()).arg("--svg").arg(self.svg());
        tincan.output().unwrap()
    }

    fn picture(&self) -> String {
        let output = self.watch();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("The timeline is in "), "{}", stdout(&output));
        let svg = fs::read_to_string(self.svg()).unwrap();
        expect_well_formed(&svg);
        svg
    }
}

/// Draws a trace, and returns the SVG.
fn draw(trace: impl AsRef<[u8]>) -> String {
    Files::with_trace(trace).picture()
}

fn expect_all(svg: &str, parts: &[&str]) {
    for part in parts {
        assert!(svg.contains(part), "no {part} in\n{svg}");
    }
}

/// Returns the number of boxes.
fn boxes(svg: &str) -> usize {
    svg.lines().filter(|line| line.starts_with("<svg x=") && line.contains("<title>")).count()
}

/// Returns the line of the box whose title starts with this text.
fn box_of<'a>(svg: &'a str, title: &str) -> &'a str {
    let title = format!("<title>{title}");
    let is_it = |line: &&str| line.starts_with("<svg x=") && line.contains(&title);
    svg.lines().find(is_it).unwrap_or_else(|| panic!("no box {title} in\n{svg}"))
}

/// Returns an attribute of the first tag of a line.
fn attribute<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!(" {name}=\"")).unwrap();
    rest.split_once('"').unwrap().0
}

/// A complete trace with two lanes.
const CLOSED: &str = r#"[
{"name":"process_name","ph":"M","pid":1,"tid":0,"args":{"name":"my-server"}},
{"name":"thread_name","ph":"M","pid":1,"tid":1,"args":{"name":"main"}},
{"name":"accept","ph":"B","pid":1,"tid":1,"ts":0.000},
{"name":"accept","ph":"E","pid":1,"tid":1,"ts":2000.000},
{"name":"thread_name","ph":"M","pid":1,"tid":2,"args":{"name":"127.0.0.1:50312"}},
{"name":"client","ph":"B","pid":1,"tid":2,"ts":2500.000},
{"name":"read","ph":"X","pid":1,"tid":2,"ts":3000.000,"dur":1234.567},
{"name":"odd name","ph":"X","pid":1,"tid":2,"ts":5000.000,"dur":1000.000},
{"ph":"E","pid":1,"tid":2,"ts":10000.000}
]
"#;

#[test]
fn a_trace_is_drawn_with_its_names_times_and_lanes() {
    let files = Files::with_trace(CLOSED);
    let svg = files.picture();
    expect_all(
        &svg,
        &[
            "<title id=\"title\">What each thread or task of my-server did</title>",
            ">4 spans in 2 lanes, 10 ms</text>",
            ">main</text>",
            ">tid 1</text>",
            ">127.0.0.1:50312</text>",
            // The axis.
            ">0 ms</text>",
            ">4 ms</text>",
            ">10 ms</text>",
            // The boxes.
            "<title>accept: from 0 µs, took 2 ms</title>",
            "<title>client: from 2.5 ms, took 7.5 ms</title>",
            "<title>read: from 3 ms, took 1.235 ms</title>",
            "<title>odd name: from 5 ms, took 1 ms</title>",
            // The legend.
            "<text class=\"text\" x=\"26\" y=\"13\">accept</text>",
            "<text class=\"text\" x=\"26\" y=\"13\">odd name</text>",
        ],
    );
    assert_eq!(boxes(&svg), 4, "{svg}");
    let read = box_of(&svg, "read:");
    assert_eq!(attribute(read, "x"), "30.000%");
    assert_eq!(attribute(read, "width"), "12.346%");
    assert!(!svg.contains("has not ended") && !svg.contains("several spans"), "{svg}");
    // Again, in place of the earlier picture.
    assert_eq!(files.picture(), svg);
}

#[test]
fn a_span_lies_below_the_span_around_it() {
    let svg = draw(CLOSED);
    let y = |title| attribute(box_of(&svg, title), "y").parse::<u32>().unwrap();
    assert!(y("accept:") < y("client:"), "{svg}");
    assert!(y("client:") < y("read:"), "{svg}");
    assert_eq!(y("read:"), y("odd name:"), "{svg}");
}

#[test]
fn a_trace_without_its_end_is_drawn_the_same() {
    let whole = draw(CLOSED);
    let open = CLOSED.strip_suffix("\n]\n").unwrap();
    let padded = open.replace('\n', "    \n");
    let one_line = CLOSED.replace('\n', "");
    let without_path = |svg: &str| {
        svg.lines().filter(|line| !line.contains("tincan watch")).collect::<Vec<_>>().join("\n")
    };
    for text in [open, &format!("{open},\n"), &padded, &format!("{padded},\n   \n"), &one_line] {
        assert_eq!(without_path(&draw(text)), without_path(&whole), "{text}");
    }
}

#[test]
fn a_last_event_that_is_cut_off_is_left_out() {
    let last = r#"{"name":"w\u00e4it ü","ph":"X","pid":1,"tid":1,"ts":20000.500,"dur":1.5}"#;
    let events = CLOSED.strip_suffix("\n]\n").unwrap();
    for len in 1..last.len() {
        let mut text = format!("{events},\n").into_bytes();
        text.extend_from_slice(&last.as_bytes()[..len]);
        let files = Files::with_trace(&text);
        assert_eq!(boxes(&files.picture()), 4, "cut after {len}");
        if len % 6 == 0 {
            text.extend_from_slice(b"   \n");
            fs::write(files.trace(), &text).unwrap();
            assert_eq!(boxes(&files.picture()), 4, "cut after {len}, then blanks");
        }
    }
    assert_eq!(boxes(&draw(format!("{events},\n{last}"))), 5);
}

#[test]
fn a_span_without_an_end_lasts_to_the_end_of_the_trace() {
    let svg = draw(
        r#"[
{"name":"client","ph":"B","pid":1,"tid":1,"ts":1000.000},
{"name":"read","ph":"B","pid":1,"tid":1,"ts":2000.000},
{"name":"read","ph":"E","pid":1,"tid":1,"ts":3000.000},
{"name":"write","ph":"B","pid":1,"tid":1,"ts":4000.000},
{"name":"accept","ph":"X","pid":1,"tid":2,"ts":0.000,"dur":5000.000},
"#,
    );
    expect_all(
        &svg,
        &[
            "<title>client: from 1 ms, still going on after 4 ms</title>",
            "<title>write: from 4 ms, still going on after 1 ms</title>",
            "<title>read: from 2 ms, took 1 ms</title>",
            ">has not ended</text>",
        ],
    );
    let client = box_of(&svg, "client:");
    assert_eq!((attribute(client, "x"), attribute(client, "width")), ("20.000%", "80.000%"));
    // Two in the lane, one in the legend.
    assert_eq!(svg.matches("<svg class=\"open\"").count(), 3, "{svg}");
    assert_eq!(svg.matches("<svg class=\"open\" x=\"100%\"").count(), 2, "{svg}");
}

#[test]
fn the_events_may_be_in_any_order_and_an_end_may_lack_its_beginning() {
    let svg = draw(
        r#"[
{"name":"read","ph":"E","pid":1,"tid":7,"ts":5.000},
{"name":"lost","ph":"E","pid":1,"tid":7,"ts":1.000},
{"name":"inner","ph":"X","pid":1,"tid":7,"ts":3.000,"dur":1.000},
{"name":"read","ph":"B","pid":1,"tid":7,"ts":2.000},
{"name":"counter","ph":"C","pid":1,"tid":7,"ts":2.000,"args":{"value":1}},
{"name":"thread_name","ph":"M","pid":1,"tid":7,"args":{"name":"first name"}},
{"name":"thread_name","ph":"M","pid":1,"tid":7,"args":{"name":"late name"}},
]"#,
    );
    expect_all(
        &svg,
        &[
            "<title>read: from 2 µs, took 3 µs</title>",
            "<title>inner: from 3 µs, took 1 µs</title>",
            ">late name</text>",
            // The trace does not contain the name of the process.
            "What each thread or task of trace.json did",
        ],
    );
    assert_eq!(boxes(&svg), 2, "{svg}");
}

#[test]
fn only_the_first_lanes_are_drawn_and_the_others_counted() {
    let mut trace = "[\n".to_owned();
    for lane in 0..1000 {
        let _ = writeln!(
            trace,
            r#"{{"name":"thread_name","ph":"M","pid":1,"tid":{lane},"args":{{"name":"lane-{lane}-"}}}},
{{"name":"read","ph":"X","pid":1,"tid":{lane},"ts":{lane}.000,"dur":500.000}},
{{"name":"write","ph":"X","pid":1,"tid":{lane},"ts":{},"dur":500.000}},"#,
            lane + 1000
        );
    }
    let svg = draw(trace);
    expect_all(
        &svg,
        &[
            ">2,000 spans in 1,000 lanes, 2.5 ms</text>",
            ">936 more lanes left out, with 1,872 spans: only the first 64 lanes are drawn.</text>",
            ">lane-0-</text>",
            ">lane-63-</text>",
        ],
    );
    assert!(!svg.contains("lane-64-"), "{svg}");
    assert_eq!(boxes(&svg), 128);
}

#[test]
fn spans_narrower_than_a_pixel_are_put_together() {
    let mut trace = "[\n".to_owned();
    let lane = r#""pid":1,"tid":1"#;
    let _ = writeln!(trace, r#"{{"name":"wait","ph":"X",{lane},"ts":0,"dur":100000.000}},"#);
    // A tenth of a second in which a `read` of 7 µs and a `write` of 2 µs take turns.
    for n in 0..10_000 {
        let ts = 100_000 + 10 * n;
        let _ = writeln!(trace, r#"{{"name":"read","ph":"B",{lane},"ts":{ts}.000}},"#);
        let _ = writeln!(trace, r#"{{"name":"read","ph":"E",{lane},"ts":{}.000}},"#, ts + 7);
        let _ =
            writeln!(trace, r#"{{"name":"write","ph":"X",{lane},"ts":{}.000,"dur":2}},"#, ts + 7);
    }
    let _ = writeln!(trace, r#"{{"name":"wait","ph":"X",{lane},"ts":200000,"dur":100000.000}},"#);
    let svg = draw(trace);
    expect_all(
        &svg,
        &[
            ">20,002 spans in 1 lane, 300 ms</text>",
            "<title>20,000 spans: from 100 ms, within 99.999 ms: read 10,000 (70 ms), \
             write 10,000 (20 ms)</title>",
            // Both have a colour, although that of one is in no box.
            "<text class=\"text\" x=\"26\" y=\"13\">read</text>",
            "<text class=\"text\" x=\"26\" y=\"13\">write</text>",
            ">several spans</text>",
            "A box with a strip stands for several spans, each shorter than 312.5 µs.",
        ],
    );
    assert_eq!(boxes(&svg), 3, "{svg}");
}

#[test]
fn no_trace_makes_a_file_that_no_browser_can_show() {
    // Each span is wider than a pixel, and there are more spans than a browser can draw well.
    let mut trace = "[\n".to_owned();
    for lane in 0..64 {
        for n in 0..400 {
            let ts = 25 * n;
            let _ = writeln!(
                trace,
                r#"{{"name":"read","ph":"X","pid":1,"tid":{lane},"ts":{ts}.000,"dur":12.000}},"#
            );
        }
    }
    let svg = draw(trace);
    assert!(boxes(&svg) <= 12_000, "{}", boxes(&svg));
    assert!(svg.len() < 4_000_000, "{}", svg.len());
    assert!(svg.contains(" stands for several spans, each shorter than "));
}

#[test]
fn spans_that_are_too_deep_and_names_without_a_colour_are_counted() {
    let mut trace = "[\n".to_owned();
    // A trace that has lost all end events.
    for n in 0..1000 {
        let _ = writeln!(trace, r#"{{"name":"name {n}","ph":"B","pid":1,"tid":1,"ts":{n}.000}},"#);
    }
    let svg = draw(trace);
    expect_all(
        &svg,
        &[
            ">988 spans left out: only 12 levels of spans inside spans are drawn.</text>",
            // There are eight colours for names that the stages do not use.
            ">name 7</text>",
            ">4 other names</text>",
        ],
    );
    assert_eq!(boxes(&svg), 12);
}

#[test]
fn names_stay_text() {
    let svg = draw(
        r#"[
{"name":"process_name","ph":"M","pid":1,"tid":0,"args":{"name":"a<b> & \"c\""}},
{"name":"thread_name","ph":"M","pid":1,"tid":1,"args":{"name":"<i>&\u001b[2J"}},
{"name":"<script>alert(\"&\")</script>","ph":"X","pid":1,"tid":1,"ts":0.000,"dur":5.000},
{"name":"<b> & \"note\"","ph":"i","pid":1,"tid":0,"ts":2.000},
"#,
    );
    expect_all(
        &svg,
        &[
            "What each thread or task of a&lt;b&gt; &amp; &quot;c&quot; did",
            ">&lt;i&gt;&amp;\u{fffd}[2J</text>",
            "<title>&lt;script&gt;alert(&quot;&amp;&quot;)&lt;/script&gt;: from 0 µs, took 5 µs</title>",
            "Note at 2 µs: &lt;b&gt; &amp; &quot;note&quot;</text>",
            "<title>&lt;b&gt; &amp; &quot;note&quot; (a note at 2 µs)</title>",
        ],
    );
}

#[test]
fn times_far_from_zero_are_drawn_from_the_first() {
    let svg = draw(
        r#"[
{"name":"read","ph":"X","pid":1,"tid":1,"ts":5000000.000,"dur":10.000},
{"name":"read","ph":"X","pid":1,"tid":1,"ts":5000090.000,"dur":10.000},
]"#,
    );
    expect_all(
        &svg,
        &[
            ">5000000 µs</text>",
            ">5000100 µs</text>",
            "<title>read: from 5.00009 s, took 10 µs</title>",
        ],
    );
    assert_eq!(attribute(box_of(&svg, "read: from 5.00009 s"), "x"), "90.000%");
    // The greatest times that a number can hold.
    draw(r#"[{"name":"read","ph":"X","pid":1,"tid":1,"ts":1.8e25,"dur":1.8e25}]"#);
}

#[test]
fn a_file_that_is_not_a_trace_is_reported() {
    let event = r#"{"name":"read","ph":"X","pid":1,"tid":1,"ts":1,"dur":1}"#;
    for (text, said) in [
        ("", "is not a trace: it is not a JSON array"),
        ("hello\n", "is not a trace: it is not a JSON array"),
        ("{\"traceEvents\":[]}", "is not a trace: it is not a JSON array"),
        ("\u{0}\u{0}", "is not a trace: it is not a JSON array"),
        ("[", "there is no span in the trace "),
        ("[]", "there is no span in the trace "),
        ("[\n{\"name\":\"re", "there is no span in the trace "),
        (
            "[{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,\"args\":{\"name\":\"a\"}}]",
            "there is no span in the trace ",
        ),
        (
            "[{\"name\":\"a\",\"ph\":\"E\",\"pid\":1,\"tid\":1,\"ts\":1}]",
            "there is no span in the trace ",
        ),
        ("[\nhello\n", "is not a trace: line 2: this is not JSON"),
        ("[1, 2, 3]", "is not a trace: line 1: this event has no `ph`"),
        (&format!("[\n{event},\n{{]}},\n{event}\n]"), "is not a trace: line 3: this is not JSON"),
        (&format!("[\n{event}\n]\n{event}"), "line 3: there is more after the end of the array"),
        (&format!("[\n\n{event},\n{{}}\n]"), "line 4: this event has no `ph`"),
        ("[{\"name\":\"a\",\"ph\":\"B\",\"tid\":1}]", "line 1: `ts` is not a number"),
        ("[{\"name\":\"a\",\"ph\":\"B\",\"ts\":1}]", "line 1: `tid` is not a number"),
        ("[{\"ph\":\"B\",\"ts\":1,\"tid\":1}]", "line 1: `name` is not a string"),
        ("[{\"name\":\"a\",\"ph\":\"X\",\"ts\":1,\"tid\":1}]", "line 1: `dur` is not a number"),
        ("[{\"name\":\"a\",\"ph\":\"B\",\"ts\":-1,\"tid\":1}]", "line 1: `ts` is not a time"),
        ("[{\"name\":\"a\",\"ph\":\"B\",\"ts\":1e300,\"tid\":1}]", "line 1: `ts` is not a time"),
    ] {
        let files = Files::with_trace(text);
        expect_error(&files.watch(), said);
        assert!(!files.svg().exists(), "{text}: an empty file stays");
    }
    let files = Files::with_trace(CLOSED);
    let earlier = files.picture();
    fs::remove_file(files.trace()).unwrap();
    expect_error(&files.watch(), "cannot read ");
    assert_eq!(fs::read_to_string(files.svg()).unwrap(), earlier);
}

/// Expects one line on standard error, and the exit code of a failure.
fn expect_error(output: &Output, said: &str) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.starts_with("tincan: ") && told.contains(said), "no {said} in {told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(output.stdout.is_empty());
}

#[test]
fn usage_errors_are_reported() {
    let files = Files::with_trace(CLOSED);
    let (trace, svg) = (files.trace(), files.svg());
    let (trace, svg) = (trace.to_str().unwrap(), svg.to_str().unwrap());
    for (args, said) in [
        (&["--trace", trace][..], "--svg <FILE>"),
        (&["--trace", trace, "--svg", svg, "--pid", "1"], "cannot be used with"),
        (&["--trace", trace, "--svg", svg, "--seconds", "1"], "cannot be used with"),
        (&["--trace", trace, "--svg", svg, "--", "true"], "cannot be used with"),
        // The trace itself is not overwritten.
        (
            &["--trace", trace, "--svg", trace],
            "is not a picture of tincan watch, and is left as it is",
        ),
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tincan")).arg("watch").args(args).output().unwrap();
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {told}");
        assert!(told.contains(said), "{args:?}: {told}");
        assert!(output.stdout.is_empty() && !files.svg().exists(), "{args:?}");
    }
    assert_eq!(fs::read_to_string(trace).unwrap(), CLOSED);
}

#[test]
fn the_trace_of_a_killed_server_is_drawn() {
    let files = Files::with_trace("");
    let mut server = Command::new(stage("chat-threads"));
    server.args(["--port", "0", "--trace"]).arg(files.trace());
    let mut server = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut client =
        TcpStream::connect(line.trim().strip_prefix("Listening on ").unwrap()).unwrap();
    client.write_all(b"hello\0").unwrap();
    client.read_exact(&mut [0]).unwrap();
    wait_until(|| {
        fs::read_to_string(files.trace()).is_ok_and(|text| text.contains("\"broadcast\""))
    });
    server.kill().unwrap();
    server.wait().unwrap();
    let svg = files.picture();
    expect_all(
        &svg,
        &[
            "What each thread or task of chat-threads did",
            ">main</text>",
            &format!(">recv {}</text>", client.local_addr().unwrap().port()),
            "<title>accept: from ",
            "<title>client: from ",
            ">has not ended</text>",
            "<text class=\"text\" x=\"26\" y=\"13\">broadcast</text>",
        ],
    );
}

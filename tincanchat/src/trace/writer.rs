//! The thread that writes the trace, and the text that it writes.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, io, mem, process, thread};

use tracing::warn;

use super::lane::{Args, Event, LEFT_OUT, News, take_news};
use super::output::Output;
use super::{IS_ON, now};

/// How long a span waits at most before it is written.
const TICK: Duration = Duration::from_millis(100);

/// How long the end of the program waits for the last spans to be written.
const LAST_SPANS: Duration = Duration::from_millis(500);

/// The most bytes of a trace: as many as a viewer may just be able to open.
const MOST_BYTES: u64 = 1024 * 1024 * 1024;

/// How much text waits until it is written.
const CHUNK: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Off,
    Running,
    Ending,
}

static STAGE: Mutex<Stage> = Mutex::new(Stage::Off);
static CHANGED: Condvar = Condvar::new();

fn stage() -> MutexGuard<'static, Stage> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_stage(new: Stage) {
    *stage() = new;
    CHANGED.notify_all();
}

pub(super) fn start(output: Output) -> io::Result<()> {
    let mut writer = Writer::new(output);
    if !writer.output.is_stream() {
        writer.write(); // so that there is an array in the file before the first span
    }
    set_stage(Stage::Running);
    let started = thread::Builder::new().name("trace".to_owned()).spawn(move || writer.run());
    started.map(drop).map_err(|err| {
        io::Error::new(err.kind(), format!("cannot start the thread that writes the trace: {err}"))
    })
}

/// Ends the trace, if there is one, with what is going on; waits until it is written, but not long.
pub(crate) fn finish() {
    let mut stage = stage();
    if *stage != Stage::Off {
        *stage = Stage::Ending;
        CHANGED.notify_all();
        let _ = CHANGED.wait_timeout_while(stage, LAST_SPANS, |stage| *stage != Stage::Off);
    }
}

/// Waits for the time of the next writing, and says whether it is the last.
fn wait() -> bool {
    let is_running = |stage: &mut Stage| *stage == Stage::Running;
    let waited = CHANGED.wait_timeout_while(stage(), TICK, is_running);
    *waited.unwrap_or_else(PoisonError::into_inner).0 == Stage::Ending
}

struct Writer {
    output: Output,
    most_bytes: u64,
    /// Events that are to be written, one a line, and how many.
    text: String,
    events: u64,
    /// How many spans have been left out as far as the trace says.
    left_out: u64,
    has_failed: bool,
    is_broken: bool,
}

impl Writer {
    fn new(output: Output) -> Self {
        let mut writer = Writer {
            output,
            most_bytes: MOST_BYTES,
            text: String::new(),
            events: 0,
            left_out: 0,
            has_failed: false,
            is_broken: false,
        };
        let program = env::args_os().next().unwrap_or_default();
        let program = Path::new(&program).file_stem().unwrap_or_default().to_string_lossy();
        writer.put("process_name", "M", 0, &[("args", &json_name(&program))]);
        writer
    }

    fn run(mut self) {
        let mut goes_on = true;
        while goes_on {
            let is_ending = wait();
            goes_on = self.flush(is_ending) && !is_ending;
        }
        IS_ON.store(false, Ordering::Relaxed);
        take_news(true, |_| {}); // nobody else does
        set_stage(Stage::Off);
    }

    /// Writes all that has happened, and says whether there may be more.
    fn flush(&mut self, is_ending: bool) -> bool {
        let is_full = self.output.len() >= self.most_bytes;
        let is_last = is_ending || is_full;
        if is_last {
            IS_ON.store(false, Ordering::Relaxed);
        }
        take_news(is_last, |news| self.tell(news));
        self.tell_left_out();
        if is_full {
            let most = self.most_bytes;
            warn!("The trace {} ends here: it has {most} bytes", self.output.path().display());
            self.note(&format!("the trace ends here: it has {most} bytes"));
        }
        self.write();
        if is_last && !self.is_broken {
            self.is_broken = self.output.end().is_err();
        }
        !is_full && !self.is_broken
    }

    fn tell(&mut self, news: &News) {
        if let Some(name) = &news.name {
            self.put("thread_name", "M", news.lane, &[("args", &json_name(name))]);
        }
        for event in &news.events {
            self.tell_event(news.lane, event);
            if self.text.len() >= CHUNK {
                self.write();
            }
        }
    }

    fn tell_event(&mut self, lane: u32, event: &Event) {
        let args = json_args(&event.args);
        let args = ("args", args.as_str());
        match (event.begin, event.end) {
            (Some(begin), Some(end)) => {
                let times = (micros(begin), micros(end - begin));
                let fields = [("ts", times.0.as_str()), ("dur", &times.1), args];
                self.put(event.name, "X", lane, &fields);
            }
            (Some(begin), None) => {
                self.put(event.name, "B", lane, &[("ts", &micros(begin)), args]);
            }
            (None, end) => {
                let end = micros(end.unwrap_or_default());
                self.put(event.name, "E", lane, &[("ts", &end), args]);
            }
        }
    }

    fn tell_left_out(&mut self) {
        let all = LEFT_OUT.load(Ordering::Relaxed);
        let more = all - self.left_out;
        if more > 0 {
            let why = "there was no room for them";
            if self.left_out == 0 {
                let path = self.output.path().display();
                warn!("The trace {path} lacks {more} spans, and maybe more: {why}");
            }
            self.left_out = all;
            self.note(&format!("{more} spans left out: {why}"));
        }
    }

    /// A mark across all lanes.
    fn note(&mut self, text: &str) {
        self.put(text, "i", 0, &[("ts", &micros(now())), ("s", "\"g\"")]);
    }

    /// Adds an event; the values of the fields are JSON.
    fn put(&mut self, name: &str, phase: &str, lane: u32, fields: &[(&str, &str)]) {
        let (name, pid) = (json_string(name), process::id());
        let _ =
            write!(self.text, "{{\"name\":{name},\"ph\":\"{phase}\",\"pid\":{pid},\"tid\":{lane}");
        for (key, value) in fields {
            let _ = write!(self.text, ",\"{key}\":{value}");
        }
        self.text.push_str("}\n");
        self.events += 1;
    }

    fn write(&mut self) {
        let events = mem::take(&mut self.events);
        if events == 0 || self.is_broken {
            return self.text.clear();
        }
        if let Err(err) = self.output.append(&self.text) {
            LEFT_OUT.fetch_add(events, Ordering::Relaxed);
            self.is_broken = self.output.is_stream();
            if !mem::replace(&mut self.has_failed, true) {
                let what = if self.is_broken { "ends here" } else { "lacks spans" };
                warn!("The trace {} {what}: {err}", self.output.path().display());
            }
        }
        self.text.clear();
    }
}

fn micros(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1000, nanos % 1000)
}

fn json_name(name: &str) -> String {
    format!("{{\"name\":{}}}", json_string(name))
}

fn json_args(args: &Args) -> String {
    let mut fields = Vec::new();
    fields.extend(args.client.map(|addr| format!("\"client\":\"{addr}\"")));
    fields.extend(args.messages.map(|count| format!("\"messages\":{count}")));
    fields.extend(args.bytes.map(|count| format!("\"bytes\":{count}")));
    fields.extend(args.would_block.then(|| "\"result\":\"would block\"".to_owned()));
    format!("{{{}}}", fields.join(","))
}

fn json_string(text: &str) -> String {
    let mut json = String::from('"');
    for ch in text.chars() {
        match ch {
            '"' | '\\' => json.extend(['\\', ch]),
            ch if ch < ' ' => json.extend(format!("\\u{:04x}", u32::from(ch)).chars()),
            ch => json.push(ch),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;

    #[test]
    fn a_trace_ends_at_its_limit_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let mut writer = Writer::new(Output::create(&path).unwrap());
        writer.most_bytes = 10_000;
        let args = Args::default();
        let event = Event { name: "read", begin: Some(1500), end: Some(2001), args };
        let news = News { lane: 1, name: Some("a \"name\"".to_owned()), events: vec![event; 20] };
        while writer.flush(false) {
            writer.tell(&news);
        }
        let events: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let has = |text: &str| events.iter().any(|event| event.to_string().contains(text));
        assert!(has("the trace ends here: it has 10000 bytes") && has("a \\\"name\\\""));
        assert!(has("\"dur\":0.501") && has("\"ts\":1.5"));
        assert!(fs::metadata(&path).unwrap().len() < 20_000);
    }
}

//! Reads a trace: the spans of a server's threads or tasks, which the server itself has recorded.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Deserializer, Value};

use crate::numbers::{counted, rounded};

/// A server's trace: spans of time, in a lane for each thread or task.
///
/// The file is a Chrome trace, a JSON array of events, which the stages write with `--trace FILE`. The end of
/// the array may be missing, and the last event may be incomplete, because a killed server leaves such a
/// file.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    process: Option<String>,
    /// The lanes that have a span, in the order of their first spans.
    pub(crate) lanes: Vec<TraceLane>,
    /// Notes that the server has recorded, for example the number of missing spans, in the order of time.
    pub(crate) notes: Vec<TraceNote>,
    /// The names of the spans. Each name occurs once.
    pub(crate) names: Vec<String>,
    /// The time of the first event.
    pub(crate) first: Duration,
    /// The time of the last event.
    pub(crate) last: Duration,
}

/// The spans of a thread or a task.
#[derive(Clone, Debug)]
pub(crate) struct TraceLane {
    pub id: LaneId,
    pub name: Option<String>,
    /// The spans in the order in which they begin. A span comes before the spans inside it.
    pub spans: Vec<TraceSpan>,
}

/// The numbers of a process and of one of its threads or tasks, as they are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LaneId {
    pub process: u64,
    pub thread: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TraceSpan {
    /// The index of the name in [`Trace::names`].
    pub name: usize,
    pub from: Duration,
    /// The end of the span, or the end of the trace if the span has not ended.
    pub to: Duration,
    pub has_ended: bool,
    /// The number of spans that contain this span.
    pub depth: usize,
}

impl TraceSpan {
    /// Returns how long the span took, or had taken when the trace ended.
    pub(crate) fn took(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// A note that the server has recorded about a moment.
#[derive(Clone, Debug)]
pub(crate) struct TraceNote {
    pub lane: LaneId,
    pub at: Duration,
    pub text: String,
}

impl Trace {
    /// Reads a trace from a file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, is not a trace, or contains no span.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = read_array(path).with_context(|| format!("cannot read {shown}"))?;
        let text =
            text.with_context(|| format!("{shown} is not a trace: it is not a JSON array"))?;
        let trace = Self::parse(&text).with_context(|| format!("{shown} is not a trace"))?;
        ensure!(!trace.lanes.is_empty(), "there is no span in the trace {shown}");
        Ok(trace)
    }

    fn parse(text: &[u8]) -> Result<Self> {
        let mut reader = Reader::default();
        for_each_event(text, |event| reader.add(event))?;
        Ok(reader.finish())
    }

    /// Returns the name of the process, if the trace contains it.
    #[must_use]
    pub fn process(&self) -> Option<&str> {
        self.process.as_deref()
    }

    /// Returns the size of the trace, such as `1,200 spans in 7 lanes, 2.5 s`.
    #[must_use]
    pub fn summary(&self) -> String {
        let spans = self.lanes.iter().map(|lane| lane.spans.len()).sum();
        let (spans, lanes) = (counted(spans, "span"), counted(self.lanes.len(), "lane"));
        let time = rounded(self.last.saturating_sub(self.first));
        format!("{spans} in {lanes}, {time}")
    }
}

/// Returns the bytes of a file that starts like a JSON array. Reads only the start of any other file, which
/// may be a device without an end.
fn read_array(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut file = BufReader::new(File::open(path)?);
    if file.fill_buf()?.trim_ascii_start().first() != Some(&b'[') {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Calls a function with each event of an array, in the order of the file.
fn for_each_event(text: &[u8], mut add: impl FnMut(&Value) -> Result<()>) -> Result<()> {
    let begin = text.iter().position(|byte| *byte == b'[').map_or(0, |at| at + 1);
    let mut rest = &text[begin..];
    let mut line = 1 + lines_in(&text[..begin]);
    loop {
        let blanks = rest.iter().take_while(|byte| **byte == b',' || byte.is_ascii_whitespace());
        let (blanks, events) = rest.split_at(blanks.count());
        line += lines_in(blanks);
        rest = events;
        match rest {
            // The end of the array is missing: the server was killed, or is still running.
            [] => return Ok(()),
            [b']', after @ ..] => {
                let is_all = after.trim_ascii().is_empty();
                ensure!(is_all, "line {line}: there is more after the end of the array");
                return Ok(());
            }
            _ => {}
        }
        let mut values = Deserializer::from_slice(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(event)) => add(&event).with_context(|| format!("line {line}"))?,
            // The last event is incomplete.
            Some(Err(err)) if rest[0] == b'{' && (err.is_eof() || is_last_line(rest)) => {
                return Ok(());
            }
            _ => bail!("line {line}: this is not JSON"),
        }
        let (event, after) = rest.split_at(values.byte_offset());
        line += lines_in(event);
        rest = after;
    }
}

fn lines_in(text: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', text).count()
}

/// Reports whether only white space follows the first line of this text.
fn is_last_line(text: &[u8]) -> bool {
    text.splitn(2, |byte| *byte == b'\n').nth(1).is_none_or(|after| after.trim_ascii().is_empty())
}

/// The part of a trace that has been read so far.
#[derive(Default)]
struct Reader {
    trace: Trace,
    /// The index of each name in the names of the trace.
    name_indices: HashMap<String, usize>,
    lane_names: HashMap<LaneId, String>,
    lanes: HashMap<LaneId, Events>,
    has_time: bool,
}

/// The events of a lane.
#[derive(Default)]
struct Events {
    spans: Vec<TraceSpan>,
    /// Begin events and end events, which together make spans.
    edges: Vec<Edge>,
}

#[derive(Clone, Copy)]
struct Edge {
    at: Duration,
    /// The name of a span that begins. `None` means that the innermost span ends.
    begins: Option<usize>,
}

impl Reader {
    fn add(&mut self, event: &Value) -> Result<()> {
        let phase = event["ph"].as_str().context("this event has no `ph`")?;
        if !matches!(phase, "M" | "B" | "E" | "X" | "i") {
            // Traces of other programs have more kinds of events, for example counters.
            return Ok(());
        }
        let id = LaneId {
            process: event["pid"].as_u64().unwrap_or_default(),
            thread: event["tid"].as_u64().context("`tid` is not a number")?,
        };
        match phase {
            "M" => self.add_name(id, event),
            "B" => {
                let edge = Edge { at: self.time(event)?, begins: Some(self.name(event)?) };
                self.lane(id).edges.push(edge);
                Ok(())
            }
            "E" => {
                let edge = Edge { at: self.time(event)?, begins: None };
                self.lane(id).edges.push(edge);
                Ok(())
            }
            "X" => {
                let from = self.time(event)?;
                let to = from.saturating_add(micros(event, "dur")?);
                self.note_time(to);
                let name = self.name(event)?;
                let span = TraceSpan { name, from, to, has_ended: true, depth: 0 };
                self.lane(id).spans.push(span);
                Ok(())
            }
            _ => {
                let text = name_of(event)?.to_owned();
                let note = TraceNote { lane: id, at: self.time(event)?, text };
                self.trace.notes.push(note);
                Ok(())
            }
        }
    }

    fn add_name(&mut self, id: LaneId, event: &Value) -> Result<()> {
        let kind = name_of(event)?;
        if kind != "process_name" && kind != "thread_name" {
            return Ok(());
        }
        let name = event["args"]["name"].as_str().context("`args` has no `name`")?;
        if kind == "thread_name" {
            // The last name counts: a server may name a thread again when it knows its client.
            self.lane_names.insert(id, name.to_owned());
        } else if self.trace.process.is_none() {
            self.trace.process = Some(name.to_owned());
        }
        Ok(())
    }

    fn lane(&mut self, id: LaneId) -> &mut Events {
        self.lanes.entry(id).or_default()
    }

    fn name(&mut self, event: &Value) -> Result<usize> {
        let name = name_of(event)?;
        if let Some(index) = self.name_indices.get(name) {
            return Ok(*index);
        }
        let index = self.trace.names.len();
        self.trace.names.push(name.to_owned());
        self.name_indices.insert(name.to_owned(), index);
        Ok(index)
    }

    fn time(&mut self, event: &Value) -> Result<Duration> {
        let at = micros(event, "ts")?;
        self.note_time(at);
        Ok(at)
    }

    fn note_time(&mut self, at: Duration) {
        let trace = &mut self.trace;
        trace.first = if self.has_time { trace.first.min(at) } else { at };
        trace.last = trace.last.max(at);
        self.has_time = true;
    }

    /// Makes spans of the events, after all of them have been read.
    fn finish(mut self) -> Trace {
        let mut trace = self.trace;
        for (id, events) in self.lanes {
            let spans = spans(events, trace.last);
            if !spans.is_empty() {
                trace.lanes.push(TraceLane { id, name: self.lane_names.remove(&id), spans });
            }
        }
        trace.lanes.sort_by_key(|lane| (lane.spans[0].from, lane.id.process, lane.id.thread));
        trace.notes.sort_by_key(|note| note.at);
        trace
    }
}

fn name_of(event: &Value) -> Result<&str> {
    event["name"].as_str().context("`name` is not a string")
}

/// Returns the time in a field, which is in microseconds.
fn micros(event: &Value, field: &str) -> Result<Duration> {
    let micros = event[field].as_f64().with_context(|| format!("`{field}` is not a number"))?;
    Duration::try_from_secs_f64(micros / 1e6).with_context(|| format!("`{field}` is not a time"))
}

/// Returns the spans of a lane in order, with their depths. Spans that have not ended get `last` as their
/// end.
fn spans(events: Events, last: Duration) -> Vec<TraceSpan> {
    let Events { mut spans, mut edges } = events;
    // A server may write an event late. Events of the same time keep their order.
    edges.sort_by_key(|edge| edge.at);
    // In the order in which they begin: of two spans with the same times, the outer one comes first.
    let mut begun: Vec<TraceSpan> = Vec::new();
    // The indices of the spans that have not ended.
    let mut open = Vec::new();
    for Edge { at, begins } in edges {
        match begins {
            Some(name) => {
                open.push(begun.len());
                begun.push(TraceSpan { name, from: at, to: last, has_ended: false, depth: 0 });
            }
            None => {
                // There is no open span if its begin event is missing.
                if let Some(index) = open.pop() {
                    begun[index].to = at;
                    begun[index].has_ended = true;
                }
            }
        }
    }
    spans.extend(begun);
    let end = |span: &TraceSpan| if span.has_ended { span.to } else { Duration::MAX };
    spans.sort_by(|a, b| a.from.cmp(&b.from).then(end(b).cmp(&end(a))));
    let mut ends_around: Vec<Duration> = Vec::new();
    for span in &mut spans {
        while ends_around.pop_if(|end| *end <= span.from).is_some() {}
        span.depth = ends_around.len();
        ends_around.push(end(span));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_spans_with_the_same_times_the_first_contains_the_other() {
        let event = |phase: &str, at: u8, name: &str| {
            format!(r#"{{"ph":"{phase}","pid":1,"tid":1,"ts":{at},"name":"{name}"}}"#)
        };
        let events =
            [event("B", 5, "outer"), event("B", 5, "inner"), event("E", 8, ""), event("E", 8, "")];
        let trace = Trace::parse(format!("[{}]", events.join(",")).as_bytes()).unwrap();
        let spans = &trace.lanes[0].spans;
        let named: Vec<_> =
            spans.iter().map(|span| (trace.names[span.name].as_str(), span.depth)).collect();
        assert_eq!(named, [("outer", 0), ("inner", 1)]);
    }
}

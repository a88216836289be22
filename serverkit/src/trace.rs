//! The trace: a file that shows what each thread or task does, and when, in ui.perfetto.dev or
//! `chrome://tracing`.
//!
//! The file is a JSON array in Chrome's trace format, one event a line: `B` begins a span, `E` ends it, and
//! `tid` is the lane, which is a thread or a task. Both viewers open an array that has not been closed, so
//! lines are only ever appended, and even a server that is killed leaves a file that they can open.
//!
//! Events wait in memory, and a thread writes them ten times a second: nothing in the server waits for the
//! disk. (`tracing-chrome` 0.7.2 has no bound on that memory, panics when the disk is full, and supports
//! threads but not tasks.)

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
#[cfg(unix)]
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, mem, process, thread};

use anyhow::{Context as _, Result, bail, ensure};
use tracing::warn;

/// The longest time that an event waits before it is written.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// How long the program waits at its end until the last events are written.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// The most bytes of events that wait for the disk. Further spans are counted and left out.
const MAX_WAITING: usize = 16 * 1024 * 1024;

/// The most bytes in a trace: about as many as a viewer can open.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// The smallest page of any system, in bytes.
const PAGE: u64 = 4096;

/// The beginning of the first line, by which a trace is recognized.
const FIRST_LINE: &str = r#"[{"name":"process_name","#;

static TRACE: OnceLock<Trace> = OnceLock::new();

thread_local! {
    /// The lane of the task that this thread is running, or else of the thread itself.
    static LANE: Cell<Option<u32>> = const { Cell::new(None) };
}

struct Trace {
    began: Instant,
    events: Mutex<Events>,
    last_lane: AtomicU32,
    /// Dropping the sender stops the thread that writes, which then closes the other channel.
    stop: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

/// The events that have not been written yet.
#[derive(Default)]
struct Events {
    text: String,
    left_out: u64,
    is_full: bool,
}

/// Runs `work` as a span of the trace, in the lane of the current thread or task, and returns its result.
///
/// Without `--trace`, this only checks a flag. If `work` panics, the span ends there.
///
/// ```
/// use std::sync::Mutex;
/// use serverkit::trace;
///
/// let table = Mutex::new(vec![1, 2, 3]);
/// let table = trace("lock", || table.lock()).expect("no panic");
/// assert_eq!(table.len(), 3);
/// ```
#[inline]
pub fn trace<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    let _span = Span::begin(name);
    work()
}

/// A span of the trace. It ends when this is dropped.
pub(crate) struct Span(Option<(u32, &'static str)>);

impl Span {
    #[inline]
    pub(crate) fn begin(name: &'static str) -> Self {
        Span(TRACE.get().and_then(|trace| trace.begin(name)))
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if let (Some(trace), Some((lane, name))) = (TRACE.get(), self.0) {
            trace.add_event(name, "E", lane);
        }
    }
}

/// The lane of something that is not a thread: a task, which different threads may run at different times,
/// or a green thread.
///
/// ```
/// use serverkit::Lane;
///
/// let mut lane = Lane::new(|| "recv 50312".to_owned());
/// assert_eq!(lane.run(|| 42), 42); // spans of this call are in the lane
/// ```
#[derive(Debug)]
pub struct Lane(Option<u32>);

impl Lane {
    /// Adds a lane to the trace, if there is a trace.
    pub fn new(name: impl FnOnce() -> String) -> Self {
        Lane(TRACE.get().map(|trace| trace.add_lane(&name())))
    }

    /// Runs one step of the task; the spans of this step are in its lane.
    pub fn run<T>(&mut self, step: impl FnOnce() -> T) -> T {
        /// Restores the earlier lane, even after a panic.
        struct Back(Option<u32>);
        impl Drop for Back {
            fn drop(&mut self) {
                LANE.set(self.0);
            }
        }
        let Some(lane) = self.0 else { return step() };
        let _back = Back(LANE.replace(Some(lane)));
        step()
    }
}

impl Trace {
    fn begin(&self, name: &'static str) -> Option<(u32, &'static str)> {
        let lane = LANE.get().unwrap_or_else(|| {
            let lane = self.add_lane(thread::current().name().unwrap_or("thread"));
            LANE.set(Some(lane));
            lane
        });
        let mut events = self.events();
        if events.is_full || events.text.len() > MAX_WAITING {
            events.left_out += 1;
            return None;
        }
        drop(events);
        self.add_event(name, "B", lane);
        Some((lane, name))
    }

    fn add_event(&self, name: &str, phase: &str, lane: u32) {
        let mut events = self.events();
        // Read with the lock held, so that the times in the file never go backwards.
        let nanos = self.began.elapsed().as_nanos();
        let (micros, nanos) = (nanos / 1000, nanos % 1000);
        let pid = process::id();
        let _ = writeln!(
            events.text,
            r#"{{"name":"{name}","ph":"{phase}","pid":{pid},"tid":{lane},"ts":{micros}.{nanos:03}}},"#
        );
    }

    fn add_lane(&self, name: &str) -> u32 {
        let lane = self.last_lane.fetch_add(1, Ordering::Relaxed) + 1;
        let pid = process::id();
        let name = json_string(name);
        let _ = writeln!(
            self.events().text,
            r#"{{"name":"thread_name","ph":"M","pid":{pid},"tid":{lane},"args":{{"name":{name}}}}},"#
        );
        lane
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts to record spans and to write them to a file, which replaces an earlier trace.
///
/// # Errors
///
/// If the file cannot be created, if another server is writing it, if it contains something other than a
/// trace, or if the thread that writes it cannot be started.
pub(crate) fn start(path: &Path) -> Result<()> {
    let file = open(path).with_context(|| format!("cannot write the trace {}", path.display()))?;
    let (stop, is_stopped) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let mut writer = Writer { file, path: path.to_owned(), len: 0, left_out: 0, has_failed: false };
    let trace = TRACE.get_or_init(|| Trace {
        began: Instant::now(),
        events: Mutex::new(Events { text: first_line(), ..Events::default() }),
        last_lane: AtomicU32::new(0),
        stop: Mutex::new(Some((stop, is_done))),
    });
    writer.flush(trace); // from now on, the file is recognized as a trace
    let started = thread::Builder::new().name("trace".to_owned()).spawn(move || {
        writer.run(trace, &is_stopped);
        drop(done);
    });
    started.context("cannot start the thread that writes the trace")?;
    Ok(())
}

/// Waits until all events so far have been written, for up to two seconds.
pub(crate) fn finish() {
    let Some(trace) = TRACE.get() else { return };
    let stop = trace.stop.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((stop, is_done)) = stop {
        drop(stop);
        let _ = is_done.recv_timeout(LAST_FLUSH); // always an error: nothing is ever sent
    }
}

fn open(path: &Path) -> Result<File> {
    // A write to a FIFO waits for its reader.
    #[cfg(unix)]
    if fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo()) {
        bail!("it is a FIFO, not a file");
    }
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(file); // a device, such as /dev/null
    }
    // Any other error means that the file system does not support locks.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        bail!("another server is writing it");
    }
    let mut beginning = String::new();
    let read = (&file).take(FIRST_LINE.len() as u64).read_to_string(&mut beginning);
    ensure!(read.is_ok() && FIRST_LINE.starts_with(&beginning), "there is something else in it");
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

fn first_line() -> String {
    let program = env::args_os().next().unwrap_or_default();
    let program = Path::new(&program).file_stem().unwrap_or_default().to_string_lossy();
    let (pid, name) = (process::id(), json_string(&program));
    format!(
        "{FIRST_LINE}{}\n",
        format_args!(r#""ph":"M","pid":{pid},"tid":0,"args":{{"name":{name}}}}},"#)
    )
}

/// The thread that writes the events to the file.
struct Writer {
    file: File,
    path: PathBuf,
    len: u64,
    /// How many spans have been left out so far.
    left_out: u64,
    has_failed: bool,
}

impl Writer {
    fn run(mut self, trace: &Trace, is_stopped: &Receiver<()>) {
        loop {
            let stopped = is_stopped.recv_timeout(FLUSH_INTERVAL);
            self.flush(trace);
            if stopped == Err(RecvTimeoutError::Disconnected) {
                return;
            }
        }
    }

    fn flush(&mut self, trace: &Trace) {
        let mut events = trace.events();
        if self.len > MAX_BYTES && !mem::replace(&mut events.is_full, true) {
            warn!("The trace {} ends here: it has {MAX_BYTES} bytes", self.path.display());
        }
        let text = mem::take(&mut events.text);
        let left_out = mem::take(&mut events.left_out);
        let is_full = events.is_full;
        drop(events); // the server need not wait for the disk
        self.left_out += left_out;
        if left_out > 0 && left_out == self.left_out && !is_full {
            warn!(
                "The trace {} lacks {left_out} spans or more: the disk is slow",
                self.path.display()
            );
        }
        if let Err(err) = self.write(&text)
            && !mem::replace(&mut self.has_failed, true)
        {
            warn!("The trace {} lacks spans: {err}", self.path.display());
        }
    }

    /// Appends whole lines. A line never crosses the boundary between two pages: when a process is killed
    /// during a write, Linux may cut the write off there.
    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut padded = String::with_capacity(text.len());
        let mut end = self.len;
        for line in text.split_inclusive('\n') {
            let left_in_page = PAGE - end % PAGE;
            if line.len() as u64 > left_in_page {
                padded.extend((0..left_in_page).map(|_| ' '));
                end += left_in_page;
            }
            padded.push_str(line);
            end += line.len() as u64;
        }
        let written = self.file.write_all(padded.as_bytes());
        if written.is_ok() {
            self.len = end;
        } else {
            // On a full disk, for example, part of a line may have been written: the next write replaces
            // it.
            let truncated = self.file.set_len(self.len);
            let _ = truncated.and_then(|()| self.file.seek(SeekFrom::Start(self.len)));
        }
        written
    }
}

fn json_string(text: &str) -> String {
    let mut json = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if c < ' ' => _ = write!(json, "\\u{:04x}", u32::from(c)),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

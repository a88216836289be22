//! The file: a JSON array that is whole at every moment.
//!
//! Nothing but a write within one page of the file is done at once: at SIGKILL, Linux ends a longer
//! one between two pages, and an array whose end moves with every write would be cut there. So its
//! end stands ahead, behind blanks, and each write puts events where there were blanks, into one page.
//! When there are no blanks left, a copy with more of them takes the file's place.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

/// What ends the array.
const END: &[u8] = b"]\n";

/// How the first event begins.
const FIRST: &str = "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":";

/// The smallest page that a system has; a bigger one has several such parts.
const PAGE: u64 = 4096;

/// So many bytes are copied without a thought, to leave a file without blanks at the end.
const SMALL: u64 = 16 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    /// None while nobody has opened the other end of a FIFO.
    file: Option<File>,
    /// A FIFO or a device takes bytes one after the other; the array's end comes last.
    is_stream: bool,
    /// The place behind the last event.
    len: u64,
    /// The place of the array's end.
    end: u64,
    is_empty: bool,
}

impl Output {
    /// Creates the file, or empties it if there is a trace in it; does not wait for a FIFO's reader.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let why = || format!("cannot write the trace {}", path.display());
        Self::begin(path.to_owned()).with_context(why)
    }

    fn begin(path: PathBuf) -> Result<Self> {
        if is_fifo(&path) {
            return Ok(Self::stream_to(path, None));
        }
        let file = open(&path)?;
        if !file.metadata()?.is_file() {
            return Ok(Self::stream_to(path, Some(file)));
        }
        ensure!(is_trace_or_empty(&file)?, "there is something else in it");
        // Where a link leads to, so that no copy takes the link's place.
        let path = fs::canonicalize(&path)?;
        let _ = fs::remove_file(growing(&path));
        file.set_len(0)?;
        let end = PAGE - END.len() as u64;
        let output =
            Output { path, file: Some(file), is_stream: false, len: 2, end, is_empty: true };
        let mut page = vec![b' '; usize::try_from(end)?];
        page[..2].copy_from_slice(b"[\n");
        page.extend_from_slice(END);
        output.write_at(0, &page)?;
        Ok(output)
    }

    fn stream_to(path: PathBuf, file: Option<File>) -> Self {
        Output { path, file, is_stream: true, len: 0, end: 0, is_empty: true }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Adds events, one a line.
    ///
    /// On an error the last of them are missing, and the array is whole.
    pub(super) fn append(&mut self, events: &str) -> io::Result<()> {
        let mut bytes = Vec::new();
        for event in events.lines() {
            let has_room = (bytes.len() + ",\n".len() + event.len()) as u64 <= self.rest_of_page();
            if !has_room && !self.is_stream {
                self.put(&mut bytes)?;
                self.len = self.len.next_multiple_of(PAGE);
            }
            let is_first = self.is_empty && bytes.is_empty();
            bytes.extend_from_slice(match self.is_stream {
                _ if !is_first => b",\n",
                true => b"[\n",
                false => b"",
            });
            bytes.extend_from_slice(event.as_bytes());
        }
        self.put(&mut bytes)
    }

    fn rest_of_page(&self) -> u64 {
        PAGE - self.len % PAGE
    }

    /// Writes bytes that fit into the rest of the page.
    fn put(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let len = self.len + bytes.len() as u64;
        if self.is_stream {
            self.stream()?.write_all(bytes)?;
        } else {
            if len > self.end {
                self.grow()?;
            }
            self.write_at(self.len, bytes)
                .inspect_err(|_| drop(self.write_at(self.len, &vec![b' '; bytes.len()])))?;
        }
        self.len = len;
        self.is_empty &= bytes.is_empty();
        bytes.clear();
        Ok(())
    }

    /// Ends a stream's array; takes the blanks out of a file, unless it is big.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.is_stream {
            let end: &[u8] = if self.is_empty { b"[\n]\n" } else { b"\n]\n" };
            return self.stream()?.write_all(end);
        }
        if self.len < SMALL {
            self.replace(&mut &b"\n"[..])?;
        }
        Ok(())
    }

    /// Blocks until somebody reads a FIFO.
    fn stream(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::options().write(true).open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }

    /// Makes room for events, at least another page.
    fn grow(&mut self) -> io::Result<()> {
        let end = (2 * (self.end + PAGE)).next_multiple_of(16 * PAGE) - END.len() as u64;
        let used = self.len.min(self.end);
        match self.replace(&mut io::repeat(b' ').take(end - used)) {
            Ok(file) => self.file = Some(file),
            // No permission for another file, or no space for two: then in one write, which a signal
            // may cut.
            Err(_) => self.grow_in_place(end)?,
        }
        self.end = end;
        Ok(())
    }

    /// Puts a copy of all events, with something behind them, in the place of the file.
    fn replace(&self, behind: &mut impl Read) -> io::Result<File> {
        let Some(mut old) = self.file.as_ref() else { return Err(ErrorKind::NotFound.into()) };
        let path = growing(&self.path);
        let _ = fs::remove_file(&path);
        let mut new = File::options().read(true).write(true).create_new(true).open(&path)?;
        lock(&new); // before it is where another server looks
        let mut copy = || {
            new.set_permissions(old.metadata()?.permissions())?;
            old.seek(SeekFrom::Start(0))?;
            io::copy(&mut old.take(self.len.min(self.end)), &mut new)?;
            io::copy(behind, &mut new)?;
            new.write_all(END)?;
            fs::rename(&path, &self.path)
        };
        copy().inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(new)
    }

    fn grow_in_place(&self, end: u64) -> io::Result<()> {
        let mut bytes = vec![b' '; usize::try_from(end - self.end).unwrap_or_default()];
        bytes.extend_from_slice(END);
        self.write_at(self.end, &bytes).inspect_err(|_| {
            let _ = self.write_at(self.end, END);
            let _ = self.file.as_ref().map(|file| file.set_len(self.end + END.len() as u64));
        })
    }

    /// Writes in one call.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        file.seek(SeekFrom::Start(at))?;
        let written = loop {
            match file.write(bytes) {
                Err(err) if err.kind() == ErrorKind::Interrupted => {} // nothing was written
                written => break written?,
            }
        };
        if written < bytes.len() {
            return Err(io::Error::new(ErrorKind::StorageFull, "no space for all of it"));
        }
        Ok(())
    }
}

/// Opens a file or a device, and changes nothing in it; a file is locked until it is closed.
fn open(path: &Path) -> Result<File> {
    // As often as its writer may have put a copy in its place before it was locked.
    for _ in 0..3 {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).or_else(|err| {
            // Not every device can be read.
            let device = File::options().write(true).open(path).ok();
            device.filter(|file| file.metadata().is_ok_and(|about| !about.is_file())).ok_or(err)
        })?;
        // Any number of servers may write to a device.
        if !file.metadata()?.is_file() {
            return Ok(file);
        }
        if !lock(&file) {
            break;
        }
        if is_at(path, &file) {
            return Ok(file);
        }
    }
    bail!("another server is writing it")
}

/// Locks a file until it is closed; `false` if another process has done so. Where there are no
/// locks, nobody has.
fn lock(file: &File) -> bool {
    // On Windows, a lock would keep out those who read the file, too.
    cfg!(windows) || !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

#[cfg(unix)]
fn is_at(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (there, here) = (fs::metadata(path), file.metadata());
    let id = |about: fs::Metadata| (about.dev(), about.ino());
    matches!((there.map(id), here.map(id)), (Ok(there), Ok(here)) if there == here)
}

#[cfg(not(unix))]
fn is_at(_path: &Path, _file: &File) -> bool {
    true
}

/// Whether a file may be emptied.
fn is_trace_or_empty(file: &File) -> io::Result<bool> {
    let mut page = Vec::new();
    file.take(PAGE).read_to_end(&mut page)?;
    let Some(events) = page.strip_prefix(b"[\n") else { return Ok(page.is_empty()) };
    Ok(events.starts_with(FIRST.as_bytes()) || events.trim_ascii() == b"]")
}

/// Where a file's copy is made. It stays when the process is killed meanwhile.
fn growing(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".growing");
    path.into()
}

#[cfg(unix)]
fn is_fifo(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo())
}

#[cfg(not(unix))]
fn is_fifo(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Appends events of many lengths, and reads the file after each.
    fn fill(path: &Path) {
        let mut output = Output::create(path).unwrap();
        let mut events = Vec::new();
        assert_eq!(array(path), events);
        let first = format!("{FIRST}1}}");
        output.append(&first).unwrap();
        events.push(serde_json::from_str(&first).unwrap());
        for len in (1..3000).step_by(37) {
            let event = "x".repeat(len);
            output.append(&format!("\"{event}\"\n")).unwrap();
            events.push(Value::String(event));
            assert_eq!(array(path), events);
        }
        output.append(&"\"short\"\n".repeat(2000)).unwrap();
        events.extend(vec!["short".into(); 2000]);
        assert_eq!(array(path), events);
        output.end().unwrap();
        assert_eq!(array(path), events);
    }

    fn array(path: &Path) -> Vec<Value> {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn the_file_is_an_array_after_every_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        fill(&path);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fill(&path); // again, over the old one
        assert!(fs::read_to_string(&path).unwrap().ends_with("\"short\"\n]\n")); // no blanks
    }

    #[test]
    fn the_file_grows_also_where_no_second_can_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        fs::create_dir_all(growing(&path).join("in the way")).unwrap();
        // What has been put into one write is still whole; only its end keeps its blanks.
        let mut output = Output::create(&path).unwrap();
        for _ in 0..10_000 {
            output.append("\"event\"\n").unwrap();
        }
        assert_eq!(array(&path).len(), 10_000);
    }

    #[test]
    fn what_is_no_trace_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        for text in ["import socket\n", "[\n", "[\n1\n]\n", "[{}]\n", "\n"] {
            fs::write(&path, text).unwrap();
            let err = Output::create(&path).unwrap_err();
            assert!(format!("{err:#}").ends_with(": there is something else in it"));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, "").unwrap();
        drop(Output::create(&path).unwrap());
        Output::create(&path).unwrap(); // over one without events
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_one_writer_and_a_device_any_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        let mut output = Output::create(&path).unwrap();
        for _ in 0..3 {
            let before = fs::read(&path).unwrap();
            let err = Output::create(&path).unwrap_err();
            assert!(format!("{err:#}").ends_with(": another server is writing it"));
            assert_eq!(fs::read(&path).unwrap(), before);
            output.grow().unwrap(); // the copy is locked as well
        }
        let null = Path::new("/dev/null");
        let _both = (Output::create(null).unwrap(), Output::create(null).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("trace.json"), folder.path().join("link"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::write(&path, "").unwrap();
        fill(&link);
        assert!(link.is_symlink() && path.is_file());
    }
}

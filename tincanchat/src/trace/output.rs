//! The file: a JSON array that is whole after every write.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// What ends the array.
const END: &[u8] = b"\n]\n";

#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    /// None while nobody has opened the other end of a FIFO.
    file: Option<File>,
    /// A FIFO or a device has no going back to its last bracket, so that it comes at the end.
    is_stream: bool,
    /// How many bytes of events there are, and so where the array's end stands.
    len: u64,
}

impl Output {
    /// Creates the file or empties it; does not wait for a FIFO's reader.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let mut output = Output { path: path.to_owned(), file: None, is_stream: true, len: 0 };
        if !is_fifo(path) {
            let why = || format!("cannot write a trace to {}", path.display());
            let file = File::create(path).with_context(why)?;
            output.is_stream = !file.metadata().with_context(why)?.is_file();
            output.file = Some(file);
        }
        Ok(output)
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

    /// Adds events, separated by commas. On an error the file is as it was.
    ///
    /// All goes out in one call, in which the new events take the place of the array's end and bring
    /// their own. Linux ends a call early for the sake of SIGKILL only between two pages: a matter
    /// of microseconds, in which a file can still be cut. Viewers do without the last bracket.
    pub(super) fn append(&mut self, events: &str) -> io::Result<()> {
        let is_first = self.len == 0;
        let mut bytes = Vec::with_capacity(events.len() + 2 + END.len());
        bytes.extend_from_slice(if is_first { b"[\n" } else { b",\n" });
        bytes.extend_from_slice(events.as_bytes());
        let len = self.len + bytes.len() as u64;
        if self.is_stream {
            self.stream()?.write_all(&bytes)?;
        } else {
            bytes.extend_from_slice(END);
            self.replace_end(&bytes).inspect_err(|_| self.mend())?;
        }
        self.len = len;
        Ok(())
    }

    /// Ends a stream's array.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.is_stream && self.len > 0 { self.stream()?.write_all(END) } else { Ok(()) }
    }

    /// Blocks until somebody reads a FIFO.
    fn stream(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::options().write(true).open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }

    fn replace_end(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(mut file) = self.file.as_ref() else { return Ok(()) };
        file.seek(SeekFrom::Start(self.len))?;
        match file.write(bytes)? {
            n if n == bytes.len() => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::StorageFull, "no space for all of it")),
        }
    }

    /// Puts the array's end back where it was: where there was room for it, there is room for it.
    fn mend(&self) {
        if let Some(mut file) = self.file.as_ref()
            && self.len > 0
        {
            let end = self.len + END.len() as u64;
            let _ = file.seek(SeekFrom::Start(self.len)).and_then(|_| file.write_all(END));
            let _ = file.set_len(end);
        }
    }
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

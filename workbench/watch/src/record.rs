//! Samples a server in a thread of its own, while other threads talk to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};

use crate::lanes::Lanes;
use crate::sample::{Sampler, is_possible};
use crate::text::{Span, View, draw};
use probe::procfs::Processes;

/// A recording of the states of a server's threads, from [`begin`](Self::begin) to [`end`](Self::end).
#[derive(Debug)]
pub struct Recording {
    has_ended: Arc<AtomicBool>,
    sampling: JoinHandle<Lanes>,
}

impl Recording {
    /// Starts to sample. Returns `None` on a system that does not show the states of threads.
    #[must_use]
    pub fn begin(roots: Processes) -> Option<Self> {
        is_possible().then(|| {
            let has_ended = Arc::new(AtomicBool::new(false));
            let end = Arc::clone(&has_ended);
            let sampling = spawn(move || {
                let mut sampler = Sampler::new(roots);
                let mut lanes = Lanes::default();
                while !end.load(Ordering::Relaxed) {
                    let begin = sampler.elapsed();
                    sampler.sample(&mut lanes);
                    sleep((begin + sampler.interval()).saturating_sub(sampler.elapsed()));
                }
                lanes
            });
            Self { has_ended, sampling }
        })
    }

    /// Ends the recording, and draws it as text without colours, in at most `rows` lanes.
    #[must_use]
    pub fn end(self, width: usize, rows: usize) -> String {
        self.has_ended.store(true, Ordering::Relaxed);
        let Ok(lanes) = self.sampling.join() else { return String::new() };
        if lanes.all().is_empty() {
            return String::new();
        }
        let drawing = draw(&lanes, &View { span: Span::All, width, rows });
        let (letters, notes) = (drawing.legend.letters(width), drawing.legend.notes(width));
        let mut text = String::new();
        for line in drawing.lines.iter().chain(&letters).chain(&notes) {
            text += &anstream::adapter::strip_str(line).to_string();
            text.push('\n');
        }
        text
    }
}

//! Looks at a server from a thread of its own, while others talk to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};

use crate::lanes::Lanes;
use crate::sample::{Sampler, is_possible};
use crate::text::{Frame, Span, picture};
use probe::procfs::Whom;

/// A record of what the threads of a server do, from now until it is ended.
#[derive(Debug)]
pub struct Recording {
    is_over: Arc<AtomicBool>,
    looks: JoinHandle<Lanes>,
}

impl Recording {
    /// Begins to look; nothing where the system tells nothing.
    #[must_use]
    pub fn begin(whom: Whom) -> Option<Self> {
        is_possible().then(|| {
            let is_over = Arc::new(AtomicBool::new(false));
            let over = Arc::clone(&is_over);
            let looks = spawn(move || {
                let mut sampler = Sampler::new(whom);
                let mut lanes = Lanes::default();
                while !over.load(Ordering::Relaxed) {
                    let begin = sampler.elapsed();
                    sampler.look(&mut lanes);
                    sleep((begin + sampler.pace()).saturating_sub(sampler.elapsed()));
                }
                lanes
            });
            Self { is_over, looks }
        })
    }

    /// Ends it, and draws all that was seen.
    #[must_use]
    pub fn end(self, width: usize, rows: usize) -> String {
        self.is_over.store(true, Ordering::Relaxed);
        let Ok(lanes) = self.looks.join() else { return String::new() };
        if lanes.all().is_empty() {
            return String::new();
        }
        let drawn = picture(&lanes, &Frame { span: Span::All, width, rows });
        let mut text = String::new();
        let (legend, notes) = (drawn.seen.legend(width), drawn.seen.notes(width));
        for line in drawn.lanes.iter().chain(&legend).chain(&notes) {
            text += &anstream::adapter::strip_str(line).to_string();
            text.push('\n');
        }
        text
    }
}

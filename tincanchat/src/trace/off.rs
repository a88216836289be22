//! Spans where there is no command line to ask for a trace: nothing.

// The same functions as where there is one.
#![allow(clippy::unused_self)]

use std::io;

#[derive(Debug)]
pub(crate) struct Span;

pub(crate) fn span(_name: &'static str) -> Span {
    Span
}

pub(crate) fn name_lane(_name: impl FnOnce() -> String) {}

impl Span {
    pub(crate) fn over<T>(self, result: T) -> T {
        result
    }

    pub(crate) fn has_bytes(&self, _bytes: usize) {}

    pub(crate) fn has_result(&self, _result: &io::Result<usize>) {}

    pub(crate) fn of_bytes(self, _bytes: usize) -> Self {
        self
    }
}

#[derive(Debug, Default)]
#[cfg(feature = "async")]
pub(crate) struct TaskLane;

#[cfg(feature = "async")]
impl TaskLane {
    pub(crate) fn named(_name: impl FnOnce() -> String) -> Self {
        TaskLane
    }

    pub(crate) fn enter(&mut self) -> Entered {
        Entered
    }
}

#[cfg(feature = "async")]
pub(crate) struct Entered;

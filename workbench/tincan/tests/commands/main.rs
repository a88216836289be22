//! Tests each command of `tincan` as its user sees it: one module for each, in one program, so that the tests that
//! wait run at the same time as the tests that do not.
#![allow(clippy::unwrap_used)]

mod harness;
#[cfg(target_os = "linux")]
mod on_terminal;

mod book;
mod check;
mod diff;
mod exercise;
mod grade;
mod lab;
mod outside;
mod ports;
mod rerun;
mod servers;
mod tour;
mod watch;
mod watch_trace;

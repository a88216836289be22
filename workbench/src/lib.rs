//! Checks, measures and draws any server.

pub mod lab;

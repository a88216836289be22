//! Measured comparisons of servers.

pub mod load;

//! Gets information about processes and sockets from Linux. On other systems, the functions return nothing.

pub mod procfs;
pub mod sockdiag;

//! Gets information about processes and sockets from Linux. On other systems, there is none.

pub mod procfs;
pub mod sockdiag;

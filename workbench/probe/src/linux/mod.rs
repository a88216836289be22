//! What Linux tells about processes and sockets.

pub mod procfs;
pub mod sockdiag;

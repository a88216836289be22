//! Where a measured server comes from.

/// Where a server comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is a stage or a variation of this project.
    Project,
    /// The user named it with `--mine`.
    User,
    /// It is measured for comparison: a server of another project, or a small C program.
    Peer,
}

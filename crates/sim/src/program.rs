//! What the program at one end does: how it writes, how it reads, and how it ends.

use sidestep_shm::Nanos;

/// How a program lets go of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// When all is written, shutdown(2) for writing; when the other end has done the same, close(2).
    Orderly,
    /// close(2) as soon as all is written, without reading what may come.
    Hasty,
    /// Abort (a reset) once so many bytes were written.
    Abort(usize),
}

/// All that a program does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes to write.
    pub total_bytes: usize,
    /// Bytes of each write.
    pub write_bytes: usize,
    /// Time between writes; with zero it writes whenever there is room.
    pub write_pause: Nanos,
    /// Most bytes of each read.
    pub read_bytes: usize,
    /// Time between reads; with zero it reads whatever comes at once.
    pub read_pause: Nanos,
    /// TCP_NODELAY.
    pub nodelay: bool,
    /// Says for every other write that more follows (MSG_MORE).
    pub more: bool,
    /// How it ends.
    pub ending: Ending,
}

impl Plan {
    /// Writes so much as fast as it can, reads all.
    pub const fn bulk(total_bytes: usize) -> Self {
        Self {
            total_bytes,
            write_bytes: 64 << 10,
            write_pause: Nanos::ZERO,
            read_bytes: 1 << 20,
            read_pause: Nanos::ZERO,
            nodelay: false,
            more: false,
            ending: Ending::Orderly,
        }
    }
}

//! Memory that several processes share, and nothing about networks.
//!
//! This crate owns all unsafe code that touches such memory: mapped [`Region`]s, the plain tables carved out
//! of them ([`Layout`], [`Carver`]), the robust [`Lock`](lock::LockWord) around a stack's tables ([`Locked`]),
//! bytes that somebody else may be writing while we read ([`Foreign`], [`ForeignMut`]), the pool of data
//! buffers ([`ChunkPool`]), the index allocator ([`FreeList`]), wake-ups ([`EventFd`]), our own high-numbered
//! descriptors ([`Fd`]), the clock ([`Clock`]) and who has [ended](has_ended). It knows no packet, no socket and no agent.
//!
//! What lies in shared memory is plain data: `repr(C)`, any bit pattern valid, `u32` indices for pointers,
//! capacities fixed at creation. [`NONE`] is the index of nothing.

pub mod atomic;
pub mod barrier;
mod carve;
mod chunks;
mod clock;
mod ended;
mod event;
mod fds;
mod foreign;
mod freelist;
pub mod lock;
mod locked;
mod prefetch;
mod region;
mod steps;

pub use carve::{Carver, Layout, Span};
pub use chunks::{CHUNK_BYTES, ChunkId, ChunkMeta, ChunkPool, ChunkQueue, PoolHead, SENDING, Use};
pub use clock::{Clock, Nanos};
pub use ended::{among_strangers, has_ended};
pub use event::{EventFd, is_eventfd};
pub use fds::{Fd, internal_fds, is_internal};
pub use foreign::{Foreign, ForeignMut};
pub use freelist::FreeList;
pub use lock::{Owner, Retired};
pub use locked::{Guard, Locked};
pub use prefetch::{Ahead, demote, demotes, prefetch};
pub use region::Region;
pub use steps::Steps;

/// The index of nothing, in every table and list.
pub const NONE: u32 = u32::MAX;

/// Bytes in a cache line; what two cores write apart lies this far apart.
pub const CACHE_LINE: usize = 64;

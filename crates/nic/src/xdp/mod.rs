//! The AF_XDP driver: frames of one queue of any Linux interface, past the kernel's stack.
//!
//! ```text
//!   UMEM, a memfd    receiving buffers                    sending buffers
//!                    fill ring  ── empty ──▶ kernel       tx ring          ── frames ──▶ kernel
//!                    rx ring    ◀─ frames ── kernel       completion ring  ◀── empty ─── kernel
//! ```
//!
//! [`Socket::create`] makes socket, memory and rings, and [`Socket::bind`] ties them to a queue; both need privilege.
//! [`Xdp`] is the [`Port`](crate::Port): a [`State`], which lies in the stack's shared memory, and an [`Attachment`],
//! which each process makes of the two descriptors and which needs none. Which frames come is not decided here but by
//! an XDP program on the interface that redirects them to the socket.
//!
//! The number of buffers never changes: half of the way of each is in the kernel's hands, half in ours, and each ring
//! has room for all of its kind, so none overflows. The completion ring is the list of free sending buffers: it is read
//! when one is needed, not before. What rings say is copied once, checked and used: nonsense is counted, and a ring
//! whose indices make no sense ends the port.

mod attach;
mod driver;
mod layout;
mod socket;
mod state;
mod sys;

pub use attach::{Attachment, KernelCounters};
pub use driver::{Link, Xdp};
pub use layout::{Geometry, LOG2_BUFFERS_MAX, LOG2_BUFFERS_MIN};
pub use socket::{BusyPoll, Copying, OpenError, Options, Report, Socket, can_busy_poll, is_there};
pub use state::State;

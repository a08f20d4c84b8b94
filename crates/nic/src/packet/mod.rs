//! The packet socket driver: frames of a Linux interface by rings that the kernel copies to and from (`AF_PACKET`,
//! `TPACKET_V2`), for kernels without AF_XDP and interfaces without room for it.
//!
//! ```text
//!   rx ring     slots, each a header and a frame    kernel ── TP_STATUS_USER ──▶ us ── TP_STATUS_KERNEL ──▶ kernel
//!   tx ring     slots, each a header and a frame    us ── TP_STATUS_SEND_REQUEST ──▶ kernel ── TP_STATUS_AVAILABLE ──▶ us
//! ```
//!
//! [`open`] makes socket and rings, and needs privilege. [`Packet`] is the [`Port`](crate::Port): a [`State`], which
//! lies in the stack's shared memory, and an [`Attachment`], which each process makes of the one descriptor and which needs
//! none. A slot's first word says whose it is, so positions need not be published.
//!
//! The kernel merges segments before packet sockets see them. Such a frame is longer than a slot, and is read from the
//! socket, in its turn. A VLAN tag, which the kernel takes out of frames, is put back.
//!
//! A packet socket sees all frames of its interface, and the kernel goes on to look at them, too. So it belongs on an
//! interface to which only the stack's frames are sent: the far end of a veth.

mod attach;
pub(crate) mod cutter;
mod driver;
mod layout;
mod socket;
mod state;
mod sys;

pub use attach::Attachment;
pub use cutter::open_cutter;
pub use driver::Packet;
pub use layout::Geometry;
pub use socket::{OpenError, Options, frames_lost, open};
pub use state::State;

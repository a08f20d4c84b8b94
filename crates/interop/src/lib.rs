//! TCP of this stack and of Linux, against each other and each for itself, over the same bad link in real time.
//!
//! ```text
//!   Linux in a namespace ── TUN ─┐                  ┌─ TUN ── Linux in another
//!                                ├─ link and back ──┤
//!   our stack ── memif ──────────┘                  └─ memif ── our stack
//! ```
//! All runs on one thread: packets are taken from the hosts, the rule of [`sidestep_nic::fault`] says what becomes of
//! each, and programs that never wait use the hosts' sockets. What Linux does over a link is so measured by the same
//! rule, in the same program and at the same time as what we do. Namespaces and TUN devices need root.
//!
//! | file | of |
//! | --- | --- |
//! | `host`, `kernel`, `ours` | what a host is, and the two kinds of them |
//! | `lab` | hosts, the link between them, and time |
//! | `calls`, `stream` | programs: requests and answers; bytes for as long as it lasts |
//! | `trial` | one measurement |
//! | `table` | many, beside each other |

mod calls;
mod host;
mod kernel;
mod lab;
mod ours;
mod stream;
mod sys;
pub mod table;
mod trial;

pub use calls::Calls;
pub use trial::{Flow, Tcp, Trial, fairness};

//! What the kernel's network configuration says, followed live: links, addresses, routes and neighbours of one network
//! namespace, by rtnetlink.
//!
//! The kernel stays the owner of configuration; this crate reads it and decides nothing. It knows no stack and no
//! agent, starts no thread, and is not for the fast path: it allocates and makes system calls.
//!
//! | | |
//! | --- | --- |
//! | [`Config`] | a [`Picture`] of links, addresses and neighbours that follows the kernel's notifications, each told as a [`Change`] |
//! | [`Picture::carrier`] | which interface at the bottom carries the frames of a link, and with which VLAN tag |
//! | [`Picture::receivers`] | which links receive the frames that arrive at an interface |
//! | [`Routes`] | looks up one route, by asking the kernel for its own decision |
//! | [`Neighbours`] | makes the kernel resolve a neighbour, and tells it that one answers |
//! | [`Cables`] | lays virtual cables, the one thing that is changed here |
//!
//! For a packet: [`Routes::lookup`] says link, source and gateway; [`Picture::neighbour`] of that link and of the
//! gateway (or destination) says the hardware address, if not after [`Neighbours::resolve`];
//! [`Picture::carrier`] says by which interfaces the frame goes. Each holds until a [`Change`] touches it.
//!
//! Notifications that the kernel could not deliver (ENOBUFS) make [`Config`] read everything anew and tell the
//! differences, so that the picture is right again however many were lost.
//!
//! ```no_run
//! use sidestep_netlink::{Config, Options, Query, Routes};
//!
//! # fn main() -> Result<(), sidestep_netlink::Error> {
//! let mut config = Config::open(&Options::default())?;
//! let mut routes = Routes::open()?;
//! // Whenever `config.fd()` is readable:
//! for change in config.process()? {
//!     println!("{change:?}");
//! }
//! let route = routes.lookup(&Query::to([192, 0, 2, 1].into()))?;
//! println!("{route:?}, at most {:?} bytes", config.picture().mtu_of(&route));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod address;
mod cables;
mod carrier;
mod change;
mod config;
mod error;
mod link;
mod neighbour;
mod neighbours;
mod picture;
mod requests;
mod routes;
mod socket;

pub use address::{Address, Scope};
pub use cables::Cables;
pub use carrier::{Carrier, Descent, NoCarrier, Receiver};
pub use change::Change;
pub use config::{Config, Options};
pub use error::Error;
pub use link::{BondMode, Link, LinkKind};
pub use neighbour::{Neighbour, NeighbourState};
pub use neighbours::Neighbours;
pub use picture::Picture;
pub use routes::{Flow, Query, Route, RouteKind, Routes};

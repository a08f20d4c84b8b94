//! Which frames the steering program hands to an AF_XDP socket, and which go on to the kernel.
//!
//! Needs root, iproute2 and ethtool. Run by `cargo test -p sidestep-nic --test steering -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod behind;
mod bench;
mod errors;
mod flows;
mod groups;
mod hops;
mod internet;
#[path = "../xdp_ends/mod.rs"]
mod xdp_ends;

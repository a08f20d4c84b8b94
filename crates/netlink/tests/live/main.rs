//! The kernel's configuration followed live, in network namespaces that each test makes.
//!
//! Needs root and iproute2. Run by `cargo test -p sidestep-netlink --test live -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod carriers;
mod follow;
mod links;
mod neighbours;
mod overrun;
mod routes;

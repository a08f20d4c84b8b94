//! The stack as its callers see it, one end to the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broken;
mod carriers;
mod closing;
mod datagrams;
mod devices;
mod ecn;
mod exhaustion;
mod express;
mod fast_open;
mod faults;
mod harness;
mod lan;
mod memory;
mod networks;
mod notices;
mod paths;
mod queues;
mod readiness;
mod slots;
mod stations;
mod streams;
mod timers;
mod vlans;
mod wires;

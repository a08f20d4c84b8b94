//! Segments, socket calls and time, to a connection and to a reference of RFC 9293 beside it.
//!
//! The bytes say how the connection is opened, then one happening after another.
#![no_main]

#[path = "../../crates/tcp/tests/model/reference.rs"]
mod reference;
#[path = "../../crates/tcp/tests/model/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| script::play(data));

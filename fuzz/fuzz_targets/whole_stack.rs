//! Calls, frames and time, to two whole stacks on one network; a frame may be lost, changed, forged.
//!
//! The bytes say what the stacks begin with, then one happening after another.
#![no_main]

#[path = "../../crates/stack/tests/whole/cable.rs"]
mod cable;
#[path = "../../crates/stack/tests/whole/end.rs"]
mod end;
#[path = "../../crates/stack/tests/whole/input.rs"]
mod input;
#[path = "../../crates/stack/tests/whole/script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| script::play(data));

//! A frame from the link, through every parser of `sidestep-wire` that its bytes lead to.
//!
//! The first byte says how much of the frame the receiver looks at; the rest is the frame.
#![no_main]

#[path = "../../crates/wire/tests/walk/mod.rs"]
mod walk;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((seen, frame)) = data.split_first() else {
        return;
    };
    // Mostly what a stack copies, sometimes less.
    let seen = if *seen >= 128 {
        128
    } else {
        usize::from(*seen)
    };
    walk::walk(frame, seen);
});

//! Two whole stacks on one network, with whatever calls, whatever becomes of frames on their way, and whatever time
//! passes. The fuzz target `whole_stack` plays the same scripts.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test fails by panicking; numbers of a script are cut to what they are for"
)]

mod cable;
mod end;
mod input;
mod script;

use script::play;

/// Scripts that are made up.
const SCRIPTS: u64 = 800;
/// Most bytes in one.
const BYTES_MAX: u64 = 500;

#[test]
fn stacks_stay_sound_in_scripts_that_are_made_up() {
    for seed in 1..=SCRIPTS {
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let len = next() % BYTES_MAX;
        let bytes: Vec<u8> = (0..len).map(|_| (next() >> 24) as u8).collect();
        play(&bytes);
    }
}

#[test]
fn stacks_stay_sound_in_scripts_that_were_found() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/whole_stack");
    let mut scripts = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        play(&std::fs::read(entry.unwrap().path()).unwrap());
        scripts += 1;
    }
    assert!(scripts > 0, "there are none in {corpus}");
}

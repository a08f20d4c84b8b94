//! What packetdrill loads to play its scripts over Sidestep (`packetdrill --so_filename=…`): the calls of
//! `sidestep-exports`, as programs make them, over a network that the tool plays, in virtual time.
//!
//! The tool's `packetdrill.h` is the interface. Its flags (`--so_flags`) are `mtu=BYTES`.
#![expect(unsafe_code, reason = "functions that a C program calls")]

mod interface;

use core::ffi::{CStr, c_char};
use interface::Interface;
use sidestep_socket::{Nanos, Stage, process};

/// When virtual time begins: long after the origin, so that nothing looks as if it had been for ever.
const BEGIN: Nanos = Nanos::from_secs(100_000);
/// What the network carries if nothing else is said.
const MTU: u32 = 1500;

/// Called by the tool once, before anything else.
///
/// # Safety
/// `flags` is null or a C string, `interface` the tool's own structure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(
    flags: *const c_char,
    interface: *mut Interface,
) {
    let flags = if flags.is_null() {
        c""
    } else {
        // SAFETY: the tool passes a string.
        unsafe { CStr::from_ptr(flags) }
    };
    let mtu = mtu(&flags.to_string_lossy());
    if let Err(error) = process().rehearse(Stage { begin: BEGIN, mtu }) {
        eprintln!("sidestep: {error}");
        std::process::exit(1);
    }
    // SAFETY: the tool passes room for it.
    unsafe { interface.write(interface::INTERFACE) };
}

fn mtu(flags: &str) -> u32 {
    let said = flags.split(',').find_map(|flag| flag.strip_prefix("mtu="));
    said.and_then(|mtu| mtu.parse().ok()).unwrap_or(MTU)
}

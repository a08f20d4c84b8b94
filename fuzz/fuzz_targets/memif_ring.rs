//! The memif driver on memory whose other end is hostile: it writes rings and buffers whenever it likes, between our
//! calls and in the middle of them.
//!
//! The input is a script. Its first byte chooses the kind of link, the rest are steps, each an operation with its
//! arguments.
#![no_main]

mod hostile;
mod script;

use hostile::{BUFFER_BYTES, LOG2_SLOTS, Peer};
use libfuzzer_sys::fuzz_target;
use script::Script;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{EventFd, Region};
use std::sync::Arc;

/// Length of a stranger's second region.
const EXTRA_BYTES: usize = 4096;

/// A wire with us at either end, the memory of our slave, or that of a strange one whose master we are.
fn run(script: &mut Script<'_>) -> Option<()> {
    let kind = script.byte();
    let role = if kind & 1 == 0 {
        Role::Slave
    } else {
        Role::Master
    };
    let stranger = kind & 2 != 0;
    let lay_out = if stranger {
        Geometry::slave
    } else {
        Geometry::wire
    };
    let mut geometry = lay_out(LOG2_SLOTS, BUFFER_BYTES)?;
    let region = Arc::new(wire::create(&geometry).ok()?);
    let peer = Peer {
        region: &region,
        geometry,
        longest_bytes: region.bytes(),
    };
    let mut regions = vec![Arc::clone(&region)];
    if stranger && role == Role::Master {
        regions.push(Arc::new(Region::private(EXTRA_BYTES).ok()?));
        geometry = Geometry::foreign(geometry.s2m, geometry.m2s);
        // Attaching reads the ring that we send on: its first buffer says how long all are.
        peer.write(script);
    }
    let bell = EventFd::new().ok()?;
    let at = if stranger {
        Attachment::new(regions, &geometry, role, Some(bell))
    } else {
        Attachment::for_wire(Arc::clone(&region), &geometry, role, bell)
    };
    let (at, mut state) = (at.ok()?, State::new(role, &geometry));
    let mut port = Memif::new(&mut state, &at);
    while !script.0.is_empty() {
        peer.step(&mut port, script);
    }
    Some(())
}

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Script(data));
});

//! What the targets for memif share: a peer that writes our memory, and a user of our end, as a script says.

use crate::script::Script;
use sidestep_nic::Port;
use sidestep_nic::memif::{Geometry, Memif, RingPlace};
use sidestep_shm::{Foreign, Region};

/// Slots of the rings, as a power of two, and the bytes in a buffer.
pub const LOG2_SLOTS: u8 = 3;
pub const BUFFER_BYTES: u32 = 256;

const SLOTS: usize = 1 << LOG2_SLOTS;
/// Bytes of a ring's header, and of a descriptor.
const HEADER_BYTES: usize = 128;
const DESC_BYTES: usize = 16;
/// Longest frame that is sent.
const SEND_BYTES_MAX: usize = 2048;

/// The peer, as far as it can reach into the memory of a link.
pub struct Peer<'a> {
    /// The region with the rings.
    pub region: &'a Region,
    /// Where they lie.
    pub geometry: Geometry,
    /// The longest region of the link.
    pub longest_bytes: usize,
}

impl Peer<'_> {
    /// Writes a field of a ring's header or of a descriptor, or any few bytes anywhere.
    pub fn write(&self, script: &mut Script<'_>) {
        let choice = script.byte();
        let geometry = &self.geometry;
        let place: RingPlace = if choice & 1 == 0 {
            geometry.s2m
        } else {
            geometry.m2s
        };
        let ring = place.offset as usize;
        let desc = ring + HEADER_BYTES + (choice >> 4) % SLOTS * DESC_BYTES;
        let (at, bytes) = match (choice >> 1) % 8 {
            0 => (ring + 4, 2),
            1 => (ring + 6, 2),
            2 => (ring + 64, 2),
            3 => (desc, 2),
            4 => (desc + 2, 2),
            5 => (desc + 4, 4),
            6 => (desc + 8, 4),
            _ => (script.word(), choice >> 4),
        };
        let value = script.split(bytes);
        if let Some(mut target) = self.region.foreign_mut(at, value.len()) {
            target.copy_from(value);
        }
    }

    /// One step of the script: something that we do with our end, or something that the peer does.
    pub fn step(&self, port: &mut Memif<'_>, script: &mut Script<'_>) {
        match script.byte() % 8 {
            0 | 1 => self.write(script),
            2 => self.receive(port, script),
            3 | 4 => self.send(port, script),
            5 => port.tx_flush(),
            6 => port.rx_wakeups(script.byte() & 1 != 0),
            _ => {
                assert!(port.tx_room() <= SLOTS);
                let _ = port.rx_pending();
            }
        }
        if port.is_broken() {
            assert!(!port.rx_pending());
            assert_eq!(port.rx_batch(0, |_| unreachable!("none were asked for")), 0);
        }
    }

    fn receive(&self, port: &mut Memif<'_>, script: &mut Script<'_>) {
        let frames_max = script.byte() % (2 * SLOTS);
        let frames = port.rx_batch(frames_max, |frame| {
            assert!(frame.len() <= self.longest_bytes.max(usize::from(u16::MAX)));
            read_all(frame);
            if script.byte() & 1 != 0 {
                self.write(script);
            }
            read_all(frame);
        });
        assert!(frames <= frames_max);
    }

    fn send(&self, port: &mut Memif<'_>, script: &mut Script<'_>) {
        let bytes = script.word() % SEND_BYTES_MAX;
        let too_long = bytes > port.caps().frame_bytes_max;
        let sent = port.tx(bytes, |mut room| {
            assert_eq!(room.len(), bytes);
            self.write(script);
            room.copy_from(&[0x5a; SEND_BYTES_MAX][..bytes]);
        });
        assert!(!(sent && too_long));
    }
}

/// Reads to the last byte, so that a frame that reaches out of the mapping faults.
fn read_all(frame: Foreign<'_>) {
    let sum = frame.fold(0_u8, |sum, block| {
        block.iter().fold(sum, |sum, byte| sum ^ byte)
    });
    std::hint::black_box(sum);
}

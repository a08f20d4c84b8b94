//! The memif driver against itself over one wire, and against a peer that writes garbage into it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use sidestep_nic::Port;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{EventFd, Foreign, Region};
use std::sync::Arc;

struct End {
    state: State,
    at: Attachment,
    /// What wakes this end.
    rx_event: EventFd,
}

impl End {
    fn port(&mut self) -> Memif<'_> {
        Memif::new(&mut self.state, &self.at)
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        self.port().tx(frame.len(), |mut room| {
            assert_eq!(room.copy_from(frame), frame.len())
        })
    }

    fn receive(&mut self, frames_max: usize) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let n = self
            .port()
            .rx_batch(frames_max, |frame| frames.push(copy(frame)));
        assert_eq!(n, frames.len());
        frames
    }
}

fn copy(frame: Foreign<'_>) -> Vec<u8> {
    let mut bytes = vec![0; frame.len()];
    assert_eq!(frame.copy_to(&mut bytes), bytes.len());
    bytes
}

fn ends(geometry: &Geometry, region: &Arc<Region>) -> [End; 2] {
    let bells = [EventFd::new().unwrap(), EventFd::new().unwrap()];
    let other = |i: usize| {
        use std::os::fd::AsFd;
        EventFd::attach(bells[1 - i].as_fd().try_clone_to_owned().unwrap()).unwrap()
    };
    let doorbells = [other(0), other(1)];
    let mut bells = bells.into_iter();
    let mut doorbells = doorbells.into_iter();
    [Role::Master, Role::Slave].map(|role| End {
        state: State::new(role, geometry),
        at: Attachment::for_wire(
            Arc::clone(region),
            geometry,
            role,
            doorbells.next().unwrap(),
        )
        .unwrap(),
        rx_event: bells.next().unwrap(),
    })
}

fn wire_of(log2_slots: u8, buffer_bytes: u32) -> (Geometry, Arc<Region>, [End; 2]) {
    let geometry = Geometry::wire(log2_slots, buffer_bytes).unwrap();
    let region = Arc::new(wire::create(&geometry).unwrap());
    let ends = ends(&geometry, &region);
    (geometry, region, ends)
}

/// A frame that is recognised by its number.
fn frame(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|i| u8::try_from((number * 31 + i * 7 + i / 251) & 0xff).unwrap())
        .collect()
}

/// Small numbers from a seed, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() >> 11).unwrap() % n
    }
}

#[test]
fn frames_of_all_sizes_arrive_in_order_both_ways() {
    let (_, _, mut ends) = wire_of(4, 2048);
    for from in [0, 1] {
        for bytes in (0..=2048).step_by(7).chain([2047, 2048]) {
            assert!(ends[from].send(&frame(bytes, bytes)));
            ends[from].port().tx_flush();
            assert_eq!(ends[1 - from].receive(9), [frame(bytes, bytes)]);
        }
        let stats = [ends[from].port().stats(), ends[1 - from].port().stats()];
        assert_eq!(
            (stats[0].tx_frames, stats[0].tx_bytes),
            (stats[1].rx_frames, stats[1].rx_bytes)
        );
        assert!(stats[1].rx_frames > 290 && stats[1].rx_malformed == 0);
    }
}

#[test]
fn nothing_arrives_before_the_flush() {
    let (_, _, mut ends) = wire_of(4, 2048);
    assert!(ends[0].send(b"one") && ends[0].send(b"two"));
    assert!(!ends[1].port().rx_pending());
    assert!(ends[1].receive(9).is_empty());
    ends[0].port().tx_flush();
    assert!(ends[1].port().rx_pending());
    assert_eq!(ends[1].receive(1), [b"one"]);
    assert!(ends[1].port().rx_pending());
    assert_eq!(ends[1].receive(9), [b"two"]);
    assert!(!ends[1].port().rx_pending());
}

#[test]
fn a_full_ring_refuses_and_counts_and_recovers() {
    for from in [0, 1] {
        let (_, _, mut ends) = wire_of(5, 256);
        let mut sent = 0;
        while ends[from].send(&frame(sent, 100)) {
            sent += 1;
        }
        assert_eq!(sent, 32);
        assert_eq!(ends[from].port().tx_room(), 0);
        assert_eq!(ends[from].port().stats().tx_full, 1);
        ends[from].port().tx_flush();
        assert_eq!(
            ends[1 - from].receive(100),
            (0..32).map(|i| frame(i, 100)).collect::<Vec<_>>()
        );
        assert_eq!(ends[from].port().tx_room(), 32);
        assert!(ends[from].send(b"again"));
    }
}

#[test]
fn indices_wrap_many_times_in_batches_of_any_size() {
    let (_, _, mut ends) = wire_of(6, 256);
    let mut random = Random(3);
    let (mut sent, mut received) = ([0; 2], [0; 2]);
    // 16-bit indices wrap at 65,536 frames.
    while received[0] < 150_000 || received[1] < 150_000 {
        let from = random.below(2);
        for _ in 0..random.below(40) {
            let bytes = 1 + sent[from] % 200;
            if !ends[from].send(&frame(sent[from], bytes)) {
                break;
            }
            sent[from] += 1;
        }
        ends[from].port().tx_flush();
        let to = random.below(2);
        for bytes in ends[to].receive(random.below(50)) {
            let number = received[1 - to];
            assert_eq!(bytes, frame(number, 1 + number % 200));
            received[1 - to] += 1;
        }
    }
    for end in &mut ends {
        assert!(!end.port().is_broken());
        assert_eq!(end.port().stats().rx_malformed, 0);
    }
}

#[test]
fn a_frame_longer_than_a_buffer_is_refused_on_a_wire() {
    let (_, _, mut ends) = wire_of(4, 2048);
    assert_eq!(ends[0].port().caps().frame_bytes_max, 2048);
    assert!(!ends[0].port().tx(2049, |_| panic!("no room was promised")));
}

#[test]
fn checksum_claims_are_off_until_set() {
    let (_, _, mut ends) = wire_of(4, 2048);
    let caps = ends[0].port().caps();
    assert!(!caps.rx_checksum_vouched && !caps.tx_checksum_unneeded);
    ends[0].state.vouch_rx_checksums(true);
    ends[0].state.skip_tx_checksums(true);
    let caps = ends[0].port().caps();
    assert!(caps.rx_checksum_vouched && caps.tx_checksum_unneeded);
}

#[test]
fn the_doorbell_rings_for_a_receiver_that_asked() {
    for from in [0, 1] {
        let (_, _, mut ends) = wire_of(4, 2048);
        let to = 1 - from;
        ends[to].port().rx_wakeups(false);
        assert!(ends[from].send(b"silent"));
        ends[from].port().tx_flush();
        assert!(!ends[to].rx_event.drain());
        ends[to].port().rx_wakeups(true);
        assert!(
            ends[to].port().rx_pending(),
            "looking once more finds what came before"
        );
        assert!(ends[from].send(b"loud") && ends[from].send(b"louder"));
        ends[from].port().tx_flush();
        assert!(ends[to].rx_event.drain());
        assert_eq!(ends[from].port().stats().tx_doorbells, 1);
        assert_eq!(ends[to].receive(9).len(), 3);
    }
}

#[test]
fn state_outlives_the_attachment_that_used_it() {
    let (geometry, region, mut ends) = wire_of(4, 2048);
    for i in 0..21 {
        assert!(ends[0].send(&frame(i, 60)));
        ends[0].port().tx_flush();
        assert_eq!(ends[1].receive(1).len(), 1);
    }
    let [first, second] = ends;
    let mut again = self::ends(&geometry, &region);
    again[0].state = first.state;
    again[1].state = second.state;
    assert!(again[0].send(b"still in step"));
    again[0].port().tx_flush();
    assert_eq!(again[1].receive(1), [b"still in step"]);
}

#[test]
fn memory_that_is_no_wire_is_refused() {
    let geometry = Geometry::wire(4, 2048).unwrap();
    let bell = || EventFd::new().unwrap();
    let attach = |region, geometry: &Geometry| {
        Attachment::for_wire(region, geometry, Role::Slave, bell()).is_ok()
    };
    assert!(attach(wire::create(&geometry).unwrap(), &geometry));
    assert!(
        !attach(Region::private(geometry.bytes() - 4096).unwrap(), &geometry),
        "too short"
    );
    assert!(
        !attach(Region::private(geometry.bytes()).unwrap(), &geometry),
        "no cookie"
    );
    let mut bent = geometry;
    bent.buffers_offset = 64;
    assert!(
        !attach(wire::create(&geometry).unwrap(), &bent),
        "buffers over the rings"
    );
    assert!(wire::create(&bent).is_err());
    assert!(Geometry::wire(1, 2048).is_none() && Geometry::wire(15, 2048).is_none());
    assert!(Geometry::wire(14, 1 << 20).is_none(), "more than 4 GiB");
}

/// A frame that was lent lies inside of the wire; reading all of it would fault otherwise.
#[test]
fn garbage_in_the_ring_neither_panics_nor_leads_out_of_bounds() {
    for seed in 1..200 {
        let (geometry, region, mut ends) = wire_of(4, 2048);
        let mut random = Random(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let rings = geometry.m2s.offset as usize * 2;
        for _ in 0..400 {
            match random.below(8) {
                0 | 1 => scribble(&region, &mut random, rings),
                2 => {
                    // A plausible lie about an index: head or tail of either ring, a little off.
                    let ring = [geometry.s2m.offset, geometry.m2s.offset][random.below(2)] as usize;
                    let at = ring + [6, 64][random.below(2)];
                    let index = u16::try_from(random.below(40)).unwrap();
                    region
                        .foreign_mut(at, 2)
                        .unwrap()
                        .copy_from(&index.to_ne_bytes());
                }
                3 | 4 => {
                    let end = random.below(2);
                    let bytes = random.below(2049);
                    ends[end].send(&frame(bytes, bytes));
                    ends[end].port().tx_flush();
                }
                5 => ends[random.below(2)].port().rx_wakeups(random.0 & 1 == 0),
                6 => assert!(ends[random.below(2)].port().tx_room() <= 16),
                _ => {
                    for bytes in ends[random.below(2)].receive(20) {
                        assert!(bytes.len() <= geometry.bytes());
                    }
                }
            }
        }
    }
}

fn scribble(region: &Region, random: &mut Random, rings: usize) {
    let word = random.next();
    let at = random.below(rings / 8) * 8;
    let keep = 1 + random.below(8);
    region
        .foreign_mut(at, keep)
        .unwrap()
        .copy_from(&word.to_ne_bytes()[..keep]);
}

#[test]
fn an_index_that_jumps_breaks_the_link_for_good() {
    let (geometry, region, mut ends) = wire_of(4, 2048);
    assert!(ends[1].send(b"before"));
    ends[1].port().tx_flush();
    assert_eq!(ends[0].receive(1).len(), 1);
    region
        .foreign_mut(geometry.s2m.offset as usize + 6, 2)
        .unwrap()
        .copy_from(&400u16.to_ne_bytes());
    assert!(ends[0].receive(20).is_empty());
    assert!(ends[0].port().is_broken());
    region
        .foreign_mut(geometry.s2m.offset as usize + 6, 2)
        .unwrap()
        .copy_from(&2u16.to_ne_bytes());
    assert!(ends[0].receive(20).is_empty() && !ends[0].port().rx_pending());
}

#[test]
fn a_descriptor_out_of_bounds_is_counted_and_the_next_frame_arrives() {
    let geometry = Geometry::wire(4, 2048).unwrap();
    let outside: [(usize, [u8; 4]); 3] = [
        (2, [9, 0, 0, 0]),
        (4, u32::MAX.to_ne_bytes()),
        (8, u32::try_from(geometry.bytes()).unwrap().to_ne_bytes()),
    ];
    for (field, value) in outside {
        let (_, region, mut ends) = wire_of(4, 2048);
        assert!(ends[1].send(b"bent") && ends[1].send(b"straight"));
        let desc = geometry.s2m.offset as usize + 128;
        let bytes = if field == 2 { 2 } else { 4 };
        region
            .foreign_mut(desc + field, bytes)
            .unwrap()
            .copy_from(&value[..bytes]);
        ends[1].port().tx_flush();
        assert_eq!(ends[0].receive(9), [b"straight"]);
        assert_eq!(ends[0].port().stats().rx_malformed, 1);
        assert!(!ends[0].port().is_broken());
    }
}

#[test]
fn a_chain_is_put_together_and_an_endless_one_dropped() {
    let (geometry, region, mut ends) = wire_of(4, 2048);
    let next = |slot: usize| {
        let at = geometry.s2m.offset as usize + 128 + 16 * slot;
        region
            .foreign_mut(at, 2)
            .unwrap()
            .copy_from(&1u16.to_ne_bytes());
    };
    let parts = [frame(1, 2048), frame(2, 2048), frame(3, 11)];
    for part in &parts {
        assert!(ends[1].send(part));
    }
    assert!(ends[1].send(b"after"));
    next(0);
    next(1);
    ends[1].port().tx_flush();
    assert_eq!(ends[0].receive(9), [parts.concat(), b"after".to_vec()]);
    for slot in 4..=6 {
        assert!(ends[1].send(b"link"));
        next(slot);
    }
    ends[1].port().tx_flush();
    assert!(ends[0].receive(9).is_empty());
    assert_eq!(ends[0].port().stats().rx_malformed, 1);
    assert!(ends[1].send(b"alive"));
    ends[1].port().tx_flush();
    assert_eq!(ends[0].receive(9), [b"alive"]);
}

#[test]
fn two_threads_move_every_frame_once() {
    const FRAMES: usize = 100_000;
    let (_, _, [mut master, mut slave]) = wire_of(8, 256);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sent = 0;
            while sent < FRAMES {
                if slave.send(&frame(sent, 64)) {
                    sent += 1;
                } else {
                    std::thread::yield_now();
                }
                if sent.is_multiple_of(8) {
                    slave.port().tx_flush();
                }
            }
            slave.port().tx_flush();
        });
        let mut received = 0;
        while received < FRAMES {
            let frames = master.receive(32);
            if frames.is_empty() {
                std::thread::yield_now();
            }
            for bytes in frames {
                assert_eq!(bytes, frame(received, 64));
                received += 1;
            }
        }
    });
}

#[test]
fn a_sleeper_is_always_woken() {
    const FRAMES: usize = 5_000;
    let (_, _, [mut master, mut slave]) = wire_of(4, 256);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut sent = 0;
            while sent < FRAMES {
                sent += usize::from(slave.send(&frame(sent, 64)));
                slave.port().tx_flush();
            }
        });
        let mut received = 0;
        while received < FRAMES {
            master.port().rx_wakeups(true);
            if !master.port().rx_pending() {
                let mut wait = [rustix::event::PollFd::new(
                    &master.rx_event,
                    rustix::event::PollFlags::IN,
                )];
                let limit = rustix::time::Timespec {
                    tv_sec: 10,
                    tv_nsec: 0,
                };
                assert_ne!(
                    rustix::event::poll(&mut wait, Some(&limit)).unwrap(),
                    0,
                    "slept through a frame"
                );
                master.rx_event.drain();
            }
            master.port().rx_wakeups(false);
            received += master.receive(32).len();
        }
    });
}

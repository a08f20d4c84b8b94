//! The packet socket driver over pairs of virtual Ethernet interfaces, in network namespaces that each test makes.
//!
//! Needs root and iproute2. Run by `cargo test -p sidestep-nic --test packet -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod xdp_ends;

use sidestep_nic::Port;
use sidestep_nic::packet::{Attachment, OpenError, Options, Packet, State, frames_lost, open};
use sidestep_tests::Seed;
use sidestep_tests::netns::{Cable, Netns};
use std::time::Duration;
use xdp_ends::{PATIENCE, Packet as Kernel, copy, frame, is_readable, one_at_a_time, wait};

/// A packet socket's both halves.
struct End {
    state: State,
    at: Attachment,
}

impl End {
    fn new(netns: &Netns, name: &str, options: &Options) -> Self {
        let ifindex = netns.ifindex(name);
        let (state, at) = netns.inside(|| open(ifindex, options)).unwrap();
        Self { state, at }
    }

    /// What another process that shares the stack has.
    fn another(&self) -> Attachment {
        let socket = self.at.socket_fd().try_clone_to_owned().unwrap();
        Attachment::new(socket, self.state.geometry()).unwrap()
    }

    fn port(&mut self) -> Packet<'_> {
        Packet::new(&mut self.state, &self.at)
    }

    fn send(&mut self, frame: &[u8]) {
        assert!(self.write(frame), "no room");
        self.port().tx_flush();
    }

    fn write(&mut self, frame: &[u8]) -> bool {
        self.port().tx(frame.len(), |mut room| {
            assert_eq!(room.copy_from(frame), frame.len());
        })
    }

    fn receive(&mut self) -> Vec<u8> {
        wait("frame", || {
            let mut got = None;
            self.port().rx_batch(1, |frame| got = Some(copy(frame)));
            got
        })
    }
}

/// An IEEE 802.1Q tag in a frame.
fn tagged(frame: &[u8], tag: [u8; 4]) -> Vec<u8> {
    let (stations, rest) = frame.split_at(12);
    [stations, &tag, rest].concat()
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn frames_of_every_length_arrive_as_they_were_sent() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let mut near = End::new(&cable.near, "near0", &Options::default());
    let mut far = End::new(&cable.far, "far0", &Options::default());
    for bytes in 60..=1514 {
        let sent = frame(bytes, bytes);
        near.send(&sent);
        assert_eq!(far.receive(), sent, "{bytes} bytes to far");
        far.send(&sent);
        assert_eq!(near.receive(), sent, "{bytes} bytes to near");
    }
    assert!(!near.port().tx(1519, |_| panic!("longer than may be")));
    // What one sends does not come back to it.
    assert_eq!(near.port().rx_batch(1, |_| panic!("a frame")), 0);
    let stats = near.port().stats();
    assert_eq!((stats.tx_frames, stats.rx_frames), (1455, 1455));
    assert_eq!(stats.rx_malformed + stats.tx_full, 0);
    assert_eq!(frames_lost(near.at.socket_fd()).unwrap(), 0);
}

/// The kernel hands merged segments to packet sockets; a slot has room for none of those.
#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn frames_longer_than_a_slot_arrive_in_their_turn() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 65_000);
    let mut near = End::new(&cable.near, "near0", &Options::default());
    let far = Kernel::new(&cable.far, "far0");
    let lengths = [60, 1966, 1967, 2048, 64_000, 1514, 65_014, 9014, 60];
    for round in 0..300 {
        for (number, bytes) in lengths.into_iter().enumerate() {
            far.send(&frame(number + round, bytes));
        }
        for (number, bytes) in lengths.into_iter().enumerate() {
            assert_eq!(
                near.receive(),
                frame(number + round, bytes),
                "{bytes} bytes"
            );
        }
    }
    assert_eq!(near.port().stats().rx_malformed, 0);
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn tags_are_where_they_were() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 9000);
    let mut near = End::new(&cable.near, "near0", &Options::default());
    let far = Kernel::new(&cable.far, "far0");
    // Number 5 with a priority, one of a provider, and none: 0 with a priority only.
    for tag in [[0x81, 0, 0xa0, 5], [0x88, 0xa8, 0, 7], [0x81, 0, 0x60, 0]] {
        for bytes in [60, 1510, 5000] {
            let sent = tagged(&frame(bytes, bytes), tag);
            far.send(&sent);
            assert_eq!(near.receive(), sent, "{bytes} bytes with {tag:?}");
        }
        let sent = tagged(&frame(3, 1514), tag);
        near.send(&sent);
        let mut other = End::new(&cable.far, "far0", &Options::default());
        near.send(&sent);
        assert_eq!(other.receive(), sent, "sent with {tag:?}");
    }
    // The test's own end sees frames without tags.
    far.receive();
}

/// Frames in bursts of random size, there and back, some of them handled by another process. None may be lost: a burst is
/// shorter than the rings and is taken whole before the next one.
#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn bursts_there_and_back_keep_every_byte() {
    const FRAMES: usize = 200_000;
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let mut near = End::new(&cable.near, "near0", &Options::default());
    let mut far = End::new(&cable.far, "far0", &Options::default());
    let mut another = far.another();
    let mut seed = Seed::of_test(1);
    let pattern: Vec<u8> = (0..4096).map(|_| seed.draw().to_le_bytes()[0]).collect();
    let mut sent = 0;
    while sent < FRAMES {
        let mut burst = Vec::new();
        for _ in 0..seed.between(1, 200) {
            let [bytes, from] = [(60, 200), (0, 3800)]
                .map(|(low, high)| usize::try_from(seed.between(low, high)).unwrap());
            let frame = &pattern[from..from + bytes];
            assert!(near.write(frame), "no room");
            burst.push(frame);
        }
        near.port().tx_flush();
        let mut back = 0;
        wait("end of a burst", || {
            let mut turned = Vec::new();
            far.port().rx_batch(64, |frame| turned.push(copy(frame)));
            for frame in &turned {
                assert!(far.write(frame), "no room");
            }
            far.port().tx_flush();
            core::mem::swap(&mut far.at, &mut another);
            near.port().rx_batch(64, |frame| {
                assert!(copy(frame) == burst[back], "frame {back} of a burst");
                back += 1;
            });
            (back == burst.len()).then_some(())
        });
        sent += burst.len();
    }
    let room = near.port().tx_room();
    assert!(room >= 64, "only {room} slots are free after all");
    assert_eq!(near.port().stats().rx_malformed, 0);
}

/// Frames beyond the rings are lost, counted, and in nobody's way.
#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn what_overflows_is_counted() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let small = Options {
        ring_bytes: 64 << 10,
        ..Options::default()
    };
    let mut near = End::new(&cable.near, "near0", &small);
    let far = Kernel::new(&cable.far, "far0");
    for number in 0..100 {
        far.send(&frame(number, 60));
    }
    for number in 0..32 {
        assert_eq!(near.receive(), frame(number, 60));
    }
    assert_eq!(near.port().rx_batch(1, |_| panic!("the 33rd")), 0);
    assert_eq!(frames_lost(near.at.socket_fd()).unwrap(), 68);
    assert_eq!(frames_lost(near.at.socket_fd()).unwrap(), 0, "told twice");
    far.send(&frame(7, 60));
    assert_eq!(near.receive(), frame(7, 60));
    // The other way, without a flush: no more than there are slots.
    let written = (0..100).filter(|_| near.write(&frame(1, 60))).count();
    assert_eq!((written, near.port().tx_room()), (32, 0));
    assert_eq!(near.port().stats().tx_full, 68);
    near.port().tx_flush();
    wait("room again", || (near.port().tx_room() == 32).then_some(()));
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn the_socket_is_readable_while_a_frame_waits() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 9000);
    let mut near = End::new(&cable.near, "near0", &Options::default());
    let far = Kernel::new(&cable.far, "far0");
    for bytes in [60, 5000] {
        assert!(!is_readable(near.at.socket_fd(), Duration::ZERO));
        far.send(&frame(1, bytes));
        assert!(is_readable(near.at.socket_fd(), PATIENCE));
        assert!(near.port().rx_pending());
        near.receive();
        assert!(!near.port().rx_pending());
    }
    assert!(!is_readable(near.at.socket_fd(), Duration::ZERO));
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn what_an_interface_cannot_do_now_is_done_later_or_never() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let mut near = End::new(&cable.near, "near0", &Options::default());
    let mut far = End::new(&cable.far, "far0", &Options::default());
    cable.near.run("ip link set near0 down");
    near.send(&frame(1, 60));
    assert!(!near.port().is_broken() && !near.port().rx_pending());
    cable.near.run("ip link set near0 up");
    // Whether the first one waited is the kernel's choice, and for how long it still loses frames.
    wait("a frame", || {
        near.send(&frame(2, 60));
        let mut arrived = false;
        far.port()
            .rx_batch(64, |got| arrived |= copy(got) == frame(2, 60));
        arrived.then_some(())
    });
    cable.near.run("ip link del near0");
    near.send(&frame(3, 60));
    assert!(near.port().is_broken() && !near.port().rx_pending());
}

#[test]
#[ignore = "needs root, ip, ethtool and sysctl"]
fn what_cannot_be_opened_is_said() {
    let cable = Cable::silent(1, 1500);
    let options = Options::default();
    let long = Options {
        frame_bytes_max: 20_000,
        ..options
    };
    let refused = |index, options: &Options| cable.near.inside(|| open(index, options)).err();
    assert!(matches!(
        refused(4711, &options),
        Some(OpenError::NoInterface(4711))
    ));
    assert!(matches!(refused(1, &long), Some(OpenError::Options)));
}

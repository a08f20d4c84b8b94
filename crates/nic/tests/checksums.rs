//! Checksums that are left to the link, over pairs of virtual Ethernet interfaces, in network namespaces that each test makes.
//!
//! Needs root and iproute2. Run by `cargo test -p sidestep-nic --test checksums -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod xdp_ends;

use sidestep_nic::xdp::Options;
use sidestep_nic::{Port, Unfinished};
use sidestep_tests::netns::Cable;
use sidestep_wire::checksum::{self, Check};
use sidestep_wire::{Address, Protocol, ip, tcp, udp};
use std::net::Ipv4Addr;
use xdp_ends::{End, one_at_a_time, steered};

/// Bytes of the Ethernet header, and of a VLAN tag.
const LINK: usize = 14;
const TAG: usize = 4;

/// What a packet is.
#[derive(Clone, Copy, Debug)]
struct Kind {
    is_v6: bool,
    is_tagged: bool,
    protocol: Protocol,
}

fn kinds() -> impl Iterator<Item = Kind> {
    let bools = [false, true];
    bools.into_iter().flat_map(move |is_v6| {
        bools.into_iter().flat_map(move |is_tagged| {
            [Protocol::TCP, Protocol::UDP].map(|protocol| Kind {
                is_v6,
                is_tagged,
                protocol,
            })
        })
    })
}

impl Kind {
    fn addresses(self) -> [Address; 2] {
        [1, 2].map(|last| {
            if self.is_v6 {
                let mut bytes = [0; 16];
                (bytes[0], bytes[15]) = (0xfd, last);
                Address(bytes)
            } else {
                Address::from(Ipv4Addr::new(10, 9, 0, last))
            }
        })
    }

    /// Where the IP header begins.
    const fn link(self) -> usize {
        if self.is_tagged { LINK + TAG } else { LINK }
    }

    /// The transport header for so much payload, its checksum begun, and where that lies in it.
    fn transport(self, payload_len: usize) -> (Vec<u8>, usize) {
        let mut bytes = vec![0; 64];
        let (len, offset) = if self.protocol == Protocol::TCP {
            let segment = tcp::Repr {
                src_port: 7,
                dst_port: 9,
                flags: tcp::Flags::ACK,
                ..tcp::Repr::default()
            };
            (segment.emit(&mut bytes), tcp::CHECKSUM_OFFSET)
        } else {
            let datagram = udp::Repr {
                src_port: 7,
                dst_port: 9,
                payload_len,
                has_checksum: true,
            };
            (datagram.emit(&mut bytes), udp::CHECKSUM_OFFSET)
        };
        bytes.truncate(len);
        let [src, dst] = self.addresses();
        let covered = u32::try_from(len + payload_len).unwrap();
        let pseudo = checksum::pseudo_header(src, dst, self.protocol.0, covered);
        let begun = checksum::fold(pseudo).to_be_bytes();
        bytes[offset..offset + 2].copy_from_slice(&begun);
        (bytes, offset)
    }

    /// All headers, and what the link is to finish.
    fn headers(self, payload_len: usize) -> (Vec<u8>, Unfinished) {
        let (transport, offset) = self.transport(payload_len);
        let [src, dst] = self.addresses();
        let packet = ip::Repr {
            src,
            dst,
            protocol: self.protocol,
            hop_limit: 64,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            fragment: None,
            payload_len: transport.len() + payload_len,
        };
        let link = self.link();
        let mut bytes = vec![0; 128];
        bytes[..6].fill(0xff);
        bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        if self.is_tagged {
            bytes[12..16].copy_from_slice(&[0x81, 0, 0, 5]);
        }
        let ethertype: u16 = if self.is_v6 { 0x86dd } else { 0x0800 };
        bytes[link - 2..link].copy_from_slice(&ethertype.to_be_bytes());
        let start = link + packet.emit(&mut bytes[link..]);
        bytes.truncate(start);
        bytes.extend(transport);
        (bytes, Unfinished { start, offset })
    }

    /// Sends a packet with that text.
    fn send(self, end: &mut End, text: &[u8]) {
        let (head, unfinished) = self.headers(text.len());
        let bytes = head.len() + text.len();
        let taken = end.port().tx_unfinished(bytes, unfinished, |mut room| {
            assert_eq!(room.copy_from(&head), head.len());
            assert_eq!(room.skip(head.len()).copy_from(text), text.len());
        });
        assert!(taken, "no room");
        end.port().tx_flush();
    }

    /// The sum over what the checksum covers, and the payload.
    fn judge(self, frame: &[u8]) -> (u16, Vec<u8>) {
        let link = self.link();
        let (packet, ip_len) =
            ip::Repr::parse(&frame[link..], frame.len() - link, Check::Verify).unwrap();
        let body = &frame[link + ip_len..][..packet.payload_len];
        let [src, dst] = self.addresses();
        let len = u32::try_from(body.len()).unwrap();
        let pseudo = checksum::pseudo_header(src, dst, self.protocol.0, len);
        let header = if self.protocol == Protocol::TCP {
            tcp::Repr::parse(body).unwrap().1
        } else {
            udp::HEADER_BYTES
        };
        let sum = checksum::finish(checksum::sum(pseudo, body));
        (sum, body[header..].to_vec())
    }
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 7 / 3).to_le_bytes()[0]).collect()
}

/// An end whose checksums are left to the link.
fn leaving(cable: &Cable, frame_bytes_max: usize) -> (sidestep_steering::Steering, End) {
    let options = Options {
        finish_checksums: true,
        frame_bytes_max,
        ..Options::default()
    };
    let (steering, mut end) = steered(&cable.near, "near0", &options);
    assert!(end.state.finish_checksums(), "not by this kernel");
    (steering, end)
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn checksums_are_right_when_the_kernel_finishes_them() {
    let _one = one_at_a_time();
    for (mtu, longest) in [(1500, 1440), (9000, 8900)] {
        let cable = Cable::silent(1, mtu);
        // What has no card to finish it is finished by the kernel.
        cable.near.run("ethtool -K near0 tx off");
        let frame_bytes_max = usize::try_from(mtu).unwrap() + 18;
        let (_near, mut near) = leaving(&cable, frame_bytes_max);
        let options = Options {
            frame_bytes_max,
            ..Options::default()
        };
        let (_far, mut far) = steered(&cable.far, "far0", &options);
        let mut sent = 0;
        for kind in kinds() {
            for bytes in [18, 19, 256, 1001, longest] {
                let text = text(bytes);
                kind.send(&mut near, &text);
                sent += 1;
                let (sum, arrived) = kind.judge(&far.receive());
                assert_eq!((sum, arrived), (0, text), "{bytes} bytes of {kind:?}");
            }
        }
        // Others leave as they are, from the same buffers.
        for bytes in [60, 1514] {
            let whole = xdp_ends::frame(bytes, bytes);
            near.send(&whole);
            assert_eq!(far.receive(), whole);
        }
        let stats = near.port().stats();
        assert_eq!((stats.tx_unfinished, stats.tx_frames), (sent, sent + 2));
        assert_eq!(near.at.kernel_counters().unwrap().tx_invalid, 0);
    }
}

/// A cable hands them on: whoever is at its other end finds the sum that was begun.
#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn a_virtual_cable_leaves_them_as_they_are() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    cable.near.run("ethtool -K near0 tx on");
    let (_near, mut near) = leaving(&cable, 1518);
    let (_far, mut far) = steered(&cable.far, "far0", &Options::default());
    for kind in kinds() {
        let text = text(1000);
        kind.send(&mut near, &text);
        let frame = far.receive();
        let (head, _) = kind.headers(text.len());
        assert_eq!(frame[..head.len()], head, "{kind:?}");
        let (sum, arrived) = kind.judge(&frame);
        assert_eq!(arrived, text);
        assert_ne!(sum, 0, "{kind:?}");
    }
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn nothing_is_left_to_a_link_that_was_not_asked() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_near, mut near) = steered(&cable.near, "near0", &Options::default());
    assert!(!near.state.finish_checksums());
    assert!(!near.port().caps().finishes_checksums);
    let (_, unfinished) = kinds().next().unwrap().headers(100);
    let taken = near
        .port()
        .tx_unfinished(200, unfinished, |_| panic!("nobody would finish it"));
    assert!(!taken);
}

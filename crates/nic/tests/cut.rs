//! Long segments that the kernel cuts, over pairs of virtual Ethernet interfaces, in network namespaces that each test makes.
//!
//! Needs root and iproute2. Run by `cargo test -p sidestep-nic --test cut -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod xdp_ends;

use sidestep_nic::packet::open_cutter;
use sidestep_nic::xdp::Options;
use sidestep_nic::{Cut, Port};
use sidestep_tests::netns::Cable;
use sidestep_wire::checksum::{self, Check};
use sidestep_wire::{Address, Protocol, Seq, ip, tcp};
use std::net::Ipv4Addr;
use xdp_ends::{End, one_at_a_time, steered};

/// Bytes of the Ethernet header.
const LINK: usize = 14;
/// What each segment but the last one carries.
const SEGMENT: usize = 1400;
/// What the last one does.
const REST: usize = 77;

/// An end whose long segments leave by the same interface.
fn cutting(cable: &Cable) -> (sidestep_steering::Steering, End) {
    let (steering, mut end) = steered(&cable.near, "near0", &Options::default());
    let ifindex = cable.near.ifindex("near0");
    let cutter = cable.near.inside(|| open_cutter(ifindex)).unwrap();
    assert!(end.state.cut_segments());
    end.at = end.at.with_cutter(cutter).unwrap();
    (steering, end)
}

fn addresses(is_v6: bool) -> [Address; 2] {
    [1, 2].map(|last| {
        if is_v6 {
            let mut bytes = [0; 16];
            (bytes[0], bytes[15]) = (0xfd, last);
            Address(bytes)
        } else {
            Address::from(Ipv4Addr::new(10, 9, 0, last))
        }
    })
}

/// Ethernet, IP and TCP headers in front of so much text, the checksum begun.
fn headers(is_v6: bool, payload_len: usize) -> (Vec<u8>, usize) {
    let [src, dst] = addresses(is_v6);
    let segment = tcp::Repr {
        src_port: 7,
        dst_port: 9,
        seq: Seq(u32::MAX - 1000),
        ack: Seq(5),
        flags: tcp::Flags::ACK | tcp::Flags::PSH,
        window: 100,
        ..tcp::Repr::default()
    };
    let tcp_len = segment.header_len();
    let packet = ip::Repr {
        src,
        dst,
        protocol: Protocol::TCP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: tcp_len + payload_len,
    };
    let mut bytes = vec![0; 128];
    bytes[..6].fill(0xff);
    bytes[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    let ethertype: u16 = if is_v6 { 0x86dd } else { 0x0800 };
    bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
    let tcp_offset = LINK + packet.emit(&mut bytes[LINK..]);
    segment.emit(&mut bytes[tcp_offset..]);
    let len = u32::try_from(tcp_len + payload_len).unwrap();
    let begun = checksum::fold(checksum::pseudo_header(src, dst, Protocol::TCP.0, len));
    let at = tcp_offset + tcp::CHECKSUM_OFFSET;
    bytes[at..at + 2].copy_from_slice(&begun.to_be_bytes());
    bytes.truncate(tcp_offset + tcp_len);
    (bytes, tcp_offset)
}

/// Sends a long segment with that text.
fn send(end: &mut End, is_v6: bool, text: &[u8]) -> bool {
    let (head, tcp_offset) = headers(is_v6, text.len());
    let cut = Cut {
        tcp_offset,
        payload_offset: head.len(),
        segment_bytes: SEGMENT,
        segments: text.len().div_ceil(SEGMENT),
        is_v6,
    };
    end.port().tx_cut(head.len() + text.len(), cut, |mut room| {
        assert_eq!(room.copy_from(&head), head.len());
        assert_eq!(room.skip(head.len()).copy_from(text), text.len());
    })
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn long_segments_arrive_as_several_with_headers_of_their_own() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    // What is not finished by the card is by the kernel.
    cable.near.run("ethtool -K near0 tx off");
    let (_near_steering, mut near) = cutting(&cable);
    let (_far_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    for is_v6 in [false, true] {
        let text: Vec<u8> = (0..40 * SEGMENT + REST)
            .map(|i| (i / 7).to_le_bytes()[0])
            .collect();
        // A frame that was written before leaves before.
        assert!(near.write(&xdp_ends::frame(1, 100)));
        assert!(send(&mut near, is_v6, &text));
        assert_eq!(far.receive(), xdp_ends::frame(1, 100));
        let [src, dst] = addresses(is_v6);
        let (mut arrived, mut seq) = (Vec::new(), Seq(u32::MAX - 1000));
        for number in 0..=40 {
            let frame = far.receive();
            let (packet, ip_len) =
                ip::Repr::parse(&frame[LINK..], frame.len() - LINK, Check::Verify).unwrap();
            assert_eq!((packet.src, packet.dst), (src, dst));
            let body = &frame[LINK + ip_len..][..packet.payload_len];
            let len = u32::try_from(body.len()).unwrap();
            let pseudo = checksum::pseudo_header(src, dst, Protocol::TCP.0, len);
            assert_eq!(
                checksum::finish(checksum::sum(pseudo, body)),
                0,
                "segment {number}"
            );
            let (segment, header_len) = tcp::Repr::parse(body).unwrap();
            assert_eq!((segment.seq, segment.ack), (seq, Seq(5)));
            let is_last = number == 40;
            assert_eq!(segment.flags.contains(tcp::Flags::PSH), is_last);
            let payload = &body[header_len..];
            assert_eq!(payload.len(), if is_last { REST } else { SEGMENT });
            arrived.extend_from_slice(payload);
            seq += u32::try_from(payload.len()).unwrap();
        }
        assert_eq!(arrived, text);
    }
    let stats = near.port().stats();
    assert_eq!((stats.tx_cut, stats.tx_frames, stats.tx_full), (2, 84, 0));
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn without_a_way_for_long_segments_each_leaves_by_itself() {
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_steering, mut near) = cutting(&cable);
    assert_ne!(near.port().caps().cut_bytes_max, 0);
    cable.near.run("ip link set near0 down");
    // As any frame while the interface is down.
    assert!(send(&mut near, false, &[1; 2 * SEGMENT]));
    assert_ne!(near.port().caps().cut_bytes_max, 0);
    cable.near.run("ip link del near0");
    assert!(send(&mut near, false, &[1; 2 * SEGMENT]));
    assert_eq!(near.port().caps().cut_bytes_max, 0);
    assert!(!send(&mut near, false, &[1; 2 * SEGMENT]));
    assert_eq!(
        (near.port().stats().tx_cut, near.port().stats().tx_full),
        (0, 2)
    );
}

#[test]
#[ignore = "needs root, clang, ip, ethtool and sysctl"]
fn what_takes_long_segments_hears_nothing() {
    use rustix::net::RecvFlags;
    let _one = one_at_a_time();
    let cable = Cable::silent(1, 1500);
    let (_steering, mut far) = steered(&cable.far, "far0", &Options::default());
    let listening = xdp_ends::Packet::new(&cable.near, "near0");
    let ifindex = cable.near.ifindex("near0");
    let cutter = cable.near.inside(|| open_cutter(ifindex)).unwrap();
    // Whoever holds it may bind it anew, to frames of every type.
    xdp_ends::hear_all(&cutter, ifindex);
    far.send(&xdp_ends::frame(1, 100));
    assert_eq!(listening.receive(), xdp_ends::frame(1, 100));
    let heard = rustix::net::recv(&cutter, &mut [0; 200], RecvFlags::DONTWAIT);
    assert_eq!(heard.unwrap_err(), rustix::io::Errno::AGAIN);
}

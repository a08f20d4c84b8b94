use super::{EXTENSIONS_MAX, HEADER_BYTES, Repr, emit, parse};
use crate::checksum::Check;
use crate::ip::Fragment;
use crate::{Address, Malformed, Protocol};
use core::net::Ipv6Addr;
use proptest::prelude::*;

fn address(last: u16) -> Address {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into()
}

fn repr() -> Repr {
    Repr {
        src: address(1),
        dst: address(2),
        protocol: Protocol::TCP,
        hop_limit: 64,
        tos: 0x12,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: 300,
    }
}

/// A packet of these bytes behind the header, the first of which belong to what `next` says.
fn packet(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER_BYTES];
    emit(
        &Repr {
            protocol: Protocol(next),
            payload_len: rest.len(),
            ..repr()
        },
        &mut packet,
    );
    packet.extend(rest);
    packet
}

fn parse_all(packet: &[u8]) -> Result<(Repr, usize), Malformed> {
    parse(packet, packet.len())
}

/// Protocol, bytes of all headers, and payload of a packet with such extension headers.
fn extended(next: u8, rest: &[u8]) -> Result<(Protocol, usize, usize), Malformed> {
    parse_all(&packet(next, rest)).map(|(repr, len)| (repr.protocol, len, repr.payload_len))
}

#[test]
fn header() {
    let mut out = [0xaa; 44];
    assert_eq!(repr().emit(&mut out), 40);
    let start = [
        0x61, 0x20, 0, 0, 0x01, 0x2c, 6, 64, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0,
    ];
    assert_eq!(out[..16], start);
    assert_eq!(out[39..], [2, 0xaa, 0xaa, 0xaa, 0xaa]);
    assert_eq!(parse(&out, 340), Ok((repr(), 40)));
    assert_eq!(
        Repr::parse(&out, 400, Check::Verify),
        Ok((repr(), 40)),
        "padding"
    );
    out[1] |= 0x0f; // flow label
    assert_eq!(parse(&out, 340), Ok((repr(), 40)));
}

#[test]
fn malformed() {
    let mut out = [0; 40];
    repr().emit(&mut out);
    assert_eq!(parse(&out[..39], 340), Err(Malformed::Truncated));
    assert_eq!(parse(&out, 339), Err(Malformed::Length));
    out[0] = 0x45;
    assert_eq!(parse(&out, 340), Err(Malformed::Version));
    assert_eq!(
        Repr::parse(&[0x50; 40], 340, Check::Verify),
        Err(Malformed::Version)
    );
    assert_eq!(
        Repr::parse(&[], 0, Check::Verify),
        Err(Malformed::Truncated)
    );

    let mut from_to = |src, dst| {
        emit(&Repr { src, dst, ..repr() }, &mut out);
        parse(&out, 340)
    };
    let mapped = Address::from_v4([10, 0, 0, 1]);
    let group = Address::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    assert_eq!(from_to(address(1), mapped), Err(Malformed::Value));
    assert_eq!(from_to(group, address(1)), Err(Malformed::Value));
    assert_eq!(
        from_to(address(1), Address::UNSPECIFIED_V6),
        Err(Malformed::Value)
    );
    assert!(from_to(Address::UNSPECIFIED_V6, group).is_ok());
    let mut out = packet(6, &[]);
    out[8..24].copy_from_slice(&mapped.0);
    assert_eq!(parse_all(&out), Err(Malformed::Value), "mapped source");
}

#[test]
fn extensions_are_skipped() {
    // Hop-by-hop with router alert and padding, routing with no segments left, destination options of 16 bytes.
    let hop_by_hop = [43, 0, 5, 2, 0, 0, 1, 0];
    let routing = [60, 0, 4, 0, 0, 0, 0, 0];
    let destination = [17, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let rest = [hop_by_hop.as_slice(), &routing, &destination, &[9; 20]].concat();
    assert_eq!(extended(0, &rest), Ok((Protocol::UDP, 72, 20)));
    assert_eq!(extended(59, &[]), Ok((Protocol::NONE, 40, 0)));
    // An unknown protocol is not looked into.
    assert_eq!(extended(253, &[1, 2]), Ok((Protocol(253), 40, 2)));
}

#[test]
fn extensions_that_ask_for_more() {
    assert_eq!(
        extended(43, &[6, 0, 0, 1, 0, 0, 0, 0]),
        Err(Malformed::Unsupported),
        "segments left"
    );
    assert_eq!(
        extended(60, &[6, 0, 0xc2, 4, 0, 0, 0, 0]),
        Err(Malformed::Unsupported),
        "must be known"
    );
    assert_eq!(
        extended(60, &[6, 0, 0x22, 4, 0, 0, 0, 0]),
        Ok((Protocol::TCP, 48, 0)),
        "may be unknown"
    );
    let late = [[0, 0, 1, 4, 0, 0, 0, 0], [6, 0, 1, 4, 0, 0, 0, 0]].concat();
    assert_eq!(
        extended(60, &late),
        Err(Malformed::Value),
        "hop-by-hop not in the first place"
    );
    let chain = |count: usize| {
        [
            [60, 0, 1, 4, 0, 0, 0, 0].repeat(count - 1),
            vec![6, 0, 1, 4, 0, 0, 0, 0],
        ]
        .concat()
    };
    assert_eq!(
        extended(60, &chain(EXTENSIONS_MAX)),
        Ok((Protocol::TCP, 104, 0))
    );
    assert_eq!(
        extended(60, &chain(EXTENSIONS_MAX + 1)),
        Err(Malformed::Unsupported)
    );
}

#[test]
fn extensions_of_wrong_length() {
    assert_eq!(
        extended(60, &[6, 1, 1, 4, 0, 0, 0, 0]),
        Err(Malformed::Length),
        "beyond the packet"
    );
    assert_eq!(
        extended(60, &[6, 0, 1, 5, 0, 0, 0, 0]),
        Err(Malformed::Length),
        "option beyond the header"
    );
    assert_eq!(
        extended(60, &[6, 0, 1, 3, 0, 0, 0, 5]),
        Err(Malformed::Length),
        "option without length"
    );
    assert_eq!(extended(60, &[6, 0, 1]), Err(Malformed::Truncated));
    let long = packet(60, &[6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        parse(&long[..50], long.len()),
        Err(Malformed::Truncated),
        "not in the bytes"
    );
}

#[test]
fn fragments() {
    let fragment = |header: [u8; 8], len: usize| {
        let bytes = [header.as_slice(), &vec![0; len]].concat();
        parse_all(&packet(44, &bytes)).map(|(repr, len)| (repr.fragment, repr.ident, len))
    };
    let first = Fragment {
        offset: 0,
        more: true,
    };
    assert_eq!(
        fragment([17, 0, 0, 1, 1, 2, 3, 4], 16),
        Ok((Some(first), 0x0102_0304, 48))
    );
    let last = Fragment {
        offset: 1448,
        more: false,
    };
    assert_eq!(
        fragment([17, 0, 0x05, 0xa8, 0, 0, 0, 7], 15),
        Ok((Some(last), 7, 48))
    );
    assert_eq!(
        fragment([17, 0, 0, 1, 0, 0, 0, 7], 15),
        Err(Malformed::Length),
        "not whole units"
    );
    assert_eq!(
        fragment([17, 0, 0xff, 0xf8, 0, 0, 0, 7], 15),
        Err(Malformed::Length),
        "beyond"
    );
    assert_eq!(
        fragment([17, 0, 0, 0, 1, 2, 3, 4], 15),
        Ok((None, 0, 48)),
        "all of its packet"
    );
}

proptest! {
    #[test]
    fn round_trip(
        (src, dst) in any::<([u8; 16], [u8; 16])>(),
        (protocol, hop_limit, tos, ident) in any::<(u8, u8, u8, u32)>(),
        fragment in proptest::option::of((0_u16..1000, any::<bool>())),
        units in 1_usize..100,
    ) {
        let fragment = fragment
            .filter(|(units, more)| *more || *units != 0)
            .map(|(units, more)| Fragment { offset: units * 8, more });
        prop_assume!(!super::is_extension(Protocol(protocol)) && src[0] != 0xff);
        let repr = Repr {
            src: Address(src),
            dst: Address(dst),
            protocol: Protocol(protocol),
            hop_limit, tos,
            ident: if fragment.is_some() { ident } else { 0 },
            dont_fragment: true, fragment,
            payload_len: units * 8,
        };
        let mut out = [0xff; 64];
        let len = emit(&repr, &mut out);
        prop_assert_eq!(parse(&out, 2000), Ok((repr, len)));
    }

    #[test]
    fn any_extensions(
        next in prop_oneof![Just(0_u8), Just(43), Just(44), Just(60)],
        bytes in prop::collection::vec(prop_oneof![0_u8..8, Just(43), Just(44), Just(60), any::<u8>()], 0..120),
        cut in 0_usize..120,
    ) {
        let packet = packet(next, &bytes);
        let header = &packet[..packet.len().min(HEADER_BYTES + cut)];
        if let Ok((repr, len)) = parse(header, packet.len()) {
            prop_assert!(len <= header.len());
            prop_assert_eq!(len + repr.payload_len, packet.len());
        }
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80), available in 0_usize..3000) {
        let _ = parse(&bytes, available);
    }
}

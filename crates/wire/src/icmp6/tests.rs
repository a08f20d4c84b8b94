use super::{HEADER_BYTES, Repr, emit, parse};
use crate::Malformed;
use crate::icmp::ErrorKind;
use proptest::prelude::*;

fn both_ways(repr: Repr<'_>, message: &[u8]) {
    assert_eq!(parse(message), Ok(repr));
    let mut out = [0xaa; 64];
    let len = emit(&repr, &mut out);
    assert_eq!(out[..len], *message);
    assert_eq!(out[len..], [0xaa; 64][len..]);
}

fn error(kind: ErrorKind, start: [u8; HEADER_BYTES]) {
    let packet = [0x45; 28];
    both_ways(
        Repr::Error {
            kind,
            packet: &packet,
        },
        &[start.as_slice(), &packet].concat(),
    );
}

#[test]
fn echo() {
    both_ways(
        Repr::EchoRequest {
            ident: 0x1234,
            seq: 5,
        },
        &[128, 0, 0, 0, 0x12, 0x34, 0, 5],
    );
    both_ways(
        Repr::EchoReply {
            ident: 0x1234,
            seq: 5,
        },
        &[129, 0, 0, 0, 0x12, 0x34, 0, 5],
    );
}

#[test]
fn errors() {
    error(
        ErrorKind::Unreachable {
            code: super::unreachable::PORT,
        },
        [1, 4, 0, 0, 0, 0, 0, 0],
    );
    error(
        ErrorKind::PacketTooBig { mtu: 1280 },
        [2, 0, 0, 0, 0, 0, 5, 0],
    );
    error(
        ErrorKind::TimeExceeded { code: 1 },
        [3, 1, 0, 0, 0, 0, 0, 0],
    );
    error(
        ErrorKind::ParameterProblem {
            code: 1,
            pointer: 40,
        },
        [4, 1, 0, 0, 0, 0, 0, 40],
    );
}

#[test]
fn malformed() {
    assert_eq!(parse(&[128, 0, 0, 0, 0, 0, 0]), Err(Malformed::Truncated));
    assert_eq!(
        parse(&[133, 0, 0, 0, 0, 0, 0, 0]),
        Err(Malformed::Unsupported),
        "router solicitation"
    );
}

proptest! {
    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..64), kind in prop_oneof![0_u8..16, 126_u8..132]) {
        if let Some(first) = bytes.first_mut() {
            *first = kind;
        }
        if let Ok(repr) = parse(&bytes) {
            let mut out = [0; 64];
            let len = emit(&repr, &mut out);
            prop_assert_eq!(parse(&out[..len]), Ok(repr));
        }
    }
}

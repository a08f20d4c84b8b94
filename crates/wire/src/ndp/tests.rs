use super::{HEADER_BYTES, MESSAGE_BYTES_MAX, Repr, multicast_mac, solicited_node};
use crate::{Address, Mac, Malformed};
use core::net::Ipv6Addr;
use proptest::prelude::*;

const TARGET: Address = Address([
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 0x56,
]);
const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

fn message(start: [u8; 8], option: &[u8]) -> Vec<u8> {
    [start.as_slice(), &TARGET.0, option].concat()
}

#[test]
fn solicitation() {
    let repr = Repr::Solicitation {
        target: TARGET,
        source_mac: Some(MAC),
    };
    let bytes = message([135, 0, 0, 0, 0, 0, 0, 0], &[1, 1, 2, 0, 0, 0, 0, 1]);
    assert_eq!(Repr::parse(&bytes), Ok(repr));
    let mut out = [0xaa; MESSAGE_BYTES_MAX];
    assert_eq!(repr.emit(&mut out), MESSAGE_BYTES_MAX);
    assert_eq!(out[..], bytes);
    let repr = Repr::Solicitation {
        target: TARGET,
        source_mac: None,
    };
    assert_eq!(Repr::parse(&bytes[..HEADER_BYTES]), Ok(repr));
    assert_eq!(repr.emit(&mut out), HEADER_BYTES);
}

#[test]
fn advertisement() {
    let repr = Repr::Advertisement {
        target: TARGET,
        target_mac: Some(MAC),
        router: false,
        solicited: true,
        overriding: true,
    };
    let mut bytes = message([136, 0, 0, 0, 0x60, 0, 0, 0], &[2, 1, 2, 0, 0, 0, 0, 1]);
    let mut out = [0xaa; MESSAGE_BYTES_MAX];
    assert_eq!(repr.emit(&mut out), MESSAGE_BYTES_MAX);
    assert_eq!(out[..], bytes);
    // Options of other kinds (here of 16 bytes) are skipped.
    bytes.splice(
        HEADER_BYTES..HEADER_BYTES,
        [&[14, 2], [0; 14].as_slice()].concat(),
    );
    assert_eq!(Repr::parse(&bytes), Ok(repr));
}

#[test]
fn malformed() {
    let solicitation = [135, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        Repr::parse(&message(solicitation, &[])[..23]),
        Err(Malformed::Truncated)
    );
    assert_eq!(
        Repr::parse(&message([133; 8], &[])),
        Err(Malformed::Unsupported)
    );
    assert_eq!(
        Repr::parse(&message([135, 1, 0, 0, 0, 0, 0, 0], &[])),
        Err(Malformed::Value)
    );
    assert_eq!(
        Repr::parse(&message(solicitation, &[1, 0, 0, 0])),
        Err(Malformed::Length)
    );
    assert_eq!(
        Repr::parse(&message(solicitation, &[1, 2, 0, 0, 0, 0, 0, 0])),
        Err(Malformed::Length)
    );
    let group = message(solicitation, &[1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(Repr::parse(&group), Err(Malformed::Value));
    let mut group = message(solicitation, &[]);
    group[8] = 0xff;
    assert_eq!(Repr::parse(&group), Err(Malformed::Value));
}

#[test]
fn groups() {
    let group = Address::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff12, 0x3456));
    assert_eq!(solicited_node(TARGET), group);
    assert_eq!(
        multicast_mac(group),
        Mac([0x33, 0x33, 0xff, 0x12, 0x34, 0x56])
    );
}

proptest! {
    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..64), kind in 135_u8..=136) {
        if let [first, code, ..] = bytes.as_mut_slice() {
            (*first, *code) = (kind, 0);
        }
        if let Ok(repr) = Repr::parse(&bytes) {
            let mut out = [0; MESSAGE_BYTES_MAX];
            let len = repr.emit(&mut out);
            prop_assert_eq!(Repr::parse(&out[..len]), Ok(repr));
        }
    }
}

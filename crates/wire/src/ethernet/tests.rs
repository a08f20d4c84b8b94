use super::{EtherType, HEADER_BYTES, Mac, Repr};
use crate::Malformed;
use proptest::prelude::*;

const FRAME: [u8; 14] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x08, 0x00,
];

#[test]
fn frame() {
    let repr = Repr {
        dst: Mac::BROADCAST,
        src: Mac([2, 0, 0, 0, 0, 1]),
        ethertype: EtherType::IPV4,
    };
    assert_eq!(Repr::parse(&FRAME), Ok(repr));
    let mut out = [0xaa; 16];
    assert_eq!(repr.emit(&mut out), HEADER_BYTES);
    assert_eq!(out[..14], FRAME);
    assert_eq!(out[14..], [0xaa; 2]);
}

#[test]
fn malformed() {
    assert_eq!(Repr::parse(&FRAME[..13]), Err(Malformed::Truncated));
    let mut llc = FRAME;
    llc[12..].copy_from_slice(&[0x05, 0xdc]);
    assert_eq!(Repr::parse(&llc), Err(Malformed::Unsupported));
}

#[test]
fn kinds_of_addresses() {
    assert!(Mac::BROADCAST.is_broadcast() && Mac::BROADCAST.is_multicast());
    let group = Mac([0x33, 0x33, 0, 0, 0, 1]);
    assert!(group.is_multicast() && !group.is_broadcast() && !group.is_unicast());
    let station = Mac([2, 0, 0, 0, 0xab, 1]);
    assert!(station.is_unicast() && !station.is_multicast());
    assert!(!Mac::default().is_unicast());
    assert_eq!(station.to_string(), "02:00:00:00:ab:01");
}

proptest! {
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..32)) {
        if let Ok(repr) = Repr::parse(&bytes) {
            let mut out = [0; HEADER_BYTES];
            repr.emit(&mut out);
            prop_assert_eq!(&out[..], &bytes[..HEADER_BYTES]);
        }
    }
}

use super::{CHECKSUM_OFFSET, HEADER_BYTES, Repr, checksum_field};
use crate::Malformed;
use proptest::prelude::*;

const HEADER: [u8; 8] = [0x04, 0xd2, 0x00, 0x35, 0x00, 0x10, 0x00, 0x00];

#[test]
fn header() {
    let repr = Repr {
        src_port: 1234,
        dst_port: 53,
        payload_len: 8,
        has_checksum: false,
    };
    assert_eq!(Repr::parse(&HEADER, 16), Ok(repr));
    assert_eq!(
        Repr::parse(&HEADER, 20),
        Ok(repr),
        "bytes behind the datagram"
    );
    let mut out = [0xaa; 10];
    assert_eq!(repr.emit(&mut out), HEADER_BYTES);
    assert_eq!(out[..8], HEADER);
    assert_eq!(out[8..], [0xaa; 2]);
    out[CHECKSUM_OFFSET] = 1;
    assert_eq!(
        Repr::parse(&out, 16),
        Ok(Repr {
            has_checksum: true,
            ..repr
        })
    );
}

#[test]
fn malformed() {
    assert_eq!(Repr::parse(&HEADER[..7], 16), Err(Malformed::Truncated));
    assert_eq!(Repr::parse(&HEADER, 15), Err(Malformed::Length));
    let mut short = HEADER;
    short[5] = 7;
    assert_eq!(Repr::parse(&short, 16), Err(Malformed::Length));
}

#[test]
fn a_checksum_of_zero_is_not_sent() {
    assert_eq!(checksum_field(0), [0xff, 0xff]);
    assert_eq!(checksum_field(0x1234), [0x12, 0x34]);
}

proptest! {
    #[test]
    fn round_trip((src_port, dst_port) in any::<(u16, u16)>(), payload_len in 0_usize..=65527) {
        let repr = Repr { src_port, dst_port, payload_len, has_checksum: false };
        let mut out = [0xff; HEADER_BYTES];
        repr.emit(&mut out);
        prop_assert_eq!(Repr::parse(&out, 65535), Ok(repr));
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..16), available in 0_usize..70_000) {
        if let Ok(repr) = Repr::parse(&bytes, available) {
            prop_assert!(HEADER_BYTES + repr.payload_len <= available);
        }
    }
}

use super::{finish, fold, pseudo_header, sum};
use crate::Address;
use proptest::prelude::*;

/// RFC 1071 section 4.1, as written there.
fn reference(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

#[test]
fn example_of_the_rfc() {
    // RFC 1071 section 3.
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(fold(sum(0, &bytes)), 0xddf2);
    assert_eq!(finish(sum(0, &bytes)), !0xddf2);
}

#[test]
fn extremes() {
    assert_eq!(fold(0), 0);
    assert_eq!(fold(u64::MAX), 0xffff);
    for len in [0, 1, 2, 63, 64, 65, 128, 9000, 65535, 200_000] {
        let ones = vec![0xff; len];
        assert_eq!(
            fold(sum(u64::MAX, &ones)),
            if len % 2 == 0 { 0xffff } else { 0xff00 },
            "{len}"
        );
        assert_eq!(fold(sum(0, &ones)), reference(&ones), "{len}");
    }
}

#[test]
fn pseudo_header_of_either_family() {
    let (src, dst) = (
        Address::from_v4([10, 0, 0, 1]),
        Address::from_v4([10, 0, 0, 2]),
    );
    let plain = [10, 0, 0, 1, 10, 0, 0, 2, 0, 6, 0x12, 0x34];
    assert_eq!(fold(pseudo_header(src, dst, 6, 0x1234)), reference(&plain));

    let (src, dst) = (Address::LOOPBACK_V6, Address([0x20; 16]));
    let mut plain = [src.0, dst.0].concat();
    plain.extend([0, 1, 0x02, 0x03, 0, 0, 0, 17]);
    assert_eq!(
        fold(pseudo_header(src, dst, 17, 0x1_0203)),
        reference(&plain)
    );
}

proptest! {
    #[test]
    fn agrees_with_the_reference(bytes in prop::collection::vec(any::<u8>(), 0..700), cut: usize) {
        prop_assert_eq!(fold(sum(0, &bytes)), reference(&bytes));
        let cut = (cut % (bytes.len() + 1)) & !1;
        let (a, b) = bytes.split_at(cut);
        prop_assert_eq!(fold(sum(sum(0, a), b)), reference(&bytes));
    }

    #[test]
    fn any_accumulator_folds(acc: u64) {
        prop_assert_eq!(fold(acc), reference(&acc.to_ne_bytes()));
    }
}

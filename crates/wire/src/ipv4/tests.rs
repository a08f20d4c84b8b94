use super::{HEADER_BYTES, Repr, emit, parse};
use crate::checksum::{self, Check};
use crate::ip::Fragment;
use crate::{Address, Malformed, Protocol};
use proptest::prelude::*;

/// The header that every text on the checksum uses: UDP, 115 bytes, checksum b861.
const HEADER: [u8; 20] = [
    0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
    0xc0, 0xa8, 0x00, 0xc7,
];

fn repr() -> Repr {
    Repr {
        src: Address::from_v4([192, 168, 0, 1]),
        dst: Address::from_v4([192, 168, 0, 199]),
        protocol: Protocol::UDP,
        hop_limit: 64,
        tos: 0,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: 95,
    }
}

/// What comes of the header with these bytes in it and a checksum that is right.
fn altered(changes: &[(usize, u8)]) -> Result<(Repr, usize), Malformed> {
    let mut header = HEADER;
    for (at, byte) in changes {
        header[*at] = *byte;
    }
    header[10..12].fill(0);
    let sum = checksum::finish(checksum::sum(0, &header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    parse(&header, 2000, Check::Verify)
}

#[test]
fn header() {
    assert_eq!(parse(&HEADER, 115, Check::Verify), Ok((repr(), 20)));
    assert_eq!(Repr::parse(&HEADER, 115, Check::Verify), Ok((repr(), 20)));
    let mut out = [0xaa; 24];
    assert_eq!(repr().emit(&mut out), HEADER_BYTES);
    assert_eq!(out[..20], HEADER);
    assert_eq!(out[20..], [0xaa; 4]);
}

#[test]
fn padding_and_options() {
    assert_eq!(
        parse(&HEADER, 1000, Check::Verify),
        Ok((repr(), 20)),
        "padding"
    );
    let mut header = [HEADER.as_slice(), &[7, 3, 4, 0]].concat();
    header[0] = 0x46;
    let expected = Repr {
        payload_len: 91,
        ..repr()
    };
    assert_eq!(parse(&header, 115, Check::Vouched), Ok((expected, 24)));
    assert_eq!(
        parse(&header[..23], 115, Check::Vouched),
        Err(Malformed::Truncated)
    );
}

#[test]
fn fragments() {
    let fragment = |at, more| Some(Fragment { offset: at, more });
    let of = |changes: &[(usize, u8)]| {
        altered(changes).map(|(repr, _)| (repr.fragment, repr.dont_fragment))
    };
    // 80 bytes of payload.
    assert_eq!(
        of(&[(3, 100), (6, 0x20), (7, 0)]),
        Ok((fragment(0, true), false))
    );
    assert_eq!(
        of(&[(3, 100), (6, 0x20), (7, 10)]),
        Ok((fragment(80, true), false))
    );
    assert_eq!(
        of(&[(3, 99), (6, 0), (7, 20)]),
        Ok((fragment(160, false), false))
    );
    assert_eq!(
        of(&[(3, 99), (6, 0x20), (7, 0)]),
        Err(Malformed::Length),
        "not whole units"
    );
    assert_eq!(
        of(&[(3, 20), (6, 0x20), (7, 0)]),
        Err(Malformed::Length),
        "of nothing"
    );
    assert_eq!(
        of(&[(3, 100), (6, 0x1f), (7, 0xff)]),
        Err(Malformed::Length),
        "beyond the longest packet"
    );
}

#[test]
fn malformed() {
    assert_eq!(
        parse(&HEADER[..19], 115, Check::Verify),
        Err(Malformed::Truncated)
    );
    assert_eq!(parse(&HEADER, 114, Check::Verify), Err(Malformed::Length));
    assert_eq!(altered(&[(0, 0x65)]), Err(Malformed::Version));
    assert_eq!(
        altered(&[(0, 0x44)]),
        Err(Malformed::Length),
        "header too short"
    );
    assert_eq!(
        altered(&[(3, 19)]),
        Err(Malformed::Length),
        "shorter than its header"
    );
    assert_eq!(altered(&[(12, 224)]), Err(Malformed::Value), "from a group");
    let mut wrong = HEADER;
    wrong[8] = 63;
    assert_eq!(parse(&wrong, 115, Check::Verify), Err(Malformed::Checksum));
    assert!(parse(&wrong, 115, Check::Vouched).is_ok());
}

proptest! {
    #[test]
    fn round_trip(
        (src, dst) in any::<([u8; 4], [u8; 4])>(),
        (protocol, hop_limit, tos, ident) in any::<(u8, u8, u8, u16)>(),
        dont_fragment: bool,
        fragment in proptest::option::of((0_u16..1000, any::<bool>())),
        units in 1_usize..100,
    ) {
        let fragment = fragment
            .filter(|(units, more)| *more || *units != 0)
            .map(|(units, more)| Fragment { offset: units * 8, more });
        let repr = Repr {
            src: Address::from_v4(src),
            dst: Address::from_v4(dst),
            protocol: Protocol(protocol),
            hop_limit, tos, ident: u32::from(ident), dont_fragment, fragment,
            payload_len: units * 8,
        };
        prop_assume!(!repr.src.is_multicast() && !repr.src.is_broadcast());
        let mut out = [0xff; 64];
        let len = emit(&repr, &mut out);
        prop_assert_eq!(parse(&out, 2000, Check::Verify), Ok((repr, len)));
    }

    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..80), fix: bool, available in 0_usize..3000) {
        if let (true, Some(first)) = (fix, bytes.first_mut()) {
            *first = 0x40 | (*first & 15);
        }
        if let Ok((repr, len)) = parse(&bytes, available, Check::Vouched) {
            prop_assert!((20..=bytes.len()).contains(&len));
            prop_assert!(len + repr.payload_len <= available);
        }
    }
}

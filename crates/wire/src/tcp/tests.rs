use super::{FastOpen, Flags, HEADER_BYTES_MAX, Options, Repr, SackBlocks, Timestamps};
use crate::{Address, Malformed, Seq, checksum};
use proptest::prelude::*;

/// A SYN as Linux sends it, with the options MSS, SACK permitted, timestamps, NOP, window scale.
const SYN: [u8; 40] = [
    0x9c, 0x40, 0x00, 0x50, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0, 0, 0, 0,
    2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 1, 3, 3, 7,
];

fn syn() -> Repr {
    Repr {
        src_port: 40000,
        dst_port: 80,
        seq: Seq(0x1234_5678),
        ack: Seq(0),
        flags: Flags::SYN,
        window: 64240,
        urgent: 0,
        options: Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                value: 0xdead_beef,
                echo: 0,
            }),
            sack: SackBlocks::EMPTY,
            fast_open: None,
        },
    }
}

fn with_options(list: &[u8]) -> Vec<u8> {
    let mut header = SYN[..20].to_vec();
    header.extend(list);
    assert_eq!(header.len() % 4, 0);
    header[12] = u8::try_from(header.len() / 4).unwrap() << 4;
    header
}

fn parse_options(list: &[u8]) -> Options {
    let header = with_options(list);
    let (repr, len) = Repr::parse(&header).unwrap();
    assert_eq!(len, header.len());
    repr.options
}

#[test]
fn syn_of_linux() {
    assert_eq!(Repr::parse(&SYN), Ok((syn(), 40)));
    let mut out = [0xaa; 64];
    assert_eq!(syn().emit(&mut out), 40);
    assert_eq!(out[..40], SYN);
    assert_eq!(out[40..], [0xaa; 24]);
    assert_eq!(syn().seq_len(0), 1);
    assert_eq!(
        Repr {
            flags: Flags::FIN | Flags::ACK,
            ..syn()
        }
        .seq_len(10),
        11
    );
}

#[test]
fn aligned_timestamps_as_any_other_way() {
    let expected = Options {
        timestamps: Some(Timestamps {
            value: 0x0102_0304,
            echo: 0x0506_0708,
        }),
        ..Options::default()
    };
    assert_eq!(
        parse_options(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
        expected
    );
    assert_eq!(
        parse_options(&[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1]),
        expected
    );
    assert_eq!(
        parse_options(&[1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0]),
        expected
    );
    let mut out = [0; 32];
    Repr {
        options: expected,
        ..syn()
    }
    .emit(&mut out);
    assert_eq!(out[20..], [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn sack_blocks() {
    let mut sack = SackBlocks::EMPTY;
    assert!(sack.push(Seq(1), Seq(2)) && sack.push(Seq(0xffff_fff0), Seq(4)));
    let options = Options {
        sack,
        ..Options::default()
    };
    let list = [
        1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 4,
    ];
    assert_eq!(parse_options(&list), options);
    let mut out = [0; 40];
    Repr { options, ..syn() }.emit(&mut out);
    assert_eq!(out[20..], list);

    assert!(sack.push(Seq(5), Seq(6)) && sack.push(Seq(7), Seq(8)) && !sack.push(Seq(9), Seq(10)));
    assert_eq!(sack.len(), 4);
    // Beside timestamps only three fit.
    let options = Options {
        sack,
        timestamps: Some(Timestamps::default()),
        ..Options::default()
    };
    let repr = Repr { options, ..syn() };
    let mut out = [0; HEADER_BYTES_MAX];
    assert_eq!(repr.emit(&mut out), HEADER_BYTES_MAX);
    let (parsed, _) = Repr::parse(&out).unwrap();
    assert_eq!(
        parsed.options.sack.iter().collect::<Vec<_>>(),
        sack.iter().take(3).collect::<Vec<_>>()
    );
}

#[test]
fn malformed_options_end_the_list() {
    let mss = Options {
        mss: Some(536),
        ..Options::default()
    };
    assert_eq!(parse_options(&[2, 4, 2, 24, 3, 0, 4, 2]), mss, "length 0");
    assert_eq!(parse_options(&[2, 4, 2, 24, 3, 1, 4, 2]), mss, "length 1");
    assert_eq!(
        parse_options(&[2, 4, 2, 24, 3, 9, 4, 2]),
        mss,
        "beyond the header"
    );
    assert_eq!(parse_options(&[2, 4, 2, 24, 1, 1, 1, 3]), mss, "no length");
    assert_eq!(
        parse_options(&[2, 4, 2, 24, 0, 3, 3, 7]),
        mss,
        "behind the end"
    );
    assert_eq!(
        parse_options(&[254, 4, 1, 1, 2, 4, 2, 24]),
        mss,
        "an unknown one"
    );
    assert_eq!(
        parse_options(&[2, 4, 2, 24, 3, 4, 7, 7]),
        mss,
        "window scale of wrong length"
    );
}

#[test]
fn malformed_headers() {
    assert_eq!(Repr::parse(&SYN[..19]), Err(Malformed::Truncated));
    assert_eq!(Repr::parse(&SYN[..39]), Err(Malformed::Truncated));
    let mut short = SYN;
    short[12] = 0x40;
    assert_eq!(Repr::parse(&short), Err(Malformed::Length));
}

#[test]
fn checksum_goes_where_the_offset_says() {
    let (src, dst) = (Address::LOOPBACK_V4, Address::LOOPBACK_V4);
    let mut out = [0; 40];
    syn().emit(&mut out);
    let pseudo = checksum::pseudo_header(src, dst, 6, 40);
    let sum = checksum::finish(checksum::sum(pseudo, &out));
    out[super::CHECKSUM_OFFSET..][..2].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(checksum::finish(checksum::sum(pseudo, &out)), 0);
    assert_eq!(Repr::parse(&out), Ok((syn(), 40)));
}

prop_compose! {
    fn any_options()(
        mss: Option<u16>,
        window_scale: Option<u8>,
        sack_permitted: bool,
        timestamps: Option<(u32, u32)>,
        blocks in prop::collection::vec(any::<(u32, u32)>(), 0..=4),
    ) -> Options {
        let mut options = Options {
            mss,
            window_scale,
            sack_permitted,
            timestamps: timestamps.map(|(value, echo)| Timestamps { value, echo }),
            sack: SackBlocks::EMPTY,
            fast_open: None,
        };
        for (start, end) in blocks.into_iter().take((36 - options.wire_len()) / 8) {
            options.sack.push(Seq(start), Seq(end));
        }
        options
    }
}

proptest! {
    #[test]
    fn round_trip(
        (src_port, dst_port, seq, ack) in any::<(u16, u16, u32, u32)>(),
        (flags, window, urgent) in (0_u16..512, any::<u16>(), any::<u16>()),
        options in any_options(),
    ) {
        let repr = Repr {
            src_port, dst_port, seq: Seq(seq), ack: Seq(ack), window, urgent, options,
            flags: Flags::from_bits_retain(flags),
        };
        let mut out = [0xff; 80];
        let len = repr.emit(&mut out);
        prop_assert_eq!(len, repr.header_len());
        prop_assert_eq!(Repr::parse(&out), Ok((repr, len)));
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok((_, len)) = Repr::parse(&bytes) {
            prop_assert!((20..=bytes.len()).contains(&len));
        }
    }

    #[test]
    fn any_options_list(list in prop::collection::vec(prop_oneof![0_u8..12, any::<u8>()], 40)) {
        let header = with_options(&list);
        let (_, len) = Repr::parse(&header).unwrap();
        prop_assert_eq!(len, 60);
    }
}

#[test]
fn a_cookie_is_written_and_read_and_filled_up() {
    let lengths = [0, 4, 8, 10, 16].into_iter();
    for (len, experimental) in lengths.flat_map(|len| [(len, false), (len, true)]) {
        let cookie = if len == 0 {
            FastOpen::REQUEST
        } else {
            FastOpen::new(&[7; 16][..len]).unwrap()
        };
        let cookie = cookie.in_experiment(experimental);
        let head = if experimental { 4 } else { 2 };
        let repr = Repr {
            flags: Flags::SYN,
            options: Options {
                mss: Some(1460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some(Timestamps { value: 1, echo: 0 }),
                fast_open: Some(cookie),
                ..Options::default()
            },
            ..Repr::default()
        };
        let mut bytes = [0; HEADER_BYTES_MAX];
        let written = repr.emit(&mut bytes);
        assert_eq!(written, repr.header_len());
        assert_eq!(written, 20 + 20 + (head + len).next_multiple_of(4));
        assert_eq!(Repr::parse(&bytes[..written]), Ok((repr, written)));
    }
    for len in [1, 2, 3, 5, 17] {
        assert_eq!(FastOpen::new(&[0; 20][..len]), None);
    }
}

#[test]
fn a_cookie_lies_where_other_hosts_look_for_it() {
    let cookie = FastOpen::new(&[1, 2, 3, 4]).unwrap();
    let list = |cookie: FastOpen| {
        let options = Options {
            fast_open: Some(cookie),
            ..Options::default()
        };
        let mut bytes = vec![0; options.wire_len()];
        options.emit(&mut bytes);
        bytes
    };
    assert_eq!(list(cookie), [34, 6, 1, 2, 3, 4, 1, 1]);
    let experiment = list(cookie.in_experiment(true));
    assert_eq!(experiment, [254, 8, 0xf9, 0x89, 1, 2, 3, 4]);
    // Other experiments are none of ours.
    let other = parse_options(&[254, 8, 0xf9, 0x88, 1, 2, 3, 4]);
    assert_eq!(other.fast_open, None);
}

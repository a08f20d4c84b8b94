use super::Offending;
use crate::ip::{Fragment, Repr};
use crate::{Address, Endpoint, Malformed, Protocol, Seq};
use proptest::prelude::*;

fn packet(src: Address, dst: Address, protocol: Protocol, fragment: Option<Fragment>) -> Vec<u8> {
    let repr = Repr {
        src,
        dst,
        protocol,
        hop_limit: 1,
        tos: 0,
        ident: 9,
        dont_fragment: true,
        fragment,
        payload_len: 1200,
    };
    let mut packet = vec![0; repr.header_len()];
    repr.emit(&mut packet);
    packet.extend([0x08, 0, 0x1f, 0x90, 0xde, 0xad, 0xbe, 0xef]);
    packet
}

const V4: (Address, Address) = (
    Address::from_v4([10, 0, 0, 1]),
    Address::from_v4([10, 0, 0, 2]),
);
const V6: (Address, Address) = (Address([0x20; 16]), Address([0x21; 16]));

#[test]
fn of_either_family() {
    for (src, dst) in [V4, V6] {
        let tcp = Offending {
            protocol: Protocol::TCP,
            src: Endpoint::new(src, 0x0800),
            dst: Endpoint::new(dst, 8080),
            seq: Some(Seq(0xdead_beef)),
            header_len: if src.is_v4() { 20 } else { 40 },
            packet_len: if src.is_v4() { 20 } else { 40 } + 1200,
            echo: None,
        };
        let start = packet(src, dst, Protocol::TCP, None);
        assert_eq!(Offending::parse(&start), Ok(tcp));
        assert_eq!(
            Offending::parse(&start[..start.len() - 1]),
            Err(Malformed::Truncated)
        );

        let udp = Offending {
            protocol: Protocol::UDP,
            seq: None,
            ..tcp
        };
        assert_eq!(
            Offending::parse(&packet(src, dst, Protocol::UDP, None)),
            Ok(udp)
        );
        let first = Some(Fragment {
            offset: 0,
            more: true,
        });
        assert_eq!(
            Offending::parse(&packet(src, dst, Protocol::UDP, first)),
            Ok(Offending {
                header_len: udp.header_len + if src.is_v4() { 0 } else { 8 },
                packet_len: udp.packet_len + if src.is_v4() { 0 } else { 8 },
                ..udp
            }),
            "with the fragment header of IPv6"
        );
        let later = Some(Fragment {
            offset: 8,
            more: true,
        });
        let start = packet(src, dst, Protocol::UDP, later);
        assert_eq!(Offending::parse(&start), Err(Malformed::Unsupported));
    }
}

#[test]
fn echo_and_others() {
    let (src, dst) = V4;
    let echo = Offending::parse(&packet(src, dst, Protocol::ICMP, None)).unwrap();
    assert_eq!(
        (echo.echo, echo.src.port, echo.seq),
        (Some((0xdead, 0xbeef)), 0, None)
    );
    let other = Offending::parse(&packet(src, dst, Protocol(99), None)).unwrap();
    assert_eq!((other.echo, other.src.port, other.seq), (None, 0, None));
}

#[test]
fn what_may_be_reported() {
    let (src, dst) = V4;
    assert!(Offending::may_be_reported(src, dst));
    for group in [Address::from_v4([224, 0, 0, 1]), Address::from_v4([255; 4])] {
        assert!(!Offending::may_be_reported(src, group));
        assert!(!Offending::may_be_reported(group, dst));
    }
    assert!(!Offending::may_be_reported(Address::UNSPECIFIED_V4, dst));
}

proptest! {
    #[test]
    fn any_bytes(mut bytes in prop::collection::vec(any::<u8>(), 0..100), version in 0_u8..=15) {
        if let Some(first) = bytes.first_mut() {
            *first = version << 4 | (*first & 15);
        }
        let _ = Offending::parse(&bytes);
    }
}

use super::*;
use crate::checksum::Check;
use crate::{EtherType, Mac, Protocol, ethernet, ip, udp};
use proptest::prelude::*;
use zerocopy::FromZeros;

fn headers(v4: bool, ports: (u16, u16), payload_len: usize) -> Vec<u8> {
    let (src, dst, ethertype) = if v4 {
        let of = |last| Address::from_v4([10, 0, 0, last]);
        (of(1), of(2), EtherType::IPV4)
    } else {
        (Address([1; 16]), Address([2; 16]), EtherType::IPV6)
    };
    let mut bytes = [0; V6_BYTES];
    let mut at = ethernet::Repr {
        dst: Mac([2, 0, 0, 0, 0, 1]),
        src: Mac([2, 0, 0, 0, 0, 2]),
        ethertype,
    }
    .emit(&mut bytes);
    at += ip::Repr {
        src,
        dst,
        protocol: Protocol::UDP,
        hop_limit: 63,
        tos: 0x14,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: UDP + payload_len,
    }
    .emit(&mut bytes[at..]);
    at += udp::Repr {
        src_port: ports.0,
        dst_port: ports.1,
        payload_len,
        has_checksum: true,
    }
    .emit(&mut bytes[at..]);
    bytes[..at].to_vec()
}

fn parse(head: &[u8], frame_len: usize) -> Option<Arrived> {
    match head.len() {
        V4_BYTES => parse_v4(head.first_chunk().unwrap(), frame_len),
        V6_BYTES => parse_v6(head.first_chunk().unwrap(), frame_len),
        _ => None,
    }
}

proptest! {
    /// The short ways read and write the same as those for all headers.
    #[test]
    fn both_ways_agree(v4: bool, ports: (u16, u16), lens in (0_usize..60_000, 0_usize..60_000)) {
        let head = headers(v4, ports, lens.0);
        let arrived = parse(&head, head.len() + lens.0).unwrap();
        prop_assert_eq!(arrived.payload_len, lens.0);
        prop_assert_eq!((arrived.remote.port, arrived.local.port), ports);
        prop_assert_eq!((arrived.tos, arrived.hop_limit), (0x14, 63));
        prop_assert!(parse(&head, head.len() + lens.0 - 1).is_none() || lens.0 == 0);

        let mut template = Template::new_zeroed();
        template.keep_datagram(&head);
        prop_assert_eq!(template.len(), head.len());
        let mut out = [0; V6_BYTES];
        template.write_datagram(&mut out, lens.1);
        prop_assert_eq!(&out[..template.len()], &headers(v4, ports, lens.1)[..]);
        prop_assert!(ip::Repr::parse(&out[14..], 65_535, Check::Verify).is_ok());
    }

    /// Whatever is not such a header is left to others, and what is taken is what they would see.
    #[test]
    fn altered_headers_are_seen_as_they_are(v4: bool, at in 0_usize..V6_BYTES, bits: u8) {
        let mut head = headers(v4, (7, 9), 10);
        let at = at % head.len();
        head[at] ^= bits;
        let frame_len = head.len() + 10;
        if let Some(arrived) = parse(&head, frame_len) {
            let (src, dst) = (arrived.remote.addr, arrived.local.addr);
            if src.is_multicast() || src.is_broadcast() || dst.is_unspecified() {
                // Addresses that the parser of all headers refuses: it has never found a socket for them.
                return Ok(());
            }
            let (ip, len) = ip::Repr::parse(&head[14..], frame_len - 14, Check::Vouched).unwrap();
            let repr = udp::Repr::parse(&head[14 + len..], ip.payload_len).unwrap();
            prop_assert!(ip.fragment.is_none() && ip.protocol == Protocol::UDP);
            prop_assert_eq!(arrived.payload_len, repr.payload_len);
            prop_assert_eq!(arrived.local, Endpoint::new(ip.dst, repr.dst_port));
            prop_assert_eq!(arrived.remote, Endpoint::new(ip.src, repr.src_port));
        }
    }
}

#[test]
fn groups_and_segments_are_not_taken() {
    let mut head = headers(true, (1, 2), 0);
    head[0] |= GROUP;
    assert!(parse(&head, head.len()).is_none());
    let mut head = headers(true, (1, 2), 0);
    head[field::V4_PROTOCOL] = 6;
    assert!(parse(&head, head.len()).is_none());
    let mut template = Template::new_zeroed();
    template.keep_datagram(&head);
    assert!(template.is_empty());
}

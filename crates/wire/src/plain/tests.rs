use super::*;
use crate::checksum::Check;
use crate::tcp::Options;
use crate::{EtherType, Mac, Protocol, ethernet, ip, vlan};
use proptest::prelude::*;
use zerocopy::FromZeros;

fn headers(v4: bool, segment: &Repr, payload_len: usize) -> Vec<u8> {
    tagged_headers(v4, 0, segment, payload_len)
}

fn tagged_headers(v4: bool, vlan: u16, segment: &Repr, payload_len: usize) -> Vec<u8> {
    let (src, dst) = if v4 {
        (
            Address::from_v4([10, 0, 0, 1]),
            Address::from_v4([10, 0, 0, 2]),
        )
    } else {
        (Address([1; 16]), Address([2; 16]))
    };
    let mut bytes = [0; 200];
    let tags = vlan::Repr {
        outer: (vlan != 0).then(|| vlan::Tag {
            id: vlan,
            ..vlan::Tag::default()
        }),
        inner: None,
        ethertype: if v4 { EtherType::IPV4 } else { EtherType::IPV6 },
    };
    let at = ethernet::Repr {
        dst: Mac([2, 0, 0, 0, 0, 1]),
        src: Mac([2, 0, 0, 0, 0, 2]),
        ethertype: tags.outer_ethertype(),
    }
    .emit(&mut bytes);
    let at = at + tags.emit(&mut bytes[at..]);
    let packet = ip::Repr {
        src,
        dst,
        protocol: Protocol::TCP,
        hop_limit: 64,
        tos: 0x10,
        ident: 0,
        dont_fragment: true,
        fragment: None,
        payload_len: segment.header_len() + payload_len,
    };
    let at = at + packet.emit(&mut bytes[at..]);
    let at = at + segment.emit(&mut bytes[at..]);
    bytes[..at].to_vec()
}

fn segment(seq: u32, ack: u32, window: u16, push: bool, value: u32, echo: u32) -> Repr {
    Repr {
        src_port: 1234,
        dst_port: 80,
        seq: Seq(seq),
        ack: Seq(ack),
        flags: if push {
            Flags::ACK | Flags::PSH
        } else {
            Flags::ACK
        },
        window,
        urgent: 0,
        options: Options {
            timestamps: Some(Timestamps { value, echo }),
            ..Options::default()
        },
    }
}

fn parse(head: &[u8], frame_len: usize) -> Option<Arrived<(Endpoint, Endpoint)>> {
    match head.len() {
        V4_BYTES => {
            let arrived = parse_v4(head.first_chunk().unwrap(), frame_len)?;
            let (local, remote) = arrived.ends.endpoints();
            assert_eq!(V4Ends::of(&local, &remote), Some(arrived.ends));
            Some(Arrived {
                ends: (local, remote),
                segment: arrived.segment,
                payload_len: arrived.payload_len,
            })
        }
        V6_BYTES => parse_v6(head.first_chunk().unwrap(), frame_len),
        _ => None,
    }
}

proptest! {
    /// The short ways read and write the same as those for all headers.
    #[test]
    fn both_ways_agree(
        v4: bool, first: (u32, u32, u16, bool, u32, u32), next: (u32, u32, u16, bool, u32, u32),
        lens in (0_usize..60_000, 0_usize..60_000),
    ) {
        let of = |s: (u32, u32, u16, bool, u32, u32)| segment(s.0, s.1, s.2, s.3, s.4, s.5);
        let (first, next) = (of(first), of(next));
        let head = headers(v4, &first, lens.0);
        let arrived = parse(&head, head.len() + lens.0).unwrap();
        prop_assert_eq!(Plain::of(&first), Some(arrived.segment));
        prop_assert_eq!(arrived.payload_len, lens.0);
        let (local, remote) = arrived.ends;
        prop_assert_eq!((remote.port, local.port), (1234, 80));
        prop_assert!(parse(&head, head.len() + lens.0 - 1).is_none() || lens.0 == 0);

        let mut template = Template::new_zeroed();
        prop_assert!(template.is_empty());
        template.keep(&head);
        let mut out = [0; BYTES_MAX];
        template.write(&mut out, &Plain::of(&next).unwrap(), lens.1);
        let wanted = headers(v4, &next, lens.1);
        prop_assert_eq!(&out[..template.len()], &wanted[..]);
        prop_assert!(ip::Repr::parse(&out[14..], 65_535, Check::Verify).is_ok());
    }

    /// Checksums are those that the parsers of all headers accept, with a tag or without.
    #[test]
    fn checksums_are_finished_and_verified(
        v4: bool, vlan in 0_u16..4095, s: (u32, u32, u16, bool, u32, u32), payload: Vec<u8>, flip in 0_usize..200,
    ) {
        let segment = segment(s.0, s.1, s.2, s.3, s.4, s.5);
        let head = tagged_headers(v4, vlan, &segment, payload.len());
        let mut template = Template::new_zeroed();
        template.keep(&head);
        prop_assert_eq!(template.len(), head.len());
        let mut out = [0; BYTES_MAX];
        template.write(&mut out, &Plain::of(&segment).unwrap(), payload.len());
        prop_assert_eq!(&out[..template.len()], &head[..]);
        template.put_checksum(&mut out, payload.len(), checksum::sum(0, &payload));

        let untagged = untag(&out);
        prop_assert_eq!(untagged.map(|(id, _)| id), (vlan != 0).then_some(vlan));
        let mut plain: [u8; V6_BYTES] = *out.first_chunk().unwrap();
        if let Some((_, bytes)) = untagged {
            plain = bytes;
        }
        let len = if v4 { V4_BYTES } else { V6_BYTES };
        let (ip, ip_len) =
            ip::Repr::parse(&plain[LINK..], len - LINK + payload.len(), Check::Verify).unwrap();
        let tcp_len = u32::try_from(TCP + payload.len()).unwrap();
        let whole = checksum::pseudo_header(ip.src, ip.dst, PROTOCOL_TCP, tcp_len);
        let whole = checksum::sum(whole, &plain[LINK + ip_len..len]);
        prop_assert_eq!(checksum::finish(checksum::sum(whole, &payload)), 0);
        let intact = |plain: &[u8; V6_BYTES]| {
            let sum = if v4 { sum_v4(plain.first_chunk().unwrap()) } else { Some(sum_v6(plain)) };
            sum.is_some_and(|sum| checksum::finish(checksum::sum(sum, &payload)) == 0)
        };
        prop_assert!(intact(&plain));
        // A wrong bit in what a checksum covers is seen; the hop limit and such of IPv6 have none.
        let covered = if v4 { LINK..V4_BYTES } else { LINK + 8..V6_BYTES };
        let at = covered.start + flip % covered.len();
        plain[at] ^= 1;
        prop_assert!(!intact(&plain));
    }

    /// Whatever is not such a header is left to others, and what is taken is what they would see.
    #[test]
    fn altered_headers_are_seen_as_they_are(v4: bool, at in 0_usize..86, bits: u8) {
        let mut head = headers(v4, &segment(1, 2, 3, true, 4, 5), 10);
        let at = at % head.len();
        head[at] ^= bits;
        let frame_len = head.len() + 10;
        if let Some(arrived) = parse(&head, frame_len) {
            let (local, remote) = arrived.ends;
            let (src, dst) = (remote.addr, local.addr);
            if src.is_multicast() || src.is_broadcast() || dst.is_unspecified() {
                // Addresses that no connection has: it will not be found.
                return Ok(());
            }
            let (ip, len) = ip::Repr::parse(&head[14..], frame_len - 14, Check::Vouched).unwrap();
            let (repr, header_len) = Repr::parse(&head[14 + len..]).unwrap();
            prop_assert_eq!(header_len, TCP);
            prop_assert!(ip.fragment.is_none() && ip.protocol == Protocol::TCP);
            prop_assert_eq!(Plain::of(&repr), Some(arrived.segment));
            prop_assert_eq!(arrived.payload_len, ip.payload_len - header_len);
            prop_assert_eq!(local, Endpoint::new(ip.dst, repr.dst_port));
            prop_assert_eq!(remote, Endpoint::new(ip.src, repr.src_port));
        }
    }
}

#[test]
fn others_are_not_taken() {
    let mut template = Template::new_zeroed();
    for flags in [
        Flags::SYN,
        Flags::ACK | Flags::FIN,
        Flags::RST,
        Flags::ACK | Flags::URG,
    ] {
        let repr = Repr {
            flags,
            ..segment(1, 2, 3, false, 4, 5)
        };
        let head = headers(true, &repr, 0);
        assert!(parse(&head, head.len()).is_none());
        template.keep(&head);
        assert!(template.is_empty());
    }
    let bare = Repr {
        options: Options::default(),
        ..segment(1, 2, 3, false, 4, 5)
    };
    template.keep(&headers(true, &bare, 0));
    assert!(template.is_empty());
}

#[test]
fn zeroed_memory_is_no_ends() {
    let nobody = Endpoint::new(Address::UNSPECIFIED_V4, 0);
    assert_ne!(V4Ends::of(&nobody, &nobody), Some(V4Ends::new_zeroed()));
    let v6 = Endpoint::new(Address([1; 16]), 0);
    assert_eq!(V4Ends::of(&v6, &v6), None);
    assert_eq!(V4Ends::of(&nobody, &v6), None);
}

#[test]
fn short_sums_are_finished_as_long_ones() {
    for sum in [
        0, 1, 0xffff, 0x1_0000, 0x1_fffe, 0x1_ffff, 0x9_fff6, 0xa_0000,
    ] {
        assert_eq!(
            checksum::finish_short(sum),
            checksum::finish(u64::from(sum))
        );
    }
}

//! Goes through a frame as a receiver does, every parser that its bytes lead to, and asserts what parsers promise.
//! The fuzz target and the test of arbitrary frames share it.

use sidestep_wire::checksum::{self, Check};
use sidestep_wire::ip::PACKET_BYTES_MAX;
use sidestep_wire::{
    EtherType, Protocol, arp, ethernet, icmp, icmp4, icmp6, ip, ipv4, ipv6, ndp, tcp, udp, vlan,
};

/// Parses all of `frame`, of which the receiver looks at the first `seen` bytes. Returns how many headers were sound.
pub(crate) fn walk(frame: &[u8], seen: usize) -> usize {
    let seen = &frame[..seen.min(frame.len())];
    let Ok(link) = ethernet::Repr::parse(seen) else {
        return 0;
    };
    same_again(&seen[..ethernet::HEADER_BYTES], |out| link.emit(out));
    let at = ethernet::HEADER_BYTES;
    let Ok((tags, tags_len)) = vlan::Repr::parse(link.ethertype, &seen[at..]) else {
        return 1;
    };
    assert_eq!(tags.emit(&mut [0; 8]), tags_len);
    let at = at + tags_len;
    let (packet, available) = (&seen[at..], frame.len() - at);
    1 + match tags.ethertype {
        EtherType::ARP => arp::Repr::parse(packet).map_or(0, |arp| {
            same_again(&packet[..arp::PACKET_BYTES], |out| arp.emit(out));
            1
        }),
        EtherType::IPV4 => walk_ip(packet, ipv4::parse(packet, available, Check::Vouched)),
        EtherType::IPV6 => walk_ip(packet, ipv6::parse(packet, available)),
        _ => 0,
    }
}

fn walk_ip(packet: &[u8], parsed: Result<(ip::Repr, usize), sidestep_wire::Malformed>) -> usize {
    let Ok((repr, header_len)) = parsed else {
        return 0;
    };
    assert!(header_len <= packet.len());
    assert!(header_len + repr.payload_len <= PACKET_BYTES_MAX + ipv6::HEADER_BYTES);
    assert_eq!(repr.src.is_v4(), repr.dst.is_v4());
    emits_what_it_parsed(&repr);
    let rest = &packet[header_len..];
    let payload = &rest[..repr.payload_len.min(rest.len())];
    let pseudo = checksum::pseudo_header(repr.src, repr.dst, repr.protocol.0, 0);
    assert_ne!(checksum::fold(checksum::sum(pseudo, payload)), 0);
    if let Some(fragment) = repr.fragment {
        assert!(usize::from(fragment.offset) + repr.payload_len <= PACKET_BYTES_MAX);
        let _ = ipv6::parse_extensions(repr.protocol, payload, repr.payload_len, false);
        return 1;
    }
    1 + match repr.protocol {
        Protocol::TCP => walk_tcp(payload),
        Protocol::UDP => udp::Repr::parse(payload, repr.payload_len).map_or(0, |udp| {
            assert!(udp::HEADER_BYTES + udp.payload_len <= repr.payload_len);
            1
        }),
        Protocol::ICMP => icmp4::parse(payload).map_or(0, |repr| walk_icmp(&repr, icmp4::emit)),
        Protocol::ICMPV6 if ndp::Repr::is_in(payload) => {
            ndp::Repr::parse(payload).map_or(0, |ndp| {
                let mut out = [0; ndp::MESSAGE_BYTES_MAX];
                let len = ndp.emit(&mut out);
                assert_eq!(ndp::Repr::parse(&out[..len]), Ok(ndp));
                1
            })
        }
        Protocol::ICMPV6 => icmp6::parse(payload).map_or(0, |repr| walk_icmp(&repr, icmp6::emit)),
        _ => 0,
    }
}

/// What was parsed can be sent, and is then parsed as the same.
fn emits_what_it_parsed(repr: &ip::Repr) {
    // Headers that are not sent anew (extensions, options) made room for a payload as long as this.
    let mut out = [0; ipv6::HEADER_BYTES + ipv6::FRAGMENT_HEADER_BYTES];
    let len = repr.emit(&mut out);
    let available = len + repr.payload_len;
    let again = ip::Repr::parse(&out[..len], available, Check::Verify);
    assert_eq!(again, Ok((*repr, len)));
}

fn walk_tcp(segment: &[u8]) -> usize {
    let Ok((repr, header_len)) = tcp::Repr::parse(segment) else {
        return 0;
    };
    assert!((tcp::HEADER_BYTES..=segment.len()).contains(&header_len));
    let mut out = [0; tcp::HEADER_BYTES_MAX];
    let len = repr.emit(&mut out);
    let (again, _) = tcp::Repr::parse(&out[..len]).expect("what was emitted");
    // Options may come in forms that take less room than ours, so SACK blocks may have been left out.
    assert!(again.options.sack.len() <= repr.options.sack.len());
    let sack = again.options.sack;
    assert_eq!(
        again,
        tcp::Repr {
            options: tcp::Options {
                sack,
                ..repr.options
            },
            ..repr
        }
    );
    1
}

fn walk_icmp(repr: &icmp::Repr<'_>, emit: fn(&icmp::Repr<'_>, &mut [u8]) -> usize) -> usize {
    let packet: &[u8] = match *repr {
        icmp::Repr::Error { packet, .. } => packet,
        _ => &[],
    };
    let mut out = vec![0; icmp::HEADER_BYTES + packet.len()];
    assert_eq!(emit(repr, &mut out), out.len());
    let _ = icmp::Offending::parse(packet);
    1
}

/// The header has one form only, so what was parsed is emitted as it was.
fn same_again(bytes: &[u8], emit: impl FnOnce(&mut [u8]) -> usize) {
    let mut out = [0; 32];
    let len = emit(&mut out);
    assert_eq!(&out[..len], bytes);
}

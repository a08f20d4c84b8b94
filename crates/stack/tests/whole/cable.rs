//! What may become of a frame: changed, tagged, quoted by a router, made up.

use sidestep_wire::{Protocol, checksum, ethernet, icmp, ip, tcp, udp};

/// A frame on its way.
#[derive(Clone)]
pub(crate) struct Passing {
    /// Which end it goes to.
    pub(crate) to: usize,
    pub(crate) frame: Vec<u8>,
    /// Changed already. A second change might make up for the first in a checksum.
    pub(crate) changed: bool,
}

/// Bytes of a VLAN's tag.
const TAG_BYTES: usize = 4;

/// Where the packet begins.
fn packet_at(frame: &[u8]) -> usize {
    let tagged = frame
        .get(12..14)
        .is_some_and(|kind| matches!(kind, [0x81, 0] | [0x88, 0xa8]));
    ethernet::HEADER_BYTES + if tagged { TAG_BYTES } else { 0 }
}

/// Makes the checksums of a frame those of what it holds, as far as it holds anything.
pub(crate) fn finish(frame: &mut [u8]) -> Option<()> {
    let at = packet_at(frame);
    let packet = frame.get_mut(at..)?;
    let first = *packet.first()?;
    let header = usize::from(first & 15) * 4;
    if first >> 4 == 4 && header >= 20 && header <= packet.len() {
        packet[10..12].fill(0);
        let sum = checksum::finish(checksum::sum(0, &packet[..header]));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let (repr, len) = ip::Repr::parse(packet, packet.len(), checksum::Check::Vouched).ok()?;
    let place = match repr.protocol {
        Protocol::TCP => tcp::CHECKSUM_OFFSET,
        Protocol::UDP => udp::CHECKSUM_OFFSET,
        _ => icmp::CHECKSUM_OFFSET,
    };
    let transport = packet.get_mut(len..len + repr.payload_len)?;
    transport.get_mut(place..place + 2)?.fill(0);
    let pseudo = match repr.protocol {
        Protocol::ICMP => 0,
        protocol => {
            let len = u32::try_from(transport.len()).ok()?;
            checksum::pseudo_header(repr.src, repr.dst, protocol.0, len)
        }
    };
    let sum = checksum::finish(checksum::sum(pseudo, transport));
    transport[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// The same frame in a VLAN.
pub(crate) fn tagged(frame: &[u8], id: u8) -> Vec<u8> {
    let (link, rest) = frame.split_at(frame.len().min(12));
    [link, &[0x81, 0, 0, id], rest].concat()
}

/// What a router says of a packet, to whoever sent it: a kind of error with its code, or that it is too long for what
/// carries `mtu`. None of a frame that is no packet.
pub(crate) fn complaint(frame: &[u8], (kind, code): (u8, u8), mtu: u16) -> Option<Vec<u8>> {
    let packet = frame.get(packet_at(frame)..)?;
    let (repr, _) = ip::Repr::parse(packet, packet.len(), checksum::Check::Vouched).ok()?;
    let quoted = &packet[..packet.len().min(100)];
    let is_v4 = repr.src.is_v4();
    let (kinds, too_big) = if is_v4 {
        (&[3, 11, 12, 4, 8, 0][..], (3, 4))
    } else {
        (&[1, 3, 4, 128, 129, 137][..], (2, 0))
    };
    let (kind, code) = match usize::from(kind) % (kinds.len() + 1) {
        0 => too_big,
        place => (kinds[place - 1], code % 17),
    };
    let mut message = vec![kind, code, 0, 0, 0, 0];
    message.extend(mtu.to_be_bytes());
    message.extend(quoted);
    let answer = ip::Repr {
        src: repr.dst,
        dst: repr.src,
        protocol: if is_v4 {
            Protocol::ICMP
        } else {
            Protocol::ICMPV6
        },
        hop_limit: 60,
        tos: 0,
        ident: 0,
        dont_fragment: false,
        fragment: None,
        payload_len: message.len(),
    };
    let mut bytes = vec![0; ethernet::HEADER_BYTES + 40];
    // Back to where the frame came from.
    bytes[..6].copy_from_slice(&frame[6..12]);
    bytes[6..12].copy_from_slice(&frame[..6]);
    bytes[12..14].copy_from_slice(if is_v4 { &[8, 0] } else { &[0x86, 0xdd] });
    let len = answer.emit(&mut bytes[ethernet::HEADER_BYTES..]);
    bytes.truncate(ethernet::HEADER_BYTES + len);
    bytes.extend(message);
    finish(&mut bytes);
    Some(bytes)
}

//! The headers that nearly every TCP segment has: Ethernet, IP without options, and a TCP header with nothing but
//! timestamps, ACK and perhaps PSH. Parsed in one step, and written from what the last ones of the connection were.
//! A VLAN tag may lie between Ethernet and IP: it is taken out before they are parsed, and written with them.
//! [`datagram`] does the same for UDP.

use crate::checksum;
use crate::tcp::{Flags, Repr, Timestamps};
use crate::vlan::TAG_BYTES;
use crate::{Address, Endpoint, Seq, bytes_at, put, u16_at, u32_at};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub mod datagram;

/// Bytes of these headers with IPv4.
pub const V4_BYTES: usize = LINK + 20 + TCP;
/// Bytes of these headers with IPv6.
pub const V6_BYTES: usize = LINK + 40 + TCP;
/// Most bytes of these headers, with a VLAN tag.
pub const BYTES_MAX: usize = V6_BYTES + TAG_BYTES;

const LINK: usize = 14;
/// 20 bytes, and timestamps aligned as RFC 7323 appendix A recommends.
const TCP: usize = 32;

mod field {
    pub(super) const ETHERTYPE: usize = 12;
    pub(super) const IP: usize = super::LINK;
    pub(super) const V4_LENGTH: usize = IP + 2;
    pub(super) const V4_FRAGMENT: usize = IP + 6;
    pub(super) const V4_PROTOCOL: usize = IP + 9;
    pub(super) const V4_CHECKSUM: usize = IP + 10;
    pub(super) const V4_SRC: usize = IP + 12;
    pub(super) const V4_DST: usize = IP + 16;
    pub(super) const V6_LENGTH: usize = IP + 4;
    pub(super) const V6_NEXT: usize = IP + 6;
    pub(super) const V6_SRC: usize = IP + 8;
    pub(super) const V6_DST: usize = IP + 24;
    // From the start of the TCP header.
    pub(super) const SRC_PORT: usize = 0;
    pub(super) const DST_PORT: usize = 2;
    pub(super) const SEQ: usize = 4;
    pub(super) const ACK: usize = 8;
    pub(super) const OFFSET_FLAGS: usize = 12;
    pub(super) const WINDOW: usize = 14;
    pub(super) const CHECKSUM: usize = 16;
    pub(super) const OPTIONS: usize = 20;
    pub(super) const TS_VALUE: usize = 24;
    pub(super) const TS_ECHO: usize = 28;
}

/// Version 4, five words.
const V4_START: u8 = 0x45;
/// Words of memory, as several fields in a row are compared at once: the type of the frame and the start of its IPv4
/// header, and what is not compared of the type of service behind them; no fragment, any hop limit, TCP.
const V4_KIND: u32 = u32::from_ne_bytes([0x08, 0x00, V4_START, 0]);
const V4_KIND_BITS: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);
const V4_WHOLE_TCP: u32 = u32::from_ne_bytes([0, 0, 0, PROTOCOL_TCP]);
const V4_WHOLE_BITS: u32 = u32::from_ne_bytes([0x3f, 0xff, 0, 0xff]);
/// Congestion was experienced (RFC 3168 section 5).
const V4_CONGESTION: u8 = 0x03;
const V6_CONGESTION: u8 = 0x30;
/// More fragments, or an offset.
const FRAGMENT_BITS: u16 = 0x3fff;
const PROTOCOL_TCP: u8 = 6;
/// Type of a frame with a tag, and what of the tag is the VLAN's identifier.
const VLAN: u16 = 0x8100;
const VLAN_ID_BITS: u16 = 0x0fff;
/// Eight words, and the flags.
const OFFSET_ACK: u16 = 0x8000 | Flags::ACK.bits();
const PSH: u16 = Flags::PSH.bits();
const TIMESTAMPS: u32 = u32::from_be_bytes([1, 1, 8, 10]);

/// What such a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Sequence number of the first byte.
    pub seq: Seq,
    /// Next sequence number that the sender expects.
    pub ack: Seq,
    /// The window as on the wire: not scaled.
    pub window: u16,
    /// The push function.
    pub push: bool,
    /// Timestamps; always there in a segment that was parsed.
    pub timestamps: Option<Timestamps>,
}

impl Plain {
    /// What a header says, if it is such a one.
    #[inline]
    pub fn of(repr: &Repr) -> Option<Self> {
        let plain = repr.flags.bits() & !Flags::PSH.bits() == Flags::ACK.bits()
            && repr.options.sack.is_empty();
        plain.then_some(Self {
            seq: repr.seq,
            ack: repr.ack,
            window: repr.window,
            push: repr.flags.contains(Flags::PSH),
            timestamps: repr.options.timestamps,
        })
    }
}

/// A frame with such a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived<E> {
    /// Our end and the sender.
    pub ends: E,
    /// What its TCP header says.
    pub segment: Plain,
    /// Bytes of payload, which begin where the headers end; never more than the frame has.
    pub payload_len: usize,
}

/// Both ends of a segment of IPv4 as they lie in its frame, the sender's first: what a connection is found by without
/// anything being put in order. Zeroed memory is no ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct V4Ends {
    addresses: u64,
    ports: u64,
}

impl V4Ends {
    /// Set in the ports, so that no frame has the ends that zeroed memory has.
    const SOME: u64 = 1 << 32;

    /// What a frame of IPv4 without options has, if it is one.
    #[inline]
    pub fn of_frame(head: &[u8; ENDS_BYTES]) -> Self {
        let ports = u32::from_ne_bytes(bytes_at(head, LINK + 20));
        Self {
            addresses: u64::from_ne_bytes(bytes_at(head, field::V4_SRC)),
            ports: u64::from(ports) | Self::SOME,
        }
    }

    /// The ends of what comes to `local` from `remote`. None where they are not of IPv4.
    #[inline]
    pub fn of(local: &Endpoint, remote: &Endpoint) -> Option<Self> {
        if !local.addr.is_v4() || !remote.addr.is_v4() {
            return None;
        }
        let mut head = [0; ENDS_BYTES];
        put(&mut head, field::V4_SRC, remote.addr.v4_octets());
        put(&mut head, field::V4_DST, local.addr.v4_octets());
        put(&mut head, LINK + 20, remote.port.to_be_bytes());
        put(&mut head, LINK + 22, local.port.to_be_bytes());
        Some(Self::of_frame(&head))
    }

    /// As endpoints, ours first.
    #[inline]
    pub fn endpoints(&self) -> (Endpoint, Endpoint) {
        let addresses = self.addresses.to_ne_bytes();
        let ports = self.ports.to_ne_bytes();
        let ports = if cfg!(target_endian = "big") {
            &ports[4..]
        } else {
            &ports[..4]
        };
        (
            Endpoint::new(Address::from_v4(bytes_at(&addresses, 4)), u16_at(ports, 2)),
            Endpoint::new(Address::from_v4(bytes_at(&addresses, 0)), u16_at(ports, 0)),
        )
    }

    /// Both as numbers, to hash.
    #[inline]
    pub const fn words(&self) -> [u64; 2] {
        [self.addresses, self.ports]
    }
}

/// Bytes of a frame that [`V4Ends::of_frame`] looks at.
pub const ENDS_BYTES: usize = LINK + 20 + 4;

/// Reads the headers of a frame of `frame_len` bytes. None if they are not such ones, or contradict the frame: a parser
/// of all headers must look. No checksum is verified.
#[inline]
pub fn parse_v4(head: &[u8; V4_BYTES], frame_len: usize) -> Option<Arrived<V4Ends>> {
    let kind = u32::from_ne_bytes(bytes_at(head, field::ETHERTYPE));
    if kind & V4_KIND_BITS != V4_KIND {
        return None;
    }
    let whole = u32::from_ne_bytes(bytes_at(head, field::V4_FRAGMENT));
    if whole & V4_WHOLE_BITS != V4_WHOLE_TCP {
        return None;
    }
    if head[field::IP + 1] & V4_CONGESTION == V4_CONGESTION {
        return None;
    }
    let length = usize::from(u16_at(head, field::V4_LENGTH));
    if LINK + length > frame_len {
        return None;
    }
    if length < V4_BYTES - LINK {
        return None;
    }
    Some(Arrived {
        ends: V4Ends::of_frame(head.first_chunk()?),
        segment: parse_tcp(head.last_chunk()?)?,
        payload_len: LINK + length - V4_BYTES,
    })
}

/// As [`parse_v4`], for IPv6.
#[inline]
pub fn parse_v6(head: &[u8; V6_BYTES], frame_len: usize) -> Option<Arrived<(Endpoint, Endpoint)>> {
    let length = usize::from(u16_at(head, field::V6_LENGTH));
    let (src, dst) = (
        Address(bytes_at(head, field::V6_SRC)),
        Address(bytes_at(head, field::V6_DST)),
    );
    let ours = u16_at(head, field::ETHERTYPE) == 0x86dd
        && head[field::IP] >> 4 == 6
        && head[field::IP + 1] & V6_CONGESTION != V6_CONGESTION
        && head[field::V6_NEXT] == PROTOCOL_TCP
        && LINK + 40 + length <= frame_len
        && length >= TCP
        // A mapped address in a packet would pass for one of IPv4 (RFC 4942 section 2.2).
        && !src.is_v4()
        && !dst.is_v4();
    if !ours {
        return None;
    }
    let tcp = head.last_chunk::<TCP>()?;
    Some(Arrived {
        ends: (
            Endpoint::new(dst, u16_at(tcp, field::DST_PORT)),
            Endpoint::new(src, u16_at(tcp, field::SRC_PORT)),
        ),
        segment: parse_tcp(tcp)?,
        payload_len: length - TCP,
    })
}

#[inline]
fn parse_tcp(tcp: &[u8; TCP]) -> Option<Plain> {
    let flags = u16_at(tcp, field::OFFSET_FLAGS);
    if flags & !PSH != OFFSET_ACK || u32_at(tcp, field::OPTIONS) != TIMESTAMPS {
        return None;
    }
    Some(Plain {
        seq: Seq(u32_at(tcp, field::SEQ)),
        ack: Seq(u32_at(tcp, field::ACK)),
        window: u16_at(tcp, field::WINDOW),
        push: flags & PSH != 0,
        timestamps: Some(Timestamps {
            value: u32_at(tcp, field::TS_VALUE),
            echo: u32_at(tcp, field::TS_ECHO),
        }),
    })
}

/// The sum over the TCP header and its pseudo header, for the payload's to be added: a segment whose whole sum
/// [finishes](checksum::finish) to 0 is intact. None if the IPv4 header is not.
#[inline]
pub fn sum_v4(head: &[u8; V4_BYTES]) -> Option<u64> {
    if checksum::finish(checksum::sum(0, &head[field::IP..V4_BYTES - TCP])) != 0 {
        return None;
    }
    let len = u32::from(u16_at(head, field::V4_LENGTH)).saturating_sub(20);
    let addresses = checksum::sum(0, &head[field::V4_SRC..field::V4_SRC + 8]);
    let pseudo = checksum::add(addresses, checksum::pseudo_words(PROTOCOL_TCP, len));
    Some(checksum::sum(pseudo, &head[V4_BYTES - TCP..]))
}

/// As [`sum_v4`], for IPv6, whose header has no sum.
#[inline]
pub fn sum_v6(head: &[u8; V6_BYTES]) -> u64 {
    let len = u32::from(u16_at(head, field::V6_LENGTH));
    let addresses = checksum::sum(0, &head[field::V6_SRC..field::V6_SRC + 32]);
    let pseudo = checksum::add(addresses, checksum::pseudo_words(PROTOCOL_TCP, len));
    checksum::sum(pseudo, &head[V6_BYTES - TCP..])
}

/// Takes a VLAN tag out of the start of a frame; returns the VLAN's identifier, and what the frame begins with without
/// the tag. None where there is no tag.
#[inline]
pub fn untag(head: &[u8; BYTES_MAX]) -> Option<(u16, [u8; V6_BYTES])> {
    if u16_at(head, field::ETHERTYPE) != VLAN {
        return None;
    }
    let mut bytes = [0; V6_BYTES];
    bytes[..field::ETHERTYPE].copy_from_slice(&head[..field::ETHERTYPE]);
    bytes[field::ETHERTYPE..].copy_from_slice(&head[field::ETHERTYPE + TAG_BYTES..]);
    Some((u16_at(head, LINK) & VLAN_ID_BITS, bytes))
}

/// The headers of a connection's segments, to be written again with what changes: lengths, sequence numbers, window,
/// timestamps; or of a socket's datagrams. Zeroed memory is none.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Template {
    bytes: [u8; BYTES_MAX],
    /// Bytes in use, 0 for none.
    len: u8,
    /// Bytes in front of the IP header: with a VLAN tag or without.
    link: u8,
    /// IPv4: the header's sum without the length, in the byte order of memory.
    sum: u32,
    /// The pseudo header's sum without the length, likewise.
    pseudo: u32,
}

impl Template {
    /// Keeps headers as they were sent. Those that are not plain ones leave it empty.
    pub fn keep(&mut self, headers: &[u8]) {
        self.len = 0;
        let tagged = headers.len() >= LINK && u16_at(headers, field::ETHERTYPE) == VLAN;
        let link = if tagged { LINK + TAG_BYTES } else { LINK };
        let Some(ip) = headers.get(link..) else {
            return;
        };
        let mut head = [0; V6_BYTES];
        if LINK + ip.len() > V6_BYTES {
            return;
        }
        head[field::ETHERTYPE..LINK].copy_from_slice(&headers[link - 2..link]);
        head[LINK..LINK + ip.len()].copy_from_slice(ip);
        let is_v4 = LINK + ip.len() == V4_BYTES;
        let ends = if is_v4 {
            let plain = head
                .first_chunk()
                .and_then(|head| parse_v4(head, usize::MAX));
            plain.map(|plain| plain.ends.endpoints())
        } else if LINK + ip.len() == V6_BYTES {
            parse_v6(&head, usize::MAX).map(|plain| plain.ends)
        } else {
            None
        };
        let Some((ours, theirs)) = ends else { return };
        self.bytes[..headers.len()].copy_from_slice(headers);
        // Zero for those that the link has computed, and for none at all; and the urgent pointer.
        put(
            &mut self.bytes,
            headers.len() - TCP + field::CHECKSUM,
            [0; 4],
        );
        if is_v4 {
            self.keep_v4_sum(link, ip.len());
        }
        let pseudo = checksum::pseudo_header(ours.addr, theirs.addr, PROTOCOL_TCP, 0);
        self.pseudo = short_sum(pseudo);
        #[expect(clippy::cast_possible_truncation, reason = "small lengths")]
        {
            (self.len, self.link) = (headers.len() as u8, link as u8);
        }
    }

    /// Sums the IPv4 header up without its length, and finishes it for a packet of so many bytes: one without payload.
    fn keep_v4_sum(&mut self, link: usize, total: usize) {
        put(&mut self.bytes, link + field::V4_LENGTH - LINK, [0; 2]);
        put(&mut self.bytes, link + field::V4_CHECKSUM - LINK, [0; 2]);
        self.sum = short_sum(checksum::sum(0, &self.bytes[link..link + 20]));
        let mut bytes = self.bytes;
        self.write_v4_total(&mut bytes, link, total);
        self.bytes = bytes;
    }

    /// Forgets them: something that they say has changed.
    pub const fn forget(&mut self) {
        self.len = 0;
    }

    /// Whether there are none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that [`write`](Self::write) fills; 0 if there are none.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether they have a VLAN tag.
    #[inline]
    pub const fn is_tagged(&self) -> bool {
        self.link as usize != LINK
    }

    /// Whether they are of IPv4 without a tag, for [`v4`](Self::v4).
    #[inline]
    pub const fn is_v4(&self) -> bool {
        self.len() == V4_BYTES
    }

    /// As [`write`](Self::write), where [they are of IPv4](Self::is_v4) without a tag.
    #[inline]
    pub fn v4(&self, segment: &Plain, payload_len: usize) -> [u8; V4_BYTES] {
        let mut out = self.v4_bare(segment);
        self.write_v4_total(&mut out, LINK, V4_BYTES - LINK + payload_len);
        out
    }

    /// As [`v4`](Self::v4), without payload: the IP header is the same in all.
    #[inline]
    pub fn v4_bare(&self, segment: &Plain) -> [u8; V4_BYTES] {
        let mut out = [0; V4_BYTES];
        out.copy_from_slice(&self.bytes[..V4_BYTES]);
        write_tcp(&mut out, V4_BYTES - TCP, segment);
        out
    }

    /// Writes the headers of a segment; the TCP checksum is zero.
    #[inline]
    pub fn write(&self, out: &mut [u8; BYTES_MAX], segment: &Plain, payload_len: usize) {
        if self.is_v4() {
            out[..V4_BYTES].copy_from_slice(&self.v4(segment, payload_len));
        } else {
            *out = self.bytes;
            self.write_others(out, segment, payload_len);
        }
    }

    /// Headers that are not those of IPv4 without a tag.
    fn write_others(&self, out: &mut [u8; BYTES_MAX], segment: &Plain, payload_len: usize) {
        let (link, len) = (usize::from(self.link), self.len());
        if len - link == V4_BYTES - LINK {
            self.write_v4_total(out, link, V4_BYTES - LINK + payload_len);
        } else {
            let length = length_bytes(TCP + payload_len);
            put(out, link + field::V6_LENGTH - LINK, length);
        }
        write_tcp(out, len - TCP, segment);
    }

    #[inline]
    fn write_v4_total(&self, out: &mut [u8], link: usize, total: usize) {
        let length = length_bytes(total);
        put(out, link + field::V4_LENGTH - LINK, length);
        let sum = self.sum + u32::from(u16::from_ne_bytes(length));
        let value = checksum::finish_short(sum).to_be_bytes();
        put(out, link + field::V4_CHECKSUM - LINK, value);
    }

    /// Finishes the TCP checksum of headers that [`write`](Self::write) wrote, given the sum over the payload.
    #[inline]
    pub fn put_checksum(&self, out: &mut [u8; BYTES_MAX], payload_len: usize, payload_sum: u64) {
        let tcp = &mut out[self.len() - TCP..self.len()];
        #[expect(clippy::cast_possible_truncation, reason = "no frame is so long")]
        let len = (TCP + payload_len) as u32;
        let words = u64::from(self.pseudo) + u64::from(len.to_be());
        let sum = checksum::add(checksum::sum(payload_sum, tcp), words);
        put(tcp, field::CHECKSUM, checksum::finish(sum).to_be_bytes());
    }

    /// Writes the sum over the pseudo-header in the TCP checksum's place, for the link to finish.
    #[inline]
    pub fn begin_checksum(&self, out: &mut [u8; BYTES_MAX], payload_len: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "no frame is so long")]
        let len = (TCP + payload_len) as u32;
        let sum = u64::from(self.pseudo) + u64::from(len.to_be());
        let at = self.len() - TCP + field::CHECKSUM;
        put(out, at, checksum::fold(sum).to_be_bytes());
    }

    /// Where the TCP header begins.
    #[inline]
    pub const fn tcp_start(&self) -> usize {
        self.len() - TCP
    }
}

#[inline]
fn write_tcp(out: &mut [u8], at: usize, segment: &Plain) {
    let tcp = &mut out[at..at + TCP];
    let flags = OFFSET_ACK | if segment.push { PSH } else { 0 };
    let timestamps = segment.timestamps.unwrap_or_default();
    put(tcp, field::SEQ, segment.seq.0.to_be_bytes());
    put(tcp, field::ACK, segment.ack.0.to_be_bytes());
    put(tcp, field::OFFSET_FLAGS, flags.to_be_bytes());
    put(tcp, field::WINDOW, segment.window.to_be_bytes());
    put(tcp, field::TS_VALUE, timestamps.value.to_be_bytes());
    put(tcp, field::TS_ECHO, timestamps.echo.to_be_bytes());
}

/// A sum in 16 bits, in the byte order of memory.
fn short_sum(acc: u64) -> u32 {
    u32::from(checksum::fold(acc).to_be())
}

#[inline]
fn length_bytes(len: usize) -> [u8; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "no frame is so long")]
    (len as u16).to_be_bytes()
}

#[cfg(test)]
mod tests;

//! The headers that nearly every TCP segment has: Ethernet, IP without options, and a TCP header with nothing but
//! timestamps, ACK and perhaps PSH. Parsed in one step, and written from what the last ones of the connection were.

use crate::checksum;
use crate::tcp::{Flags, Repr, Timestamps};
use crate::{Address, Endpoint, Seq, bytes_at, put, u16_at, u32_at};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of these headers with IPv4.
pub const V4_BYTES: usize = LINK + 20 + TCP;
/// Bytes of these headers with IPv6.
pub const V6_BYTES: usize = LINK + 40 + TCP;

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
    pub(super) const CHECKSUM_URGENT: usize = 16;
    pub(super) const OPTIONS: usize = 20;
    pub(super) const TS_VALUE: usize = 24;
    pub(super) const TS_ECHO: usize = 28;
}

/// Version 4, five words.
const V4_START: u8 = 0x45;
/// More fragments, or an offset.
const FRAGMENT_BITS: u16 = 0x3fff;
const PROTOCOL_TCP: u8 = 6;
/// Eight words, and the flags.
const OFFSET_ACK: u16 = 0x8000 | Flags::ACK.bits() as u16;
const PSH: u16 = Flags::PSH.bits() as u16;
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
pub struct Arrived {
    /// Our end.
    pub local: Endpoint,
    /// The sender.
    pub remote: Endpoint,
    /// What its TCP header says.
    pub segment: Plain,
    /// Bytes of payload, which begin where the headers end; never more than the frame has.
    pub payload_len: usize,
}

/// Reads the headers of a frame of `frame_len` bytes. None if they are not such ones, or contradict the frame: a parser
/// of all headers must look. No checksum is verified.
#[inline]
pub fn parse_v4(head: &[u8; V4_BYTES], frame_len: usize) -> Option<Arrived> {
    let length = usize::from(u16_at(head, field::V4_LENGTH));
    let ours = u16_at(head, field::ETHERTYPE) == 0x0800
        && head[field::IP] == V4_START
        && u16_at(head, field::V4_FRAGMENT) & FRAGMENT_BITS == 0
        && head[field::V4_PROTOCOL] == PROTOCOL_TCP
        && LINK + length <= frame_len
        && LINK + length >= V4_BYTES;
    if !ours {
        return None;
    }
    let tcp = head.last_chunk::<TCP>()?;
    Some(Arrived {
        local: Endpoint::new(
            Address::from_v4(bytes_at(head, field::V4_DST)),
            u16_at(tcp, field::DST_PORT),
        ),
        remote: Endpoint::new(
            Address::from_v4(bytes_at(head, field::V4_SRC)),
            u16_at(tcp, field::SRC_PORT),
        ),
        segment: parse_tcp(tcp)?,
        payload_len: LINK + length - V4_BYTES,
    })
}

/// As [`parse_v4`], for IPv6.
#[inline]
pub fn parse_v6(head: &[u8; V6_BYTES], frame_len: usize) -> Option<Arrived> {
    let length = usize::from(u16_at(head, field::V6_LENGTH));
    let (src, dst) = (
        Address(bytes_at(head, field::V6_SRC)),
        Address(bytes_at(head, field::V6_DST)),
    );
    let ours = u16_at(head, field::ETHERTYPE) == 0x86dd
        && head[field::IP] >> 4 == 6
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
        local: Endpoint::new(dst, u16_at(tcp, field::DST_PORT)),
        remote: Endpoint::new(src, u16_at(tcp, field::SRC_PORT)),
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

/// Bytes of a frame that [`guess_v4`] looks at.
pub const GUESS_BYTES: usize = LINK + 20 + 4;

/// The ends that a frame of IPv4 without options seems to be for and from, to fetch what will be needed for it: ours
/// first. Nothing is checked.
#[inline]
pub fn guess_v4(head: &[u8; GUESS_BYTES]) -> (Endpoint, Endpoint) {
    let ports = LINK + 20;
    (
        Endpoint::new(
            Address::from_v4(bytes_at(head, field::V4_DST)),
            u16_at(head, ports + field::DST_PORT),
        ),
        Endpoint::new(
            Address::from_v4(bytes_at(head, field::V4_SRC)),
            u16_at(head, ports + field::SRC_PORT),
        ),
    )
}

/// The headers of a connection's segments, to be written again with what changes: lengths, sequence numbers, window,
/// timestamps. Zeroed memory is none.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Template {
    bytes: [u8; V6_BYTES],
    /// Bytes in use: 0, [`V4_BYTES`] or [`V6_BYTES`].
    len: u8,
    _reserved: u8,
    /// IPv4: the header's sum without the length, in the byte order of memory.
    sum: u32,
    _reserved2: [u8; 4],
}

impl Template {
    /// Keeps headers as they were sent. Those that are not plain ones leave it empty.
    pub fn keep(&mut self, headers: &[u8]) {
        self.len = 0;
        let plain = match headers.len() {
            V4_BYTES => headers
                .first_chunk()
                .and_then(|head| parse_v4(head, usize::MAX)),
            V6_BYTES => headers
                .first_chunk()
                .and_then(|head| parse_v6(head, usize::MAX)),
            _ => None,
        };
        if plain.is_none() {
            return;
        }
        self.bytes[..headers.len()].copy_from_slice(headers);
        // Zero for those that the link has computed, and for none at all.
        put(
            &mut self.bytes,
            headers.len() - TCP + field::CHECKSUM_URGENT,
            [0; 4],
        );
        if headers.len() == V4_BYTES {
            put(&mut self.bytes, field::V4_LENGTH, [0; 2]);
            put(&mut self.bytes, field::V4_CHECKSUM, [0; 2]);
            let sum = checksum::sum(0, &self.bytes[field::IP..field::IP + 20]);
            self.sum = u32::from(checksum::fold(sum).to_be());
        }
        #[expect(clippy::cast_possible_truncation, reason = "one of two small lengths")]
        {
            self.len = headers.len() as u8;
        }
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

    /// Writes the headers of a segment; the TCP checksum is zero.
    #[inline]
    pub fn write(&self, out: &mut [u8; V6_BYTES], segment: &Plain, payload_len: usize) {
        *out = self.bytes;
        let at = if self.len() == V4_BYTES {
            let length = length_bytes(V4_BYTES - LINK + payload_len);
            put(out, field::V4_LENGTH, length);
            let sum = u64::from(self.sum) + u64::from(u16::from_ne_bytes(length));
            put(out, field::V4_CHECKSUM, checksum::finish(sum).to_be_bytes());
            V4_BYTES - TCP
        } else {
            put(out, field::V6_LENGTH, length_bytes(TCP + payload_len));
            V6_BYTES - TCP
        };
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
}

#[inline]
fn length_bytes(len: usize) -> [u8; 2] {
    #[expect(clippy::cast_possible_truncation, reason = "no frame is so long")]
    (len as u16).to_be_bytes()
}

#[cfg(test)]
mod tests;

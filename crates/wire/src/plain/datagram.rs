//! The headers that nearly every datagram has: Ethernet, IP without options, and UDP's.

use super::{FRAGMENT_BITS, LINK, Template, V4_CONGESTION, V4_START, field, length_bytes};
use crate::udp::{HEADER_BYTES as UDP, LENGTH_OFFSET};
use crate::{Address, Endpoint, bytes_at, put, u16_at};

/// Bytes of these headers with IPv4.
pub const V4_BYTES: usize = LINK + 20 + UDP;
/// Bytes of these headers with IPv6.
pub const V6_BYTES: usize = LINK + 40 + UDP;

const PROTOCOL_UDP: u8 = 17;

/// A frame with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Our end.
    pub local: Endpoint,
    /// The sender.
    pub remote: Endpoint,
    /// Bytes of payload, which begin where the headers end; never more than the frame has.
    pub payload_len: usize,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// Routers that it could still have passed.
    pub hop_limit: u8,
}

/// Reads the headers of a frame of `frame_len` bytes. None if they are not such ones, or contradict the frame: a parser
/// of all headers must look. No checksum is verified.
#[inline]
pub fn parse_v4(head: &[u8; V4_BYTES], frame_len: usize) -> Option<Arrived> {
    let length = usize::from(u16_at(head, field::V4_LENGTH));
    let udp = usize::from(u16_at(head, V4_BYTES - UDP + LENGTH_OFFSET));
    let ours = u16_at(head, field::ETHERTYPE) == 0x0800
        && head[field::IP] == V4_START
        && head[field::IP + 1] & V4_CONGESTION != V4_CONGESTION
        && u16_at(head, field::V4_FRAGMENT) & FRAGMENT_BITS == 0
        && head[field::V4_PROTOCOL] == PROTOCOL_UDP
        && LINK + length <= frame_len
        && udp + 20 == length
        && udp >= UDP
        && head[0] & GROUP == 0;
    ours.then(|| Arrived {
        local: Endpoint::new(
            Address::from_v4(bytes_at(head, field::V4_DST)),
            u16_at(head, V4_BYTES - UDP + field::DST_PORT),
        ),
        remote: Endpoint::new(
            Address::from_v4(bytes_at(head, field::V4_SRC)),
            u16_at(head, V4_BYTES - UDP + field::SRC_PORT),
        ),
        payload_len: udp - UDP,
        tos: head[field::IP + 1],
        hop_limit: head[field::IP + 8],
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
        && head[field::V6_NEXT] == PROTOCOL_UDP
        && LINK + 40 + length <= frame_len
        && usize::from(u16_at(head, V6_BYTES - UDP + LENGTH_OFFSET)) == length
        && length >= UDP
        && head[0] & GROUP == 0
        // A mapped address in a packet would pass for one of IPv4 (RFC 4942 section 2.2).
        && !src.is_v4()
        && !dst.is_v4();
    ours.then(|| Arrived {
        local: Endpoint::new(dst, u16_at(head, V6_BYTES - UDP + field::DST_PORT)),
        remote: Endpoint::new(src, u16_at(head, V6_BYTES - UDP + field::SRC_PORT)),
        payload_len: length - UDP,
        tos: head[field::IP] << 4 | head[field::IP + 1] >> 4,
        hop_limit: head[field::IP + 7],
    })
}

/// The bit of a hardware address that names a group (IEEE 802 section 8.2).
const GROUP: u8 = 1;

impl Template {
    /// Keeps the headers of a datagram as they were sent, of which only lengths will change: the link needs no checksum.
    /// Others leave it empty.
    pub fn keep_datagram(&mut self, headers: &[u8]) {
        self.forget();
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
        let checksum = headers.len() - UDP + crate::udp::CHECKSUM_OFFSET;
        put(&mut self.bytes, checksum, [0; 2]);
        if headers.len() == V4_BYTES {
            self.keep_v4_sum(LINK, headers.len() - LINK);
        }
        #[expect(clippy::cast_possible_truncation, reason = "small lengths")]
        {
            (self.len, self.link) = (headers.len() as u8, LINK as u8);
        }
    }

    /// Writes the headers of a datagram, [`len`](Self::len) bytes of them, without a UDP checksum.
    #[inline]
    pub fn write_datagram(&self, out: &mut [u8; V6_BYTES], payload_len: usize) {
        out.copy_from_slice(&self.bytes[..V6_BYTES]);
        let udp = length_bytes(UDP + payload_len);
        if self.len() == V4_BYTES {
            self.write_v4_total(out, LINK, 20 + UDP + payload_len);
            put(out, V4_BYTES - UDP + LENGTH_OFFSET, udp);
        } else {
            put(out, field::V6_LENGTH, udp);
            put(out, V6_BYTES - UDP + LENGTH_OFFSET, udp);
        }
    }
}

#[cfg(test)]
mod tests;

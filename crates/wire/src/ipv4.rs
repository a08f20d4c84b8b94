//! IPv4 headers (RFC 791, RFC 1122 section 3.2.1).

use crate::checksum::{self, Check};
use crate::ip::{Fragment, Protocol, length_field};
use crate::{Address, Malformed, bytes_at, put, u16_at};

pub use crate::ip::Repr;

/// Bytes of a header without options, the only kind that is sent.
pub const HEADER_BYTES: usize = 20;
/// Bytes of the longest header.
pub const HEADER_BYTES_MAX: usize = 60;

mod field {
    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const TOS: usize = 1;
    pub(super) const TOTAL_LENGTH: usize = 2;
    pub(super) const IDENT: usize = 4;
    pub(super) const FLAGS_OFFSET: usize = 6;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: usize = 10;
    pub(super) const SRC: usize = 12;
    pub(super) const DST: usize = 16;
}

const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Reads the header at the start of `header`, which need not hold the payload, of a packet of which `available` bytes
/// arrived (link-layer padding included). Returns it and its length in bytes. Options are skipped.
///
/// # Errors
/// `Truncated` if the header does not fit into the bytes; `Version`; `Length` if the header or the packet is shorter
/// or longer than can be; `Checksum` of the header; `Value` if the source is a group.
#[inline]
pub fn parse(header: &[u8], available: usize, check: Check) -> Result<(Repr, usize), Malformed> {
    let fixed = header
        .first_chunk::<HEADER_BYTES>()
        .ok_or(Malformed::Truncated)?;
    if fixed[field::VERSION_IHL] >> 4 != 4 {
        return Err(Malformed::Version);
    }
    let header_len = usize::from(fixed[field::VERSION_IHL] & 0xf) * 4;
    let packet_len = usize::from(u16_at(fixed, field::TOTAL_LENGTH));
    if header_len < HEADER_BYTES || packet_len < header_len || packet_len > available {
        return Err(Malformed::Length);
    }
    let whole = header.get(..header_len).ok_or(Malformed::Truncated)?;
    if check == Check::Verify && checksum::finish(checksum::sum(0, whole)) != 0 {
        return Err(Malformed::Checksum);
    }
    let src = Address::from_v4(bytes_at(fixed, field::SRC));
    if src.is_multicast() || src.is_broadcast() {
        return Err(Malformed::Value);
    }
    let payload_len = packet_len - header_len;
    let bits = u16_at(fixed, field::FLAGS_OFFSET);
    let fragment = if bits & (MORE_FRAGMENTS | OFFSET_MASK) == 0 {
        None
    } else {
        let more = bits & MORE_FRAGMENTS != 0;
        Some(Fragment::checked(bits & OFFSET_MASK, more, payload_len)?)
    };
    let repr = Repr {
        src,
        dst: Address::from_v4(bytes_at(fixed, field::DST)),
        protocol: Protocol(fixed[field::PROTOCOL]),
        hop_limit: fixed[field::TTL],
        tos: fixed[field::TOS],
        ident: u32::from(u16_at(fixed, field::IDENT)),
        dont_fragment: bits & DONT_FRAGMENT != 0,
        fragment,
        payload_len,
    };
    Ok((repr, header_len))
}

/// Writes the header, its checksum included, and returns its length in bytes.
///
/// # Panics
/// Where `out` is shorter than [`HEADER_BYTES`].
#[inline]
pub fn emit(repr: &Repr, out: &mut [u8]) -> usize {
    let header = &mut out[..HEADER_BYTES];
    let mut bits = if repr.dont_fragment { DONT_FRAGMENT } else { 0 };
    if let Some(fragment) = repr.fragment {
        bits |= fragment.offset >> 3;
        bits |= if fragment.more { MORE_FRAGMENTS } else { 0 };
    }
    let [.., ident_high, ident_low] = repr.ident.to_be_bytes();
    header[field::VERSION_IHL] = 0x45;
    header[field::TOS] = repr.tos;
    put(
        header,
        field::TOTAL_LENGTH,
        length_field(HEADER_BYTES + repr.payload_len),
    );
    put(header, field::IDENT, [ident_high, ident_low]);
    put(header, field::FLAGS_OFFSET, bits.to_be_bytes());
    header[field::TTL] = repr.hop_limit;
    header[field::PROTOCOL] = repr.protocol.0;
    put(header, field::CHECKSUM, [0, 0]);
    put(header, field::SRC, repr.src.v4_octets());
    put(header, field::DST, repr.dst.v4_octets());
    let checksum = checksum::finish(checksum::sum(0, header));
    put(header, field::CHECKSUM, checksum.to_be_bytes());
    HEADER_BYTES
}

#[cfg(test)]
mod tests;

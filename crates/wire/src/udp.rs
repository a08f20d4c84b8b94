//! UDP headers (RFC 768).

use crate::ip::length_field;
use crate::{Malformed, put, u16_at};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 8;
/// Where in the header the checksum lies. A computed checksum of 0 is sent as 0xffff: see [`checksum_field`].
pub const CHECKSUM_OFFSET: usize = 6;

/// Where in the header the length lies, which counts the header, too.
pub const LENGTH_OFFSET: usize = 4;

mod field {
    pub(super) const SRC_PORT: usize = 0;
    pub(super) const DST_PORT: usize = 2;
    pub(super) const LENGTH: usize = super::LENGTH_OFFSET;
    pub(super) const CHECKSUM: usize = super::CHECKSUM_OFFSET;
}

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source port; 0 for none.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Bytes behind the header; at most 65527.
    pub payload_len: usize,
    /// Whether it came with a checksum. Without one is allowed over IPv4 only. `emit` writes 0 in either case.
    pub has_checksum: bool,
}

impl Repr {
    /// Reads the header at the start of `header`, which need not hold the payload, of a packet with `available` bytes
    /// behind the IP header. Bytes behind the datagram's end are not part of it. The checksum is the caller's: it
    /// covers the header and `payload_len` bytes.
    ///
    /// # Errors
    /// `Truncated` if the header does not fit into the bytes, `Length` if it is shorter or longer than can be.
    #[inline]
    pub fn parse(header: &[u8], available: usize) -> Result<Self, Malformed> {
        let header = header
            .first_chunk::<HEADER_BYTES>()
            .ok_or(Malformed::Truncated)?;
        let len = usize::from(u16_at(header, field::LENGTH));
        if len < HEADER_BYTES || len > available {
            return Err(Malformed::Length);
        }
        Ok(Self {
            src_port: u16_at(header, field::SRC_PORT),
            dst_port: u16_at(header, field::DST_PORT),
            payload_len: len - HEADER_BYTES,
            has_checksum: u16_at(header, field::CHECKSUM) != 0,
        })
    }

    /// Writes the header, with a checksum of zero, and returns its length in bytes.
    ///
    /// # Panics
    /// Where `out` is shorter than [`HEADER_BYTES`].
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let header = &mut out[..HEADER_BYTES];
        put(header, field::SRC_PORT, self.src_port.to_be_bytes());
        put(header, field::DST_PORT, self.dst_port.to_be_bytes());
        put(
            header,
            field::LENGTH,
            length_field(HEADER_BYTES + self.payload_len),
        );
        put(header, field::CHECKSUM, [0, 0]);
        HEADER_BYTES
    }
}

/// What to put into the checksum field for a finished checksum: 0 there says that there is none, so 0xffff, which is
/// the same in one's complement, stands for it.
#[inline]
pub const fn checksum_field(finished: u16) -> [u8; 2] {
    if finished == 0 {
        [0xff, 0xff]
    } else {
        finished.to_be_bytes()
    }
}

#[cfg(test)]
mod tests;

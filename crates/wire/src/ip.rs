//! What IPv4 and IPv6 have in common: one value for either header, so that one path serves both.

use crate::checksum::Check;
use crate::{Address, Malformed, ipv4, ipv6};
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most bytes in a packet, header included, and most bytes that reassembly yields.
pub const PACKET_BYTES_MAX: usize = 65535;

/// The protocol that a packet carries.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(transparent)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// Nothing follows (IPv6).
    pub const NONE: Self = Self(59);
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.write_str("ICMP"),
            Self::TCP => f.write_str("TCP"),
            Self::UDP => f.write_str("UDP"),
            Self::ICMPV6 => f.write_str("ICMPv6"),
            Self(other) => write!(f, "protocol {other}"),
        }
    }
}

/// Which part of a packet a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where its payload belongs, in bytes; a multiple of 8.
    pub offset: u16,
    /// Whether it is not the last.
    pub more: bool,
}

impl Fragment {
    /// The fragment at so many units of 8 bytes, with that many bytes of payload.
    ///
    /// # Errors
    /// `Length` if it would reach beyond the longest packet, or is not the last and not a whole number of units.
    pub(crate) const fn checked(units: u16, more: bool, len: usize) -> Result<Self, Malformed> {
        let offset = units << 3;
        let beyond = offset as usize + len > PACKET_BYTES_MAX;
        if beyond || more && (len == 0 || !len.is_multiple_of(8)) {
            return Err(Malformed::Length);
        }
        Ok(Self { offset, more })
    }
}

/// An IP header of either family; the family is that of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source. Never a group.
    pub src: Address,
    /// Destination, of the same family.
    pub dst: Address,
    /// What the packet carries (behind extension headers).
    pub protocol: Protocol,
    /// Time to live or hop limit.
    pub hop_limit: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub tos: u8,
    /// Identification for reassembly: 16 bits in IPv4; in IPv6, fragments only.
    pub ident: u32,
    /// Routers must not fragment it. Always so in IPv6.
    pub dont_fragment: bool,
    /// Which part of a packet it is, if it is not all of it.
    pub fragment: Option<Fragment>,
    /// Bytes behind the headers; at most [`PACKET_BYTES_MAX`] with them in IPv4, without them in IPv6.
    pub payload_len: usize,
}

impl Repr {
    /// Reads a header of either family: see [`ipv4::parse`] and [`ipv6::parse`].
    ///
    /// # Errors
    /// As theirs.
    #[inline]
    pub fn parse(
        header: &[u8],
        available: usize,
        check: Check,
    ) -> Result<(Self, usize), Malformed> {
        match header.first().map(|first| first >> 4) {
            Some(4) => ipv4::parse(header, available, check),
            Some(6) => ipv6::parse(header, available),
            Some(_) => Err(Malformed::Version),
            None => Err(Malformed::Truncated),
        }
    }

    /// Bytes of the header that [`emit`](Self::emit) writes.
    #[inline]
    pub fn header_len(&self) -> usize {
        if self.src.is_v4() {
            ipv4::HEADER_BYTES
        } else {
            ipv6::header_len(self)
        }
    }

    /// Writes the header, its checksum included, and returns its length in bytes.
    ///
    /// # Panics
    /// Where `out` is shorter than [`header_len`](Self::header_len).
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        if self.src.is_v4() {
            ipv4::emit(self, out)
        } else {
            ipv6::emit(self, out)
        }
    }
}

/// The value of a 16-bit length field. The stack never makes longer packets; the clamp is for release builds.
pub(crate) fn length_field(len: usize) -> [u8; 2] {
    debug_assert!(len <= PACKET_BYTES_MAX, "a packet of {len} bytes");
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

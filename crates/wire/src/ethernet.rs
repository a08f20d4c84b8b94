//! Ethernet II frames.

use crate::{Malformed, bytes_at, put, u16_at};
use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 14;

mod field {
    pub(super) const DST: usize = 0;
    pub(super) const SRC: usize = 6;
    pub(super) const ETHERTYPE: usize = 12;
}

/// A link-layer address.
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
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Where frames for a group go: RFC 1112 section 6.4, RFC 2464 section 7.
    pub fn of_group(group: crate::Address) -> Self {
        let [.., a, b, c] = group.0;
        if group.is_v4() {
            Self([0x01, 0x00, 0x5e, a & 0x7f, b, c])
        } else {
            crate::ndp::multicast_mac(group)
        }
    }

    /// Everyone on the link.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether it names everyone.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// Whether it names a group, everyone included.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether it names one station.
    #[inline]
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != Self::default()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a frame carries.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// A VLAN tag (802.1Q).
    pub const VLAN: Self = Self(0x8100);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// The outer one of two VLAN tags (802.1ad).
    pub const SERVICE_VLAN: Self = Self(0x88a8);
}

impl fmt::Debug for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:04x}", self.0)
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// What follows the header.
    pub ethertype: EtherType,
}

impl Repr {
    /// Reads the header at the start of a frame.
    ///
    /// # Errors
    /// `Truncated` if the frame is shorter, `Unsupported` if it has a length in place of a type (802.3 with LLC).
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let header = frame
            .first_chunk::<HEADER_BYTES>()
            .ok_or(Malformed::Truncated)?;
        let ethertype = u16_at(header, field::ETHERTYPE);
        if ethertype < 0x0600 {
            return Err(Malformed::Unsupported);
        }
        Ok(Self {
            dst: Mac(bytes_at(header, field::DST)),
            src: Mac(bytes_at(header, field::SRC)),
            ethertype: EtherType(ethertype),
        })
    }

    /// Writes the header and returns its length in bytes.
    ///
    /// # Panics
    /// Where `out` is shorter than [`HEADER_BYTES`].
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        let header = &mut out[..HEADER_BYTES];
        put(header, field::DST, self.dst.0);
        put(header, field::SRC, self.src.0);
        put(header, field::ETHERTYPE, self.ethertype.0.to_be_bytes());
        HEADER_BYTES
    }
}

#[cfg(test)]
mod tests;

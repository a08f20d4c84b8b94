//! IP addresses of both families in one shape, and the endpoints made of them.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// An IP address. One of IPv4 is held as IPv4-mapped IPv6 address, `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// `::`
    pub const UNSPECIFIED_V6: Self = Self([0; 16]);
    /// `0.0.0.0`
    pub const UNSPECIFIED_V4: Self = Self::from_v4([0, 0, 0, 0]);
    /// `127.0.0.1`
    pub const LOOPBACK_V4: Self = Self::from_v4([127, 0, 0, 1]);
    /// `::1`
    pub const LOOPBACK_V6: Self = Self(Ipv6Addr::LOCALHOST.octets());

    /// The address of IPv4 with these octets.
    #[inline]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    /// Whether it is of IPv4.
    #[inline]
    pub fn is_v4(self) -> bool {
        self.0.first_chunk() == Some(&V4_MAPPED)
    }

    /// Whether it stands for no address, in either family.
    #[inline]
    pub fn is_unspecified(self) -> bool {
        self == Self::UNSPECIFIED_V6 || self == Self::UNSPECIFIED_V4
    }

    /// Whether it is `::1` or in `127.0.0.0/8`.
    #[inline]
    pub fn is_loopback(self) -> bool {
        self.ip().is_loopback()
    }

    /// Whether it names a group.
    #[inline]
    pub fn is_multicast(self) -> bool {
        self.ip().is_multicast()
    }

    /// Whether it is an address of IPv6 that means something on one link only (RFC 4291 section 2.5.6).
    #[inline]
    pub const fn is_link_local(self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }

    /// Whether it is `255.255.255.255`.
    #[inline]
    pub fn is_broadcast(self) -> bool {
        self == Self::from_v4([255; 4])
    }

    /// The last four octets: the address itself where it is of IPv4.
    #[inline]
    pub const fn v4_octets(self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0;
        [a, b, c, d]
    }

    /// As an address of IPv4, if it is one.
    #[inline]
    pub fn v4(self) -> Option<Ipv4Addr> {
        self.is_v4().then(|| Ipv4Addr::from(self.v4_octets()))
    }

    /// As the standard library's type.
    #[inline]
    pub fn ip(self) -> IpAddr {
        match self.v4() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from(self.0)),
        }
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::UNSPECIFIED_V6
    }
}

impl From<Ipv4Addr> for Address {
    fn from(v4: Ipv4Addr) -> Self {
        Self::from_v4(v4.octets())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(v6: Ipv6Addr) -> Self {
        Self(v6.octets())
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One end of a flow: an address and a port.
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
#[repr(C)]
pub struct Endpoint {
    /// The address.
    pub addr: Address,
    /// The port, in host order.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint of that address and port.
    #[inline]
    pub const fn new(addr: Address, port: u16) -> Self {
        Self { addr, port }
    }

    /// As the standard library's type.
    pub fn socket_addr(self) -> SocketAddr {
        SocketAddr::new(self.addr.ip(), self.port)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self::new(addr.ip().into(), addr.port())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.socket_addr(), f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;

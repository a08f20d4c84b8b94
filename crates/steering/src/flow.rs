//! What names the packets of an accelerated socket, and how the program finds it: `struct flow` in `bpf/steer.c`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocols that can be steered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// RFC 9293.
    Tcp = 6,
    /// RFC 768.
    Udp = 17,
}

/// Packets to one local address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The protocol.
    pub protocol: Protocol,
    /// The local address, or none for every address of either family that was
    /// [entered](crate::Steering::add_address).
    pub address: Option<IpAddr>,
    /// The local port.
    pub port: u16,
    /// The VLAN in which they come; 0 for frames without a tag, and with one that names none.
    pub vlan: u16,
}

impl Flow {
    /// Packets without a tag to that address and port.
    pub const fn new(protocol: Protocol, address: Option<IpAddr>, port: u16) -> Self {
        Self {
            protocol,
            address,
            port,
            vlan: 0,
        }
    }

    /// address, port as in the packet, vlan, protocol, zeros.
    pub(crate) fn key(&self) -> [u8; 24] {
        let mut key = [0; 24];
        if let Some(address) = self.address {
            key[..16].copy_from_slice(&address_key(address));
        }
        key[16..18].copy_from_slice(&self.port.to_be_bytes());
        key[18..20].copy_from_slice(&self.vlan.to_ne_bytes());
        key[20] = self.protocol as u8;
        key
    }
}

/// An address as the program looks it up: IPv4 ones as `::ffff:a.b.c.d`.
pub(crate) fn address_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped(address).octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

const fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    address.to_ipv6_mapped()
}

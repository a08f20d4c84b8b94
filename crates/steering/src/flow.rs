//! What names the packets of an accelerated socket, and how the program finds it: `struct flow` and `struct connection`
//! in `bpf/tables.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

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
    /// The local address. `0.0.0.0` and `::` stand for every address of their family that was
    /// [entered](crate::Steering::add_address), none for those of both.
    pub address: Option<IpAddr>,
    /// The local port.
    pub port: u16,
    /// The VLAN in which they come: 0 for frames without a tag, and with one that names none. None for whichever, of those
    /// in which the interface has [stations](crate::Steering::set_stations).
    pub vlan: Option<u16>,
}

/// What the table has for flows of all VLANs: `ANY_VLAN`.
const ANY_VLAN: u16 = 0xffff;

/// An interface of this host: one that frames are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Station {
    /// Its hardware address.
    pub address: [u8; 6],
    /// The VLAN that it is in; 0 for frames without a tag.
    pub vlan: u16,
}

impl Station {
    /// As the program looks it up: `struct station`.
    pub(crate) fn key(&self) -> [u8; 8] {
        let mut key = [0; 8];
        key[..6].copy_from_slice(&self.address);
        key[6..].copy_from_slice(&self.vlan.to_ne_bytes());
        key
    }
}

impl Flow {
    /// Packets to that address and port, in whatever VLAN.
    pub const fn new(protocol: Protocol, address: Option<IpAddr>, port: u16) -> Self {
        Self {
            protocol,
            address,
            port,
            vlan: None,
        }
    }

    /// As the program looks it up: one key, or one for each family.
    pub(crate) fn keys(&self) -> impl Iterator<Item = [u8; 24]> + use<> {
        let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let addresses = match self.address {
            Some(address) => [Some(address), None],
            None => any.map(Some),
        };
        let this = *self;
        addresses
            .into_iter()
            .flatten()
            .map(move |address| this.key(address))
    }

    /// address, port as in the packet, vlan, protocol, zeros.
    fn key(&self, address: IpAddr) -> [u8; 24] {
        let mut key = [0; 24];
        key[..16].copy_from_slice(&address_key(address));
        key[16..18].copy_from_slice(&self.port.to_be_bytes());
        let vlan = self.vlan.unwrap_or(ANY_VLAN);
        key[18..20].copy_from_slice(&vlan.to_ne_bytes());
        key[20] = self.protocol as u8;
        key
    }
}

/// Packets to one local address and port from one remote address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection {
    /// The protocol.
    pub protocol: Protocol,
    /// The address and port on this host.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// The VLAN in which they come; 0 for frames without a tag.
    pub vlan: u16,
}

impl Connection {
    /// Packets without a tag between those two.
    pub const fn new(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            protocol,
            local,
            remote,
            vlan: 0,
        }
    }

    /// The key of its flow, remote address, remote port as in the packet, zeros.
    pub(crate) fn key(&self) -> [u8; 44] {
        let flow = Flow {
            protocol: self.protocol,
            address: None,
            port: self.local.port(),
            vlan: Some(self.vlan),
        };
        let mut key = [0; 44];
        key[..24].copy_from_slice(&flow.key(self.local.ip()));
        key[24..40].copy_from_slice(&address_key(self.remote.ip()));
        key[40..42].copy_from_slice(&self.remote.port().to_be_bytes());
        key
    }
}

/// An address in a VLAN as the program looks it up: `struct place`.
pub(crate) fn place_key(address: IpAddr, vlan: u16) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&address_key(address));
    key[16..].copy_from_slice(&u32::from(vlan).to_ne_bytes());
    key
}

/// An address as the program has it in keys: IPv4 ones as `::ffff:a.b.c.d`.
pub(crate) fn address_key(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped(address).octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

const fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    address.to_ipv6_mapped()
}

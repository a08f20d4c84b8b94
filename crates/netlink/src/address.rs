//! Addresses of links.

use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use std::net::IpAddr;

/// An IP address that a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address.
    pub ip: IpAddr,
    /// Leading bits that addresses of the same subnet have in common.
    pub prefix: u8,
    /// The address at the other end, where the link leads to a single one; the subnet is that one's then.
    pub peer: Option<IpAddr>,
    /// How far the address is valid.
    pub scope: Scope,
    /// Not to be used for new connections (IPv6, RFC 4862 section 5.5.4).
    pub deprecated: bool,
    /// Not yet known to be unique, or known not to be: not to be used (IPv6, RFC 4862 section 5.4).
    pub tentative: bool,
}

/// How far an address is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everywhere.
    Global,
    /// On the link only, as fe80::/10.
    Link,
    /// Inside this host only, as 127.0.0.0/8.
    Host,
    /// As the administrator says, by number.
    Other(u8),
}

/// What tells addresses apart for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AddressKey {
    pub(crate) link: u32,
    ip: IpAddr,
    prefix: u8,
    peer: Option<IpAddr>,
}

impl Address {
    /// What a message of the kernel says; nothing if there is no address in it.
    pub(crate) fn of(message: &AddressMessage) -> Option<Self> {
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let (mut local, mut address) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(ip) => local = Some(*ip),
                AddressAttribute::Address(ip) => address = Some(*ip),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        // IFA_ADDRESS is the other end's where there is IFA_LOCAL too, and is the same again where no peer is named.
        let ip = local.or(address)?;
        Some(Self {
            link: message.header.index,
            ip,
            prefix: message.header.prefix_len,
            peer: address.filter(|peer| *peer != ip),
            scope: scope(message.header.scope),
            deprecated: flags.contains(AddressFlags::Deprecated),
            tentative: flags.contains(AddressFlags::Tentative)
                && !flags.contains(AddressFlags::Optimistic)
                || flags.contains(AddressFlags::Dadfailed),
        })
    }

    pub(crate) fn key(&self) -> AddressKey {
        AddressKey {
            link: self.link,
            ip: self.ip,
            prefix: self.prefix,
            peer: self.peer,
        }
    }
}

fn scope(said: AddressScope) -> Scope {
    match said {
        AddressScope::Universe => Scope::Global,
        AddressScope::Link => Scope::Link,
        AddressScope::Host => Scope::Host,
        other => Scope::Other(other.into()),
    }
}

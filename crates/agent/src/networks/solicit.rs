//! Asking for a neighbour of IPv6 where the kernel does not yet: what it asks without a packet in hand it asks from the
//! interface's link-local address, which is sure to be nobody else's only a second or two after the interface is up, or
//! is not there at all. Our packets have another source, as the kernel's own would have.

use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sockopt};
use sidestep_netlink::{Link, Picture};
use sidestep_wire::{Address, ndp};
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

/// Asks, if the kernel cannot, who on `link` has the address `target`; what is answered, the kernel hears.
///
/// # Errors
/// Where the question could not be sent. It is sent once.
pub(super) fn solicit(picture: &Picture, link: &Link, target: IpAddr) -> rustix::io::Result<()> {
    let IpAddr::V6(target) = target else {
        return Ok(());
    };
    let ours = picture
        .addresses()
        .filter(|a| a.link == link.index && !a.tentative);
    let ours: Vec<Ipv6Addr> = ours
        .filter_map(|address| match address.ip {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        })
        .collect();
    if ours.iter().any(Ipv6Addr::is_unicast_link_local) {
        return Ok(());
    }
    let Some(source) = ours.first() else {
        return Ok(());
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let family = AddressFamily::INET6;
    let socket = rustix::net::socket_with(family, SocketType::RAW, flags, Some(ipproto::ICMPV6))?;
    sockopt::set_ipv6_multicast_hops(&socket, u32::from(ndp::HOP_LIMIT))?;
    rustix::net::bind(&socket, &SocketAddrV6::new(*source, 0, 0, 0))?;
    let question = ndp::Repr::Solicitation {
        target: Address::from(target),
        source_mac: link.mac,
    };
    let mut message = [0; ndp::MESSAGE_BYTES_MAX];
    let len = question.emit(&mut message);
    let IpAddr::V6(group) = ndp::solicited_node(Address::from(target)).ip() else {
        return Ok(());
    };
    let to = SocketAddrV6::new(group, 0, 0, link.index);
    // The kernel fills the checksum in.
    rustix::net::sendto(&socket, &message[..len], SendFlags::empty(), &to)?;
    Ok(())
}

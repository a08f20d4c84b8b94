//! What options say of groups (multicast), as C programs lay it out.

use core::ffi::c_int;
use core::mem::offset_of;
use libc::{group_req, ip_mreq, ip_mreq_source, ip_mreqn, ipv6_mreq, sockaddr_in, sockaddr_in6};
use sidestep_socket::{Address, GroupChange};

/// `MCAST_*` of linux/in.h, the same for both families.
const MCAST_JOIN_GROUP: c_int = 42;
const MCAST_MSFILTER: c_int = 48;
const IP_MSFILTER: c_int = 41;

/// Whether an option is about a group.
pub(crate) const fn is_one(level: c_int, name: c_int) -> bool {
    match (level, name) {
        (_, MCAST_JOIN_GROUP..=MCAST_MSFILTER) => true,
        (libc::IPPROTO_IP, _) => matches!(
            name,
            libc::IP_ADD_MEMBERSHIP
                | libc::IP_DROP_MEMBERSHIP
                | libc::IP_ADD_SOURCE_MEMBERSHIP
                | libc::IP_DROP_SOURCE_MEMBERSHIP
                | libc::IP_BLOCK_SOURCE
                | libc::IP_UNBLOCK_SOURCE
                | IP_MSFILTER
        ),
        _ => matches!(name, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP),
    }
}

/// What it says; none where it is too short. Of groups from some sources only it is said that the socket leaves them: the
/// kernel goes by sources.
pub(crate) fn decode(level: c_int, name: c_int, bytes: &[u8]) -> Option<GroupChange> {
    let joins = match (level, name) {
        (_, MCAST_JOIN_GROUP) => true,
        (libc::IPPROTO_IP, _) => name == libc::IP_ADD_MEMBERSHIP,
        _ => name == libc::IPV6_ADD_MEMBERSHIP,
    };
    let v4 = |at: usize| {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(Address::from_v4(bytes).0)
    };
    let word = |at: usize| {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    let nowhere = Address::UNSPECIFIED_V6.0;
    let (group, device, near) = match (level, name) {
        (_, MCAST_JOIN_GROUP..=MCAST_MSFILTER) => {
            let at = offset_of!(group_req, gr_group);
            let family: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
            let group = if c_int::from(u16::from_ne_bytes(family)) == libc::AF_INET {
                v4(at + offset_of!(sockaddr_in, sin_addr))?
            } else {
                let at = at + offset_of!(sockaddr_in6, sin6_addr);
                bytes.get(at..at + 16)?.try_into().ok()?
            };
            (group, word(offset_of!(group_req, gr_interface))?, nowhere)
        }
        (libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP) => {
            let device = if bytes.len() >= size_of::<ip_mreqn>() {
                word(offset_of!(ip_mreqn, imr_ifindex))?
            } else {
                0
            };
            let near = v4(offset_of!(ip_mreq, imr_interface))?;
            (v4(offset_of!(ip_mreq, imr_multiaddr))?, device, near)
        }
        (libc::IPPROTO_IP, _) => {
            let near = v4(offset_of!(ip_mreq_source, imr_interface))?;
            (v4(offset_of!(ip_mreq_source, imr_multiaddr))?, 0, near)
        }
        _ => {
            let device = word(offset_of!(ipv6_mreq, ipv6mr_interface))?;
            let group = bytes.get(..16)?.try_into().ok()?;
            (group, device, nowhere)
        }
    };
    Some(GroupChange {
        group,
        device,
        near,
        joins,
    })
}

/// What IP_MULTICAST_IF says: the index of an interface or 0, and an address of it or none. It has three forms.
pub(crate) fn device(bytes: &[u8]) -> Option<(u32, Address)> {
    let address = |at: usize| {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(Address::from_v4(bytes))
    };
    let at = offset_of!(ip_mreqn, imr_ifindex);
    match bytes.get(at..at + 4) {
        Some(index) => {
            let index = u32::from_ne_bytes(index.try_into().ok()?);
            Some((index, address(offset_of!(ip_mreqn, imr_address))?))
        }
        None if bytes.len() >= size_of::<ip_mreq>() => {
            Some((0, address(offset_of!(ip_mreq, imr_interface))?))
        }
        None => Some((0, address(0)?)),
    }
}

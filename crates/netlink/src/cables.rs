//! Virtual cables (veth): laid, and taken away.

use crate::error::Error;
use crate::requests::Requests;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoData, InfoKind, InfoVeth, LinkAttribute,
    LinkFlags, LinkInfo, LinkMessage,
};
use rustix::fd::{AsRawFd, BorrowedFd};

/// A socket to lay cables with. Needs CAP_NET_ADMIN.
pub struct Cables {
    requests: Requests,
}

impl Cables {
    /// In the network namespace of the calling thread; it stays with that.
    ///
    /// # Errors
    ///
    /// Without netlink, and where descriptors ran out.
    pub fn open() -> Result<Self, Error> {
        let requests = Requests::open()?;
        Ok(Self { requests })
    }

    /// Lays a cable from here to another namespace, both ends of which have that name and one queue. Neither end is up,
    /// nor will this one get addresses by itself.
    ///
    /// # Errors
    ///
    /// Without CAP_NET_ADMIN, where there is a link of that name, and where the kernel has no veth.
    pub fn lay(&mut self, name: &str, there: BorrowedFd<'_>, mtu: u32) -> Result<(), Error> {
        let end = |also: LinkAttribute| {
            let mut message = LinkMessage::default();
            message.attributes = vec![
                LinkAttribute::IfName(name.to_owned()),
                LinkAttribute::Mtu(mtu),
                LinkAttribute::NumTxQueues(1),
                LinkAttribute::NumRxQueues(1),
                also,
            ];
            message
        };
        let far = end(LinkAttribute::NetNsFd(there.as_raw_fd()));
        let near = end(LinkAttribute::LinkInfo(vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(far))),
        ]));
        let create = NLM_F_CREATE | NLM_F_EXCL;
        self.requests
            .ask(RouteNetlinkMessage::NewLink(near), create)?;
        let mut quiet = LinkMessage::default();
        let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
        quiet.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![none])]),
        ];
        // A kernel without IPv6 has nothing to be kept quiet.
        let _ = self.requests.ask(RouteNetlinkMessage::SetLink(quiet), 0);
        Ok(())
    }

    /// Switches a link on, without ARP.
    ///
    /// # Errors
    ///
    /// Without CAP_NET_ADMIN, and where there is no such link.
    pub fn switch_on(&mut self, index: u32) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up | LinkFlags::Noarp;
        message.header.change_mask = LinkFlags::Up | LinkFlags::Noarp;
        self.requests
            .ask(RouteNetlinkMessage::SetLink(message), 0)
            .map(|_| ())
    }

    /// Takes a cable away, both ends of it.
    ///
    /// # Errors
    ///
    /// Without CAP_NET_ADMIN, and where there is no such link.
    pub fn remove(&mut self, index: u32) -> Result<(), Error> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.requests
            .ask(RouteNetlinkMessage::DelLink(message), 0)
            .map(|_| ())
    }
}

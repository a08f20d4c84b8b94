//! Making the kernel ask for neighbours, and telling it that they answer.

use crate::error::Error;
use crate::neighbour::Neighbour;
use crate::requests::Requests;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as State,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use sidestep_wire::Mac;
use std::net::IpAddr;

/// A socket to ask the kernel about neighbours with. Asking and confirming need CAP_NET_ADMIN.
pub struct Neighbours {
    requests: Requests,
}

impl Neighbours {
    /// In the network namespace of the calling thread; it stays with that.
    ///
    /// # Errors
    ///
    /// Without netlink, and where descriptors ran out.
    pub fn open() -> Result<Self, Error> {
        let requests = Requests::open()?;
        Ok(Self { requests })
    }

    /// What the kernel knows of an address on a link at this moment.
    ///
    /// # Errors
    ///
    /// If there is no such link, or the kernel does not answer within a second.
    pub fn lookup(&mut self, link: u32, ip: IpAddr) -> Result<Option<Neighbour>, Error> {
        let question = RouteNetlinkMessage::GetNeighbour(entry(link, ip));
        match self.requests.ask(question, 0) {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(said))) => Ok(Neighbour::of(&said)),
            Ok(_) => Err(Error::NotUnderstood),
            Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Tells the kernel that somebody wants to send to this neighbour, as if it had a packet for it: it asks for the
    /// hardware address if it does not know it, or is no longer sure of it.
    ///
    /// Returns what is known now. If that has no hardware address, the answer comes as
    /// [`Change::NeighbourChanged`](crate::Change::NeighbourChanged), with state
    /// [`Failed`](crate::NeighbourState::Failed) if nobody answers in the time that the kernel waits (`retrans_time_ms` times
    /// `mcast_solicit`, three seconds by default).
    ///
    /// # Errors
    ///
    /// Without CAP_NET_ADMIN, if there is no such link or it is down, if the kernel's table of neighbours is full, or
    /// if it does not answer within a second.
    pub fn resolve(&mut self, link: u32, ip: IpAddr) -> Result<Option<Neighbour>, Error> {
        let known = self.lookup(link, ip)?;
        // Use would make a permanent entry a common one.
        if known.is_some_and(|known| known.state.is_fixed()) {
            return Ok(known);
        }
        let mut message = entry(link, ip);
        message.header.flags = NeighbourFlags::Use;
        self.requests
            .ask(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)?;
        self.lookup(link, ip)
    }

    /// Whether a station is of this host, or of a container in it: it is another hardware address that interface `link`
    /// takes frames for, as that of a macvlan.
    ///
    /// # Errors
    ///
    /// If the kernel does not answer within a second.
    pub fn is_own(&mut self, link: u32, station: Mac) -> Result<bool, Error> {
        Ok(self.others(link)?.contains(&station))
    }

    /// Whether others than interface `link` itself take frames that arrive there, such as macvlans.
    ///
    /// # Errors
    ///
    /// As [`is_own`](Self::is_own).
    pub fn is_shared(&mut self, link: u32) -> Result<bool, Error> {
        Ok(self.others(link)?.iter().any(|mac| mac.is_unicast()))
    }

    /// The hardware addresses, groups among them, that an interface takes frames for beside its own.
    fn others(&mut self, link: u32) -> Result<Vec<Mac>, Error> {
        let mut all = NeighbourMessage::default();
        all.header.family = AddressFamily::Bridge;
        all.header.ifindex = link;
        let dump = self
            .requests
            .dump(&RouteNetlinkMessage::GetNeighbour(all))?;
        let of_link = dump.entries.iter().filter_map(|entry| match entry {
            RouteNetlinkMessage::NewNeighbour(said) => {
                let itself = said.header.flags.contains(NeighbourFlags::Own);
                (itself && said.header.ifindex == link).then_some(said)
            }
            _ => None,
        });
        let macs = of_link.flat_map(|said| &said.attributes);
        let macs = macs.filter_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => Some(Mac(bytes[..].try_into().ok()?)),
            _ => None,
        });
        Ok(macs.collect())
    }

    /// Tells the kernel that this neighbour answers, as our connections to it see, so that it need not ask itself
    /// (RFC 4861 section 7.3.1). Nothing happens, and false is returned, if the kernel knows no hardware address of it,
    /// or needs no confirmation.
    ///
    /// Call this at most once in some seconds for a neighbour: the kernel believes it for 15 to 45 seconds
    /// (`base_reachable_time_ms`).
    ///
    /// # Errors
    ///
    /// As [`Neighbours::resolve`].
    pub fn confirm(&mut self, link: u32, ip: IpAddr) -> Result<bool, Error> {
        let Some(known) = self.lookup(link, ip)? else {
            return Ok(false);
        };
        let Some(mac) = known.mac.filter(|_| !known.state.is_fixed()) else {
            return Ok(false);
        };
        let mut message = entry(link, ip);
        message.header.state = State::Reachable;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        // Neither to be created nor replaced: if the kernel learned another hardware address meanwhile, that stays.
        match self
            .requests
            .ask(RouteNetlinkMessage::NewNeighbour(message), 0)
        {
            Ok(_) => Ok(true),
            Err(error) if error.refusal() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn entry(link: u32, ip: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = match ip {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message.header.ifindex = link;
    message.header.state = State::None;
    message
        .attributes
        .push(NeighbourAttribute::Destination(ip.into()));
    message
}

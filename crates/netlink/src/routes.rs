//! Routes, asked of the kernel one by one, so that rules, metrics, source addresses and what it learned of paths are
//! all right.

use crate::error::Error;
use crate::requests::Requests;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use std::net::IpAddr;

/// Where a packet is to go, and what rules may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// Where to.
    pub destination: IpAddr,
    /// The source address, where it is chosen already. An address of this host of the same family as the destination.
    pub source: Option<IpAddr>,
    /// The socket's mark (`SO_MARK`); 0 is none.
    pub mark: u32,
    /// The socket's user; the caller's own if none.
    pub uid: Option<u32>,
    /// The interface that the socket is bound to (`SO_BINDTODEVICE`), by index.
    pub oif: Option<u32>,
    /// The protocol and ports, as far as known: rules may ask for them, and routes over several gateways choose by them.
    pub flow: Option<Flow>,
}

/// Protocol and ports of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The IP protocol: 6 for TCP, 17 for UDP.
    pub protocol: u8,
    /// The port at this end; 0 if not chosen yet.
    pub source_port: u16,
    /// The port at the other end.
    pub destination_port: u16,
}

impl Query {
    /// To a destination, and nothing else said.
    pub fn to(destination: IpAddr) -> Self {
        Self {
            destination,
            source: None,
            mark: 0,
            uid: None,
            oif: None,
            flow: None,
        }
    }
}

/// What the kernel would do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// By which link it goes, by index; 0 if it goes nowhere.
    pub link: u32,
    /// The source address: the one asked with, else the kernel's choice, if it has one.
    pub source: Option<IpAddr>,
    /// Who forwards it. The neighbour to resolve is this, or the destination itself if none. It may be an IPv6 address
    /// for an IPv4 destination (RFC 5549).
    pub gateway: Option<IpAddr>,
    /// The route's or the path's MTU in bytes, if it has one of its own; see [`Picture::mtu_of`](crate::Picture::mtu_of).
    pub mtu: Option<u32>,
    /// Whether it goes at all, and to whom.
    pub kind: RouteKind,
}

/// To whom a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// To one host.
    Unicast,
    /// To this host.
    Local,
    /// To everyone on the link.
    Broadcast,
    /// To a group.
    Multicast,
    /// To nobody; sockets get this error number (ENETUNREACH, EHOSTUNREACH, EACCES ...).
    Unreachable(i32),
    /// To nobody, without a word; sockets that connect get EINVAL.
    Blackhole,
}

/// A socket to look up routes with.
pub struct Routes {
    requests: Requests,
}

impl Routes {
    /// In the network namespace of the calling thread; it stays with that.
    ///
    /// # Errors
    ///
    /// Without netlink, and where descriptors ran out.
    pub fn open() -> Result<Self, Error> {
        let requests = Requests::open()?;
        Ok(Self { requests })
    }

    /// What the kernel does with a packet now. Valid until [`Change::RoutesChanged`](crate::Change::RoutesChanged);
    /// only that a path's MTU was learned is never notified.
    ///
    /// # Errors
    ///
    /// If the kernel does not answer within a second, or refuses the question, as for an interface that is not there.
    /// That nothing leads to the destination is no error but a [`RouteKind`].
    pub fn lookup(&mut self, query: &Query) -> Result<Route, Error> {
        let question = RouteNetlinkMessage::GetRoute(question(query));
        let answer = self.requests.ask(question, 0);
        match answer {
            Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(understood(&route, query)),
            Ok(_) => Err(Error::NotUnderstood),
            Err(error) => match error.refusal() {
                Some(
                    number @ (libc::ENETUNREACH
                    | libc::EHOSTUNREACH
                    | libc::EACCES
                    | libc::ENETDOWN
                    | libc::EAGAIN),
                ) => Ok(nowhere(RouteKind::Unreachable(number), query)),
                // Of IPv4, both for a blackhole and for a source that is not an address of this host.
                Some(libc::EINVAL) => self.invalid(query),
                _ => Err(error),
            },
        }
    }

    fn invalid(&mut self, query: &Query) -> Result<Route, Error> {
        let kind = match query.source {
            None => RouteKind::Blackhole,
            Some(_) => {
                let source = None;
                match self.lookup(&Query { source, ..*query })?.kind {
                    RouteKind::Blackhole => RouteKind::Blackhole,
                    _ => RouteKind::Unreachable(libc::EINVAL),
                }
            }
        };
        Ok(nowhere(kind, query))
    }
}

fn nowhere(kind: RouteKind, query: &Query) -> Route {
    Route {
        link: 0,
        source: query.source,
        gateway: None,
        mtu: None,
        kind,
    }
}

fn question(query: &Query) -> RouteMessage {
    let mut message = RouteMessage::default();
    let bits = match query.destination {
        IpAddr::V4(_) => {
            message.header.address_family = AddressFamily::Inet;
            32
        }
        IpAddr::V6(_) => {
            message.header.address_family = AddressFamily::Inet6;
            128
        }
    };
    message.header.destination_prefix_length = bits;
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Destination(query.destination.into()));
    if let Some(source) = query.source {
        message.header.source_prefix_length = bits;
        attributes.push(RouteAttribute::Source(source.into()));
    }
    if query.mark != 0 {
        attributes.push(RouteAttribute::Mark(query.mark));
    }
    attributes.extend(query.uid.map(RouteAttribute::Uid));
    attributes.extend(query.oif.map(RouteAttribute::Oif));
    if let Some(flow) = query.flow {
        attributes.push(RouteAttribute::IpProto(flow.protocol));
        // The kernel takes port 0 for a mistake.
        if flow.source_port != 0 {
            attributes.push(RouteAttribute::Sport(flow.source_port));
        }
        if flow.destination_port != 0 {
            attributes.push(RouteAttribute::Dport(flow.destination_port));
        }
    }
    message
}

fn understood(message: &RouteMessage, query: &Query) -> Route {
    let mut route = nowhere(RouteKind::Unicast, query);
    let mut error = libc::ENETUNREACH;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.link = *index,
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => route.source = Some((*ip).into()),
            RouteAttribute::PrefSource(RouteAddress::Inet6(ip)) => {
                route.source = Some((*ip).into())
            }
            RouteAttribute::Gateway(RouteAddress::Inet(ip))
            | RouteAttribute::Via(RouteVia::Inet(ip)) => route.gateway = Some((*ip).into()),
            RouteAttribute::Gateway(RouteAddress::Inet6(ip))
            | RouteAttribute::Via(RouteVia::Inet6(ip)) => route.gateway = Some((*ip).into()),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(bytes) => Some(*bytes),
                    _ => None,
                });
            }
            // A negative error number, in a field without a sign.
            RouteAttribute::CacheInfo(cached) if cached.error != 0 => {
                error = cached.error.wrapping_neg().cast_signed();
            }
            _ => {}
        }
    }
    route.kind = match message.header.kind {
        RouteType::Local | RouteType::Anycast => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw => {
            RouteKind::Unreachable(error)
        }
        _ => RouteKind::Unicast,
    };
    if matches!(route.kind, RouteKind::Unreachable(_) | RouteKind::Blackhole) {
        return nowhere(route.kind, query);
    }
    route
}

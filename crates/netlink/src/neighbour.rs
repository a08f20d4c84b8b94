//! Neighbours: the hardware addresses of IP addresses on a link, and the ports of a bridge behind which hardware
//! addresses are.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as State,
};
use sidestep_wire::Mac;
use std::net::IpAddr;

/// What the kernel knows of an IP address on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neighbour {
    /// The link's index.
    pub link: u32,
    /// The address.
    pub ip: IpAddr,
    /// Its hardware address, if the state says that one is known.
    pub mac: Option<Mac>,
    /// How sure that is.
    pub state: NeighbourState,
}

/// How sure the kernel is of a neighbour: the states of RFC 4861 section 7.3.2, and those of the kernel for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NeighbourState {
    /// Nobody asked yet.
    None,
    /// Asked, no answer yet.
    Incomplete,
    /// Known, and lately heard of.
    Reachable,
    /// Known, and not heard of for a while: to be used, and asked about when used.
    Stale,
    /// As `Stale`, and used: will be asked about in some seconds if nobody confirms it before.
    Delay,
    /// As `Delay`, and being asked about.
    Probe,
    /// Asked, and did not answer: unreachable (EHOSTUNREACH).
    Failed,
    /// Needs no asking: multicast, or a link without hardware addresses.
    NoArp,
    /// Set by the administrator.
    Permanent,
}

impl Neighbour {
    /// What a message of the kernel says; nothing if it is not of an IP neighbour.
    pub(crate) fn of(message: &NeighbourMessage) -> Option<Self> {
        // A proxy entry says for whom this host answers, and nothing of a neighbour.
        if message.header.flags.contains(NeighbourFlags::Proxy) {
            return None;
        }
        let state = NeighbourState::of(message.header.state);
        let (mut ip, mut mac) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    ip = Some((*v4).into())
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    ip = Some((*v6).into());
                }
                NeighbourAttribute::LinkLayerAddress(bytes) if state.is_known() => {
                    mac = bytes.as_slice().try_into().ok().map(Mac);
                }
                _ => {}
            }
        }
        Some(Self {
            link: message.header.ifindex,
            ip: ip?,
            mac,
            state,
        })
    }

    /// Frames to it can be sent, or nobody answered for it: asking again brings nothing new at once.
    pub fn is_settled(&self) -> bool {
        self.mac.is_some() || self.state == NeighbourState::Failed
    }
}

impl NeighbourState {
    fn of(said: State) -> Self {
        match said {
            State::Incomplete => Self::Incomplete,
            State::Reachable => Self::Reachable,
            State::Stale => Self::Stale,
            State::Delay => Self::Delay,
            State::Probe => Self::Probe,
            State::Failed => Self::Failed,
            State::Noarp => Self::NoArp,
            State::Permanent => Self::Permanent,
            _ => Self::None,
        }
    }

    /// The hardware address may be used (the kernel's NUD_VALID).
    fn is_known(self) -> bool {
        match self {
            Self::None | Self::Incomplete | Self::Failed => false,
            Self::Reachable
            | Self::Stale
            | Self::Delay
            | Self::Probe
            | Self::NoArp
            | Self::Permanent => true,
        }
    }

    /// The kernel keeps the entry as it is: it neither asks nor wants to be told.
    pub(crate) fn is_fixed(self) -> bool {
        matches!(self, Self::NoArp | Self::Permanent)
    }
}

/// What a bridge learned: behind which port a hardware address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarding {
    pub(crate) bridge: u32,
    pub(crate) mac: Mac,
    /// 0 where the bridge does not look at tags.
    pub(crate) vlan: u16,
    pub(crate) port: u32,
}

impl Forwarding {
    /// What a message of the kernel says; nothing if it is not of a station behind a bridge's port.
    pub(crate) fn of(message: &NeighbourMessage) -> Option<Self> {
        // A permanent entry is an address of the bridge or of its port itself.
        if message.header.family != AddressFamily::Bridge
            || message.header.state == State::Permanent
        {
            return None;
        }
        let (mut bridge, mut mac, mut vlan) = (None, None, 0);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Controller(index) => bridge = Some(*index),
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = bytes.as_slice().try_into().ok().map(Mac);
                }
                NeighbourAttribute::Vlan(id) => vlan = *id,
                _ => {}
            }
        }
        Some(Self {
            bridge: bridge?,
            mac: mac?,
            vlan,
            port: message.header.ifindex,
        })
    }
}

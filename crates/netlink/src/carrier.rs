//! Over which interfaces the frames of a link really go, and with which tag.

#[cfg(test)]
mod tests;

use crate::link::{BondMode, Link, LinkKind};
use crate::picture::Picture;
use sidestep_wire::Mac;

/// Interfaces upon interfaces that are followed; the kernel allows eight.
const DEPTH_MAX: u32 = 10;

/// Where the frames of a link go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// The interfaces at the bottom, by index. More than one for a bond that shares frames out: received on any, sent
    /// by any on which the flow then stays.
    pub links: Vec<u32>,
    /// The VLAN tag (IEEE 802.1Q) that frames have there.
    pub vlan: Option<u16>,
    /// The hardware address that frames are sent from, and received for: the link's, whatever the interfaces below have.
    pub mac: Mac,
}

/// Why there is no saying where frames of a link go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoCarrier {
    /// No link has that index.
    #[error("no interface has index {0}")]
    NoSuchLink(u32),
    /// Frames of the link stay in this host.
    #[error("the loopback interface has no frames on a wire")]
    Loopback,
    /// The link has no Ethernet frames.
    #[error("interface {0} has no Ethernet frames")]
    NotEthernet(u32),
    /// The interface below is in another network namespace.
    #[error("what interface {0} is made of is in another network namespace")]
    Elsewhere(u32),
    /// One tag around another, or a service tag.
    #[error("interface {0} needs VLAN tags around VLAN tags")]
    TwoTags(u32),
    /// A bond without a port that works.
    #[error("no port of bond {0} works")]
    NoPort(u32),
    /// A bond that sends copies, or changes hardware addresses.
    #[error("bond {0} is in a mode other than active-backup, 802.3ad, balance-rr and balance-xor")]
    BondMode(u32),
    /// A bridge that does not know where the neighbour is, or the neighbour was not said.
    #[error("bridge {0} does not know behind which port the neighbour is")]
    NoSuchStation(u32),
    /// A bridge that looks at VLAN tags and so may add or remove them.
    #[error("bridge {0} filters by VLAN")]
    VlanFiltering(u32),
    /// Interfaces upon interfaces without an end.
    #[error("interface {0} lies upon too many others")]
    TooDeep(u32),
}

impl Picture {
    /// Where frames go that are sent by `link` to the station `neighbour`, which only bridges need to know. Ask again
    /// after [`LinkChanged`](crate::Change::LinkChanged) of any link that is involved, and
    /// [`StationMoved`](crate::Change::StationMoved) of a bridge.
    ///
    /// # Errors
    ///
    /// See [`NoCarrier`]; such traffic is the kernel's.
    pub fn carrier(&self, link: u32, neighbour: Option<Mac>) -> Result<Carrier, NoCarrier> {
        let top = self.link(link).ok_or(NoCarrier::NoSuchLink(link))?;
        let mut at = top;
        let mut vlan = None;
        for _ in 0..DEPTH_MAX {
            let next = match &at.kind {
                LinkKind::Loopback => return Err(NoCarrier::Loopback),
                LinkKind::Macvlan { lower } => lower.ok_or(NoCarrier::Elsewhere(at.index))?,
                LinkKind::Vlan {
                    id,
                    service_tag,
                    lower,
                } => {
                    if *service_tag || vlan.replace(*id).is_some() {
                        return Err(NoCarrier::TwoTags(link));
                    }
                    lower.ok_or(NoCarrier::Elsewhere(at.index))?
                }
                LinkKind::Bond { mode, active } => match mode {
                    BondMode::ActiveBackup => active.ok_or(NoCarrier::NoPort(at.index))?,
                    BondMode::Lacp | BondMode::Balance => {
                        return self.shared_out(top, at, vlan);
                    }
                    BondMode::Other => return Err(NoCarrier::BondMode(at.index)),
                },
                LinkKind::Bridge {
                    vlan_filtering: true,
                } => return Err(NoCarrier::VlanFiltering(at.index)),
                LinkKind::Bridge {
                    vlan_filtering: false,
                } => neighbour
                    .and_then(|station| self.port_of(at.index, station))
                    .ok_or(NoCarrier::NoSuchStation(at.index))?,
                LinkKind::Ethernet | LinkKind::Veth { .. } | LinkKind::Other(_) => {
                    return carried(top, at, vec![at.index], vlan);
                }
            };
            at = self.link(next).ok_or(NoCarrier::NoSuchLink(next))?;
        }
        Err(NoCarrier::TooDeep(link))
    }

    /// By all ports of a bond on which it sends. Ports of bonds are interfaces at the bottom: bonds of bonds, or of
    /// VLANs, the kernel's own documentation advises against.
    fn shared_out(&self, top: &Link, bond: &Link, vlan: Option<u16>) -> Result<Carrier, NoCarrier> {
        let ports = self.ports(bond.index);
        let working: Vec<_> = ports
            .filter(|port| port.active_port && port.running)
            .map(|port| port.index)
            .collect();
        if working.is_empty() {
            return Err(NoCarrier::NoPort(bond.index));
        }
        carried(top, bond, working, vlan)
    }
}

fn carried(
    top: &Link,
    bottom: &Link,
    links: Vec<u32>,
    vlan: Option<u16>,
) -> Result<Carrier, NoCarrier> {
    if !bottom.ethernet {
        return Err(NoCarrier::NotEthernet(bottom.index));
    }
    let mac = top.mac.ok_or(NoCarrier::NotEthernet(top.index))?;
    Ok(Carrier { links, vlan, mac })
}

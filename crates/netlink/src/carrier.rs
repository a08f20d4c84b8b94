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

/// A way down from a link to its carrier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descent {
    /// Where it ends.
    pub carrier: Carrier,
    /// The links that it goes by, from the top, which is one of them, without those at the bottom.
    pub by: Vec<u32>,
}

/// A link that receives frames that arrive at an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receiver {
    /// The link's index: the interface's own, or that of one upon it.
    pub link: u32,
    /// The VLAN tag (IEEE 802.1Q) that its frames have at the interface.
    pub vlan: Option<u16>,
    /// The bond that they come by, if they do.
    pub bond: Option<u32>,
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
        self.descend(link, neighbour, |_| false)
            .map(|descent| descent.carrier)
    }

    /// As [`carrier`](Self::carrier), no further down than to a link that `ends` it.
    ///
    /// # Errors
    ///
    /// See [`NoCarrier`]; such traffic is the kernel's.
    pub fn descend(
        &self,
        link: u32,
        neighbour: Option<Mac>,
        ends: impl Fn(u32) -> bool,
    ) -> Result<Descent, NoCarrier> {
        let top = self.link(link).ok_or(NoCarrier::NoSuchLink(link))?;
        let mut at = top;
        let mut vlan = None;
        let mut by = Vec::new();
        for _ in 0..DEPTH_MAX {
            if ends(at.index) {
                let carrier = carried(top, at, vec![at.index], vlan)?;
                return Ok(Descent { carrier, by });
            }
            let next = match &at.kind {
                LinkKind::Loopback => return Err(NoCarrier::Loopback),
                LinkKind::Macvlan { lower, .. } => lower.ok_or(NoCarrier::Elsewhere(at.index))?,
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
                        by.push(at.index);
                        let carrier = self.shared_out(top, at, vlan)?;
                        return Ok(Descent { carrier, by });
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
                    let carrier = carried(top, at, vec![at.index], vlan)?;
                    return Ok(Descent { carrier, by });
                }
            };
            by.push(at.index);
            at = self.link(next).ok_or(NoCarrier::NoSuchLink(next))?;
        }
        Err(NoCarrier::TooDeep(link))
    }

    /// The links that receive frames which arrive at `bottom`: the interface itself, if no bond or bridge takes what it
    /// receives, and what lies upon it and is switched on, no further up than below a link that `ends` it.
    ///
    /// Nothing arrives at an interface that is off, or at a port that its bond does not use. But where one comes on, or a
    /// bond changes to another, frames are there sooner than the kernel's word of it, so they are not told apart.
    pub fn receivers(&self, bottom: u32, ends: impl Fn(u32) -> bool) -> Vec<Receiver> {
        let mut found = Vec::new();
        let first = Receiver {
            link: bottom,
            vlan: None,
            bond: None,
        };
        let mut next = vec![(first, 0)];
        while let Some((at, depth)) = next.pop() {
            let Some(link) = self.link(at.link) else {
                continue;
            };
            let is_end = at.link != bottom && ends(at.link);
            let is_on = link.up || at.link == bottom;
            if is_end || !is_on || depth > DEPTH_MAX {
                continue;
            }
            let upon = self.links().filter_map(|link| at.received_by(link));
            next.extend(upon.map(|receiver| (receiver, depth + 1)));
            let master = link.master.and_then(|master| self.link(master));
            let takes =
                |kind: &LinkKind| matches!(kind, LinkKind::Bond { .. } | LinkKind::Bridge { .. });
            match master.filter(|master| takes(&master.kind)) {
                None => found.push(at),
                Some(master) => next.extend(at.taken_by(master).map(|r| (r, depth + 1))),
            }
        }
        found.sort();
        found
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

impl Receiver {
    /// What lies upon this link, as far as it has its frames.
    fn received_by(&self, link: &Link) -> Option<Self> {
        let vlan = match &link.kind {
            LinkKind::Macvlan { lower, .. } if *lower == Some(self.link) => self.vlan,
            LinkKind::Vlan {
                id,
                service_tag: false,
                lower,
            } if *lower == Some(self.link) && self.vlan.is_none() => Some(*id),
            _ => return None,
        };
        Some(Self {
            link: link.index,
            vlan,
            ..*self
        })
    }

    /// The bond or bridge of which this link is a port, if it takes frames from its ports.
    fn taken_by(&self, master: &Link) -> Option<Self> {
        let (takes, bond) = match &master.kind {
            LinkKind::Bond { mode, .. } => (*mode != BondMode::Other, Some(master.index)),
            LinkKind::Bridge { vlan_filtering } => (!vlan_filtering, self.bond),
            _ => (false, None),
        };
        takes.then_some(Self {
            link: master.index,
            bond,
            ..*self
        })
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

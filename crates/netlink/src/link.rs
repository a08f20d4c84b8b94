//! Links: the interfaces of the namespace, and what they are made of.

#[cfg(test)]
mod tests;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    BondMode as Mode, BondPortState, InfoBond, InfoBondPort, InfoBridge, InfoData, InfoKind,
    InfoMacVlan, InfoMacVtap, InfoPortData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkLayerType, LinkMessage, MacVlanMode, VlanProtocol,
};
use sidestep_wire::Mac;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, which stays while the interface lives.
    pub index: u32,
    /// Its name, which may change.
    pub name: String,
    /// Its hardware address; none where it is not of Ethernet's form.
    pub mac: Option<Mac>,
    /// The longest IP packet, in bytes.
    pub mtu: u32,
    /// It is switched on (`ip link set up`).
    pub up: bool,
    /// It is switched on, and what lies below it works (`LOWER_UP` and an operational state that lets packets pass).
    pub running: bool,
    /// Frames have Ethernet headers.
    pub ethernet: bool,
    /// The bridge or bond, or other interface, of which this one is a port.
    pub master: Option<u32>,
    /// As a port of a bond: the bond sends by it. Always false for others.
    pub active_port: bool,
    /// Queues that the driver set aside; how many are in use, `ethtool -l` says.
    pub rx_queues: u32,
    /// The same for sending.
    pub tx_queues: u32,
    /// The bus that its device is on, as the kernel names it: `pci`, `virtio`. None for what has no device, and by kernels before
    /// 5.14, which do not say.
    pub bus: Option<String>,
    /// What it is.
    pub kind: LinkKind,
}

/// What an interface is made of. A `lower` interface is none where it is in another network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// A network card, physical or emulated, or whatever does not say what it is.
    Ethernet,
    /// `lo`.
    Loopback,
    /// One end of a virtual cable.
    Veth {
        /// The other end, if in this namespace.
        peer: Option<u32>,
    },
    /// The frames of `lower` with one VLAN tag (IEEE 802.1Q).
    Vlan {
        /// The tag's number, 1 to 4094.
        id: u16,
        /// The tag is not that of 802.1Q but of 802.1ad, for tags around tags.
        service_tag: bool,
        /// The interface that carries them.
        lower: Option<u32>,
    },
    /// Several interfaces as one; its ports are those whose `master` it is.
    Bond {
        /// How frames are shared out among them.
        mode: BondMode,
        /// In mode active-backup: the port in use, if any works.
        active: Option<u32>,
    },
    /// A switch; its ports are those whose `master` it is.
    Bridge {
        /// It looks at VLAN tags.
        vlan_filtering: bool,
    },
    /// A further hardware address of `lower`.
    Macvlan {
        /// The interface that carries its frames.
        lower: Option<u32>,
        /// It and others of its interface reach each other in this host (mode bridge).
        bridge: bool,
    },
    /// Anything else, by the kernel's name for it.
    Other(String),
}

/// How a bond shares out frames among its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BondMode {
    /// By one port, and by another when that fails.
    ActiveBackup,
    /// By link aggregation with the switch (LACP), a flow always by the same port.
    Lacp,
    /// By turns, or by a hash of the flow, over ports that the switch takes for one: balance-rr, balance-xor.
    Balance,
    /// A copy by each port, or by hardware addresses of the ports: broadcast, balance-tlb, balance-alb.
    Other,
}

impl Link {
    /// What a message of the kernel says of a link. Nothing for what other protocol families say of it, such as
    /// of a bridge's port.
    pub(crate) fn of(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != AddressFamily::Unspec {
            return None;
        }
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            running: flags.contains(LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            master: None,
            active_port: false,
            rx_queues: 1,
            tx_queues: 1,
            bus: None,
            kind: LinkKind::Ethernet,
        };
        let (mut lower, mut elsewhere, mut info) = (None, false, &[][..]);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(bytes) => {
                    link.mac = bytes.as_slice().try_into().ok().map(Mac);
                }
                LinkAttribute::Mtu(bytes) => link.mtu = *bytes,
                LinkAttribute::Controller(index) => link.master = Some(*index),
                LinkAttribute::Link(index) => lower = Some(*index),
                LinkAttribute::LinkNetNsId(_) => elsewhere = true,
                LinkAttribute::NumRxQueues(queues) => link.rx_queues = *queues,
                LinkAttribute::NumTxQueues(queues) => link.tx_queues = *queues,
                LinkAttribute::ParentDevBusName(bus) => link.bus = Some(bus.clone()),
                LinkAttribute::LinkInfo(said) => info = said,
                _ => {}
            }
        }
        link.kind = if flags.contains(LinkFlags::Loopback) {
            LinkKind::Loopback
        } else {
            kind(info, lower.filter(|_| !elsewhere))
        };
        link.active_port = is_active_port(info);
        Some(link)
    }
}

fn kind(info: &[LinkInfo], lower: Option<u32>) -> LinkKind {
    let named = info.iter().find_map(|said| match said {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    let data = info.iter().find_map(|said| match said {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    match (named, data) {
        (None, _) => LinkKind::Ethernet,
        // While the first end is made, there is no other yet.
        (Some(InfoKind::Veth), _) => LinkKind::Veth {
            peer: lower.filter(|peer| *peer != 0),
        },
        (Some(InfoKind::MacVlan | InfoKind::MacVtap), data) => LinkKind::Macvlan {
            lower,
            bridge: bridges(data),
        },
        (Some(InfoKind::Vlan), Some(InfoData::Vlan(said))) => vlan(said, lower),
        (Some(InfoKind::Bond), Some(InfoData::Bond(said))) => bond(said),
        (Some(InfoKind::Bridge), Some(InfoData::Bridge(said))) => LinkKind::Bridge {
            vlan_filtering: said.contains(&InfoBridge::VlanFiltering(true)),
        },
        (Some(other), _) => LinkKind::Other(other.to_string()),
    }
}

fn bridges(said: Option<&InfoData>) -> bool {
    match said {
        Some(InfoData::MacVlan(said)) => said.contains(&InfoMacVlan::Mode(MacVlanMode::Bridge)),
        Some(InfoData::MacVtap(said)) => said.contains(&InfoMacVtap::Mode(MacVlanMode::Bridge)),
        _ => false,
    }
}

fn vlan(said: &[InfoVlan], lower: Option<u32>) -> LinkKind {
    let (mut id, mut service_tag) = (0, false);
    for attribute in said {
        match attribute {
            InfoVlan::Id(said) => id = *said,
            InfoVlan::Protocol(protocol) => service_tag = *protocol != VlanProtocol::Ieee8021Q,
            _ => {}
        }
    }
    LinkKind::Vlan {
        id,
        service_tag,
        lower,
    }
}

fn bond(said: &[InfoBond]) -> LinkKind {
    let (mut mode, mut active) = (BondMode::Other, None);
    for attribute in said {
        match attribute {
            InfoBond::Mode(Mode::ActiveBackup) => mode = BondMode::ActiveBackup,
            InfoBond::Mode(Mode::Ieee8023Ad) => mode = BondMode::Lacp,
            InfoBond::Mode(Mode::BalanceRr | Mode::BalanceXor) => mode = BondMode::Balance,
            // The kernel leaves the attribute out, or says 0, while no port works.
            InfoBond::ActivePort(index) => active = Some(*index).filter(|index| *index != 0),
            _ => {}
        }
    }
    LinkKind::Bond { mode, active }
}

fn is_active_port(info: &[LinkInfo]) -> bool {
    info.iter().any(|said| match said {
        LinkInfo::PortData(InfoPortData::BondPort(said)) => {
            said.contains(&InfoBondPort::BondPortState(BondPortState::Active))
        }
        _ => false,
    })
}

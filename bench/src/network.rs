//! Two network namespaces with a cable between them, and agents that serve its ends: where the cases of networks take
//! place. The server is at the near end. Needs root.

use crate::lab::Sidestep;
use crate::model::{Contender, Problem};
use crate::process::find_program;
use sidestep_tests::netns::Cable;
use std::net::Ipv4Addr;
use std::path::Path;

/// Longest IP packet of the cables.
const MTU: u32 = 1500;
/// What the kernel does for segments where the interface offers it.
const OFFLOADS: &str = "tx off tso off gso off gro off";

/// What is at the ends of a cable. Each has one to itself: a steering program on an interface changes what the kernel's
/// own packets cost there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// The kernel at both ends, with all that veth offers it.
    Kernel,
    /// The kernel at both ends, which finishes checksums and cuts segments itself.
    KernelWithoutOffloads,
    /// An agent at each end.
    Sidestep,
    /// An agent at the server's end; the client's kernel finishes its checksums.
    ServerAlone,
    /// An agent at each end, and two queues, of which each stack of the server's end gets one.
    TwoQueues,
}

impl Wiring {
    /// All of them.
    pub(crate) const COUNT: usize = 5;

    /// That of a contender.
    pub(crate) const fn of(who: Contender) -> Self {
        match who {
            Contender::Sidestep => Self::Sidestep,
            Contender::SidestepServer => Self::ServerAlone,
            Contender::TwoStacks => Self::TwoQueues,
            Contender::KernelWithoutOffloads => Self::KernelWithoutOffloads,
            _ => Self::Kernel,
        }
    }

    /// Queues of each end.
    const fn queues(self) -> u32 {
        match self {
            Self::TwoQueues => 2,
            _ => 1,
        }
    }
}

/// A cable and what serves its ends.
#[derive(Debug)]
pub(crate) struct Network {
    /// The agent of the near end, if any; dropped before the namespaces are.
    pub(crate) server: Option<Sidestep>,
    /// That of the far end.
    pub(crate) client: Option<Sidestep>,
    /// The namespaces.
    pub(crate) cable: Cable,
    /// The near end's address.
    pub(crate) address: Ipv4Addr,
}

impl Network {
    /// Makes one; `binary` is the command under test.
    pub(crate) fn new(wiring: Wiring, binary: &Path) -> Result<Self, Problem> {
        needs_root()?;
        find_program("ip", "iproute2")?;
        find_program("ethtool", "ethtool")?;
        let cable = Cable::silent(wiring.queues(), MTU);
        for (n, netns, name) in [(1, &cable.near, "near0"), (2, &cable.far, "far0")] {
            netns.run(&format!("ip addr add 10.9.0.{n}/24 dev {name}"));
            match wiring {
                Wiring::Kernel => {}
                Wiring::KernelWithoutOffloads => {
                    netns.run(&format!("ethtool -K {name} {OFFLOADS}"));
                }
                // Frames between two interfaces of one host may come with checksums to be finished by the receiver,
                // which none does who takes them as they are.
                Wiring::Sidestep | Wiring::ServerAlone | Wiring::TwoQueues => {
                    netns.run(&format!("ethtool -K {name} tx off"));
                }
            }
        }
        let agent = |netns, link| Sidestep::serving(binary.to_owned(), netns, link);
        let (server, client) = match wiring {
            Wiring::Kernel | Wiring::KernelWithoutOffloads => (None, None),
            Wiring::ServerAlone => (Some(agent(&cable.near, "near0")?), None),
            Wiring::Sidestep => (
                Some(agent(&cable.near, "near0")?),
                Some(agent(&cable.far, "far0")?),
            ),
            Wiring::TwoQueues => (
                Some(agent(&cable.near, "near0,queues=1")?),
                Some(agent(&cable.far, "far0")?),
            ),
        };
        Ok(Self {
            server,
            client,
            cable,
            address: Ipv4Addr::new(10, 9, 0, 1),
        })
    }
}

/// The problem that interfaces cannot be made, where it is so.
pub(crate) fn needs_root() -> Result<(), Problem> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Problem::Missing("root, to make interfaces".into()))
    }
}

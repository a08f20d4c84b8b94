//! Long segments: where the kernel copies every frame that a stack sends, a burst of a stream costs less as one packet that
//! the kernel cuts, or the card. Such packets leave by packet sockets. Who has one of those can send by any interface of its
//! namespace, so they are at the far end of a cable, in the hidden one; what comes out at the near end leaves by the
//! interface. All stacks of an interface share the cable, and nothing comes back by it.

use super::hop::{Hidden, index_of};
use super::interface::Interface;
use anyhow::Context;
use sidestep_netlink::Cables;
use sidestep_nic::packet;
use sidestep_steering::{Mode, Relay, Wanted};
use std::os::fd::OwnedFd;

/// Whether an interface has its long segments cut.
pub(crate) enum Cutting {
    /// Nobody has asked yet.
    Untried,
    /// It does not, or cannot.
    Off,
    /// By this cable.
    By(Cable),
}

/// A cable that long segments leave by.
pub(crate) struct Cable {
    near: u32,
    far: u32,
    _relay: Relay,
}

impl Cutting {
    /// A socket for the long segments of one more stack. None where there are to be none, or where the reason that there
    /// cannot be any was told already.
    pub(super) fn socket(
        &mut self,
        interface: &Interface,
        (hidden, cables): (&Hidden, &mut Cables),
    ) -> anyhow::Result<Option<OwnedFd>> {
        if matches!(self, Self::Untried) {
            *self = Self::Off;
            *self = Self::By(Cable::lay(interface, (hidden, cables))?);
        }
        let Self::By(cable) = self else {
            return Ok(None);
        };
        let far = cable.far;
        let socket = hidden.inside(|| Ok(packet::open_cutter(far)?))?;
        Ok(Some(socket))
    }

    /// The near end of its cable, to be removed by whoever lets go of the interface.
    pub(super) const fn cable(&self) -> Option<u32> {
        match self {
            Self::By(cable) => Some(cable.near),
            _ => None,
        }
    }
}

impl Cable {
    fn lay(
        interface: &Interface,
        (hidden, cables): (&Hidden, &mut Cables),
    ) -> anyhow::Result<Self> {
        let name = format!("ssc{}", interface.index);
        // Left over from an agent that was killed.
        if let Ok(old) = index_of(&name) {
            let _ = cables.remove(old);
        }
        hidden.lay(&name, interface.mtu, cables)?;
        let near = index_of(&name)?;
        let connected = Self::connect(near, &name, interface.index, (hidden, &mut *cables));
        if connected.is_err() {
            let _ = cables.remove(near);
        }
        connected
    }

    fn connect(
        near: u32,
        name: &str,
        interface: u32,
        (hidden, cables): (&Hidden, &mut Cables),
    ) -> anyhow::Result<Self> {
        cables.switch_on(near)?;
        let far = hidden.inside(|| {
            let far = index_of(name)?;
            Cables::open()?.switch_on(far)?;
            Ok(far)
        })?;
        let behind = Wanted::Only(Mode::TrafficControl);
        let relay = Relay::attach(near, interface, behind).context("needs Linux 6.6")?;
        Ok(Self {
            near,
            far,
            _relay: relay,
        })
    }
}

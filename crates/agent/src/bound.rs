//! What is believed of programs of other users than the agent's: only what the kernel says. They serve what a socket of the
//! kernel is bound to that they show, at addresses that are this host's, in the namespace that they are in; and are woken by
//! nothing but eventfds.

use crate::registry::Registry;
use crate::requests::Asker;
use rustix::net::{SocketAddrAny, ipproto, sockopt};
use sidestep_control::{Fault, Publication, device, namespace};
use sidestep_steering::Protocol;
use sidestep_wire::{Address, Endpoint};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// What a socket of the kernel is bound to.
pub(crate) struct Bound {
    pub(crate) protocol: Protocol,
    pub(crate) local: Endpoint,
    pub(crate) v6_only: bool,
    /// The index of an interface; 0 for none.
    pub(crate) device: u32,
}

impl Bound {
    /// What a stack serves by it, as it may be said of a program that shares with nobody.
    pub(crate) fn publication(&self) -> Publication {
        Publication::new(self.protocol as u8, self.local, self.v6_only, false)
    }

    /// Whether a stack that serves `what` needs to have bound no more than this.
    pub(crate) fn is(&self, what: &Publication) -> bool {
        // Only one of all addresses could take IPv4, too.
        let narrower = what.v6_only || !self.v6_only || self.local.addr != Address::UNSPECIFIED_V6;
        self.protocol as u8 == what.protocol && self.local == what.endpoint() && narrower
    }
}

/// What a socket of that namespace is bound to.
///
/// # Errors
/// [`Fault::NotBound`]
pub(crate) fn bound(socket: BorrowedFd<'_>, netns: u64) -> Result<Bound, Fault> {
    let protocol = match sockopt::socket_protocol(socket) {
        Ok(Some(ipproto::TCP)) => Protocol::Tcp,
        Ok(Some(ipproto::UDP)) => Protocol::Udp,
        _ => return Err(Fault::NotBound),
    };
    if namespace::of_socket(socket).ok() != Some(netns) {
        return Err(Fault::NotBound);
    }
    let name = rustix::net::getsockname(socket).map_err(|_| Fault::NotBound)?;
    let device = device::of_socket(socket).map_err(|_| Fault::NotBound)?;
    let (local, v6_only) = match SocketAddrAny::try_into(name) {
        Ok(SocketAddr::V4(v4)) => (Endpoint::new(Address::from(*v4.ip()), v4.port()), false),
        Ok(SocketAddr::V6(v6)) => {
            let only = sockopt::ipv6_v6only(socket).unwrap_or(true);
            (Endpoint::new(Address::from(*v6.ip()), v6.port()), only)
        }
        Err(_) => return Err(Fault::NotBound),
    };
    if local.port == 0 {
        return Err(Fault::NotBound);
    }
    Ok(Bound {
        protocol,
        local,
        v6_only,
        device,
    })
}

/// The addresses of the host where a process is, but for loopback.
fn addresses_of(pid: u32) -> Vec<Address> {
    let mut list = vec![Address::UNSPECIFIED_V6; namespace::ADDRESSES_MAX];
    let count = namespace::addresses_of(pid, &mut list).unwrap_or(0);
    list.truncate(count);
    list
}

impl Registry {
    /// Whether who asks is in that namespace, as far as he is not believed.
    pub(crate) fn check_namespace(asker: &Asker, netns: u64) -> Result<(), Fault> {
        if asker.is_trusted || namespace::of_process(asker.pid).ok() == Some(netns) {
            Ok(())
        } else {
            Err(Fault::OtherNamespace)
        }
    }

    /// The addresses of a namespace: those that the asker tells of, if he is believed; none where they need not be heard.
    pub(crate) fn believed(asker: &Asker, first: bool, told: Vec<Address>) -> Option<Vec<Address>> {
        if asker.is_trusted {
            Some(told)
        } else {
            first.then(|| addresses_of(asker.pid))
        }
    }

    /// Whether who asks may serve `what` in that namespace.
    pub(crate) fn check_publication(
        asker: &Asker,
        netns: u64,
        what: &Publication,
        socket: Option<BorrowedFd<'_>>,
    ) -> Result<(), Fault> {
        if asker.is_trusted {
            return Ok(());
        }
        if !bound(socket.ok_or(Fault::NotBound)?, netns)?.is(what) {
            return Err(Fault::NotBound);
        }
        // The kernel binds to addresses of other hosts whoever asks for it (IP_FREEBIND).
        let address = what.endpoint().addr;
        let is_ours = address.is_unspecified()
            || address.is_loopback()
            || addresses_of(asker.pid).contains(&address);
        if is_ours {
            Ok(())
        } else {
            Err(Fault::NotBound)
        }
    }
}

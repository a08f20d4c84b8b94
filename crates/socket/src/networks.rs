//! What a process has of networks: sockets to sleep on, ways to hosts, and local ports.

use crate::process::{Process, Shared};
use crate::session::Session;
use crate::{Address, Endpoint, Errno};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sidestep_control::{ClientError, Fault, NetworkWay, Spread};
use sidestep_shm::atomic::{AtomicU32, Ordering};
use sidestep_shm::{Fd, Nanos};
use sidestep_stack::{Handover, HopState, Way, WireToAttach};
use sidestep_wire::toeplitz::ByPort;
use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Ports that are claimed at a time.
const PORTS_AT_ONCE: usize = 32;
/// Ports that a process has claimed, beyond which it claims none only because the answers to those that are left would come by
/// another stack's queue.
const PORTS_TO_CHOOSE_FROM: usize = 4096;
/// Most ports that a process claims for connections that it opens.
const PORTS_MAX: usize = 16 * 1024;
/// Ways that are remembered; beyond them all are forgotten.
const WAYS_MAX: usize = 4096;
/// How long it is remembered that no way leads to a host.
const NO_WAY: Nanos = Nanos::from_secs(1);

/// Sockets of queues, which threads sleep on beside the doorbell.
pub(crate) struct Wakes {
    list: Mutex<Vec<(u64, Fd)>>,
    changes: AtomicU32,
    /// Threads of this process that have the sockets in what they sleep on.
    watchers: AtomicU32,
}

/// See [`Wakes::list`].
pub(crate) type WakesGuard<'a> = MutexGuard<'a, Vec<(u64, Fd)>>;

impl Wakes {
    pub(crate) const fn new() -> Self {
        Self {
            list: Mutex::new(Vec::new()),
            changes: AtomicU32::new(0),
            watchers: AtomicU32::new(0),
        }
    }

    /// Whether any thread has the sockets in what it sleeps on.
    #[inline]
    pub(crate) fn are_watched(&self) -> bool {
        self.watchers.load(Ordering::Relaxed) != 0
    }

    /// One thread more or less has them there.
    pub(crate) fn watch(&self, wanted: bool) {
        if wanted {
            self.watchers.fetch_add(1, Ordering::Relaxed);
        } else {
            self.watchers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// We are a child now, whose threads have never slept.
    pub(crate) fn forget_watchers(&self) {
        self.watchers.store(0, Ordering::Relaxed);
    }

    /// Changes whenever the list does.
    #[inline]
    pub(crate) fn changes(&self) -> u32 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The socket of the queue with identity `id` is to wake those who sleep.
    pub(crate) fn add(&self, id: u64, socket: OwnedFd) {
        if let Ok(socket) = Fd::adopt(socket) {
            self.list().push((id, socket));
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps those that `wanted` names.
    pub(crate) fn retain(&self, wanted: impl Fn(u64) -> bool) {
        let mut list = self.list();
        let before = list.len();
        list.retain(|(id, _)| wanted(*id));
        if list.len() != before {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls `f` with each.
    pub(crate) fn each(&self, mut f: impl FnMut(BorrowedFd<'_>)) {
        for (_, socket) in &*self.list() {
            f(socket.as_fd());
        }
    }

    /// The list, while no other thread has it; held over a fork, so that the child's copy is not locked.
    pub(crate) fn list(&self) -> WakesGuard<'_> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How to reach a host.
#[derive(Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) way: Way,
    /// The address that we are known by there.
    pub(crate) source: Address,
    /// By a network, where ports must be claimed.
    pub(crate) by_network: bool,
}

/// What a way is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// What the socket is bound to.
    pub(crate) bound: Option<Endpoint>,
    pub(crate) remote: Endpoint,
    /// The index of the interface by which it must go; 0 for any.
    pub(crate) device: u32,
}

/// The remote address, the local one and the interface that a way was asked for.
type WayKey = (Address, Address, u32);

/// What a session remembers of networks.
#[derive(Default)]
pub(crate) struct Networks {
    /// The number of the configuration that the ways are of.
    number: u64,
    ways: HashMap<WayKey, Result<NetworkWay, (Handover, Nanos)>>,
    /// Ports that are claimed for connections that this process opens.
    ports: Vec<u16>,
    next: usize,
    /// How what arrives is spread over queues, by the wire.
    spreads: HashMap<u32, Arc<Spread>>,
    /// The addresses of interfaces by which datagrams to groups came.
    homes: Vec<(u32, Address)>,
}

impl Networks {
    /// The configuration is another one.
    fn begin(&mut self, number: u64) {
        self.ways.clear();
        self.homes.clear();
        self.spreads.clear();
        self.number = number;
    }
}

impl Session {
    /// The address of IPv4 that the interface with that index has, asked of the kernel once for each configuration.
    pub(crate) fn home(&mut self, device: u32) -> Option<Address> {
        let number = self.networks_number()?;
        let known = self.networks.get_or_insert_default();
        if known.number != number {
            known.begin(number);
        }
        if let Some((_, home)) = known.homes.iter().find(|home| home.0 == device) {
            return Some(*home);
        }
        let home = sidestep_control::device::v4_of_device(device)?;
        known.homes.push((device, home));
        Some(home)
    }

    /// The way to a host on a network, asked of the agent once for each configuration.
    pub(crate) fn network_way(
        &mut self,
        process: &Process,
        shared: &Shared,
        protocol: u8,
        to: &Wanted,
    ) -> Result<Reached, Handover> {
        let source = to.bound.map(|b| b.addr).filter(|a| !a.is_unspecified());
        let (remote, device) = (to.remote, to.device);
        let number = self.networks_number().ok_or(Handover::OtherHost)?;
        let known = self.networks.get_or_insert_default();
        if known.number != number || known.ways.len() >= WAYS_MAX {
            known.begin(number);
        }
        let key = (
            remote.addr,
            source.unwrap_or(Address::UNSPECIFIED_V6),
            device,
        );
        let now = process.now();
        match known.ways.get(&key) {
            Some(Ok(way)) => {
                let state = process.lock_only(shared, |stack| stack.hop_state(way.hop));
                // One that failed is looked for anew.
                if matches!(state, Ok(HopState::Reachable | HopState::Incomplete)) {
                    return Ok(reached(way));
                }
            }
            Some(Err((why, until))) if now < *until => return Err(*why),
            _ => {}
        }
        let asked = self.ask(process, shared, |client| {
            client.way(shared.id, protocol, remote, source, device)
        });
        let found = asked.map_err(|error| match error {
            ClientError::Refused(Fault::NoNetwork) if device != 0 => Handover::Device,
            ClientError::Refused(Fault::NoNetwork | Fault::OtherNamespace) => Handover::NoNetwork,
            ClientError::Refused(Fault::Carrier) => Handover::NoCarrier,
            ClientError::Refused(Fault::Broadcast) => Handover::Group,
            ClientError::Refused(_) => Handover::NoQueue,
            _ => Handover::NoAgent,
        });
        self.attach_wires(process, shared);
        let known = self.networks.get_or_insert_default();
        known
            .ways
            .insert(key, found.map_err(|why| (why, now + NO_WAY)));
        found.map(|way| reached(&way))
    }

    /// The number of the networks' configuration; none where there are no networks.
    pub(crate) fn networks_number(&self) -> Option<u64> {
        self.directory.as_ref().and_then(|d| d.networks())
    }

    /// A local port for a connection from `source` to `remote` by a queue of a network: one of those claimed that no
    /// connection to there has, if possible one to which answers come by a queue of ours. Some more ports are claimed for
    /// that, once: by two queues, one of 32 fits as good as always.
    pub(crate) fn network_port(
        &mut self,
        process: &Process,
        shared: &Shared,
        source: Address,
        (remote, wire): (Endpoint, u32),
    ) -> Result<Endpoint, Errno> {
        if process.rehearsal.get().is_some() {
            return Ok(Endpoint::new(source, process.ports.next()));
        }
        let spread = self.spread(process, shared, wire);
        let hashes = (!spread.is_empty()).then(|| ByPort::new(spread.key(), remote, source));
        let is_ours = |port: u16| hashes.is_none_or(|hashes| spread.is_own(hashes.hash(port)));
        let mut may_choose = true;
        loop {
            let known = self.networks.get_or_insert_default();
            let (count, next) = (known.ports.len(), known.next);
            let found = process.lock_only(shared, |stack| {
                let mut other = None;
                let mut places = (1..=count).map(|step| (next + step) % count);
                let ours = places.find(|place| {
                    let port = known.ports[*place];
                    let ours = is_ours(port);
                    let wanted = ours || other.is_none();
                    let free = wanted && !stack.has_flow(&Endpoint::new(source, port), &remote);
                    if free && !ours {
                        other = Some(*place);
                    }
                    free && ours
                });
                (ours, other)
            });
            let (ours, other) = found.map_err(|_| Errno::CONNRESET)?;
            let chooses = may_choose && count < PORTS_TO_CHOOSE_FROM;
            if let Some(place) = ours.or(other.filter(|_| !chooses)) {
                known.next = place;
                return Ok(Endpoint::new(source, known.ports[place]));
            }
            if count >= PORTS_MAX {
                return Err(Errno::ADDRNOTAVAIL);
            }
            may_choose &= other.is_none();
            match self.claim_ports(process, shared) {
                Err(_) if other.is_some() => may_choose = false,
                claimed => claimed?,
            }
        }
    }

    /// How what arrives at the interface of that queue is spread, asked of the agent once for each configuration.
    fn spread(&mut self, process: &Process, shared: &Shared, wire: u32) -> Arc<Spread> {
        let known = self.networks.get_or_insert_default();
        if let Some(spread) = known.spreads.get(&wire) {
            return Arc::clone(spread);
        }
        let asked = self.ask(process, shared, |client| client.spread(shared.id, wire));
        let spread = Arc::new(asked.unwrap_or_default());
        let known = self.networks.get_or_insert_default();
        known.spreads.insert(wire, Arc::clone(&spread));
        spread
    }

    /// Claims some more ports, of the kernel's choice, which the agent keeps reserved.
    fn claim_ports(&mut self, process: &Process, shared: &Shared) -> Result<(), Errno> {
        let mut sockets = Vec::with_capacity(PORTS_AT_ONCE);
        let mut ports = Vec::with_capacity(PORTS_AT_ONCE);
        for _ in 0..PORTS_AT_ONCE {
            let (socket, port) = match reserved() {
                Ok(reserved) => reserved,
                Err(_) if !sockets.is_empty() => break,
                Err(errno) => return Err(errno),
            };
            sockets.push(socket);
            ports.push(port);
        }
        let fds: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        self.ask(process, shared, |client| {
            client.claim(shared.id, true, &fds)
        })
        .map_err(|_| Errno::ADDRNOTAVAIL)?;
        let known = self.networks.get_or_insert_default();
        known.ports.extend(ports);
        Ok(())
    }

    /// Claims the port that the program itself has bound `fd` to, for as long as it uses it.
    pub(crate) fn claim_own_port(
        &mut self,
        process: &Process,
        shared: &Shared,
        fd: i32,
    ) -> Result<(), Errno> {
        if process.rehearsal.get().is_some() {
            return Ok(());
        }
        crate::process::with_fd(fd, |fd| {
            self.ask(process, shared, |client| {
                client.claim(shared.id, false, &[fd])
            })
        })
        .map_err(|_| Errno::ADDRNOTAVAIL)
    }

    /// The agent that steered frames to us is gone: connections over its networks end.
    pub(crate) fn lose_networks(&mut self, process: &Process, shared: &Shared) {
        self.networks = None;
        let _ = process.lock_only(shared, |stack| {
            let networks: Vec<u32> = stack
                .open_wires()
                .filter(WireToAttach::is_network)
                .map(|wire| wire.index)
                .collect();
            for wire in networks {
                stack.close_wire(wire);
            }
            stack.detach_closed();
        });
        process.wakes.retain(|_| false);
    }
}

const fn reached(way: &NetworkWay) -> Reached {
    Reached {
        way: Way {
            wire: way.wire,
            hop: way.hop,
            mtu: way.mtu,
        },
        source: way.source,
        by_network: true,
    }
}

/// A socket that holds a port of the kernel's choice, in both families where there are both.
fn reserved() -> Result<(OwnedFd, u16), Errno> {
    let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let socket =
        reserve_in(AddressFamily::INET6, v6).or_else(|_| reserve_in(AddressFamily::INET, v4))?;
    let name = rustix::net::getsockname(&socket)?;
    let name = SocketAddr::try_from(name).map_err(|_| Errno::ADDRNOTAVAIL)?;
    Ok((socket, name.port()))
}

fn reserve_in(family: AddressFamily, any: SocketAddr) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    if family == AddressFamily::INET6 {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &any)?;
    Ok(socket)
}

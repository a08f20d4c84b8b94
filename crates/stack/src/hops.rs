//! The next stations of packets on networks: at which hardware address whoever forwards them is.
//!
//! ```text
//! Hop   a neighbour, by its address    resolved by the kernel, told by the agent      for those who connect
//!       a station, by where it sent    learned from its frames, reachable at once     for those who accept
//! ```
//! A wire between two stacks needs none: both ends know both. A connection whose hop is not resolved yet holds its
//! segments back; a hop that fails ends the connections that wait for it.

use crate::memory::{Core, Stack};
use crate::socket::Kind;
use crate::{Address, Error, Result};
use sidestep_shm::NONE;
use sidestep_tcp::Env;
use sidestep_wire::Mac;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Stations that a stack talks to at a time.
pub(crate) const HOPS_MAX: usize = 4096;
/// Places looked at for one station.
const PROBES_MAX: usize = 32;

/// What is known of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HopState {
    /// Entry not in use.
    Free = 0,
    /// The kernel looks for it.
    Incomplete = 1,
    /// Its hardware address is known.
    Reachable = 2,
    /// It does not answer.
    Failed = 3,
}

/// How packets leave: over which wire, and to which station where that is a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Index of the wire.
    pub wire: u32,
    /// Index of the hop, [`NONE`] on a wire between stacks.
    pub hop: u32,
}

impl From<u32> for Way {
    /// Over a wire between stacks.
    fn from(wire: u32) -> Self {
        Self { wire, hop: NONE }
    }
}

/// The two hardware addresses of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stations {
    pub(crate) dst: Mac,
    pub(crate) src: Mac,
}

impl Stations {
    /// Of a wire between stacks: both ends know them, nobody asks.
    pub(crate) const WIRE: Self = Self {
        dst: Mac([0x02, 0x53, 0x53, 0, 0, 2]),
        src: Mac([0x02, 0x53, 0x53, 0, 0, 1]),
    };
}

/// An entry; zeroed memory is a free one.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Hop {
    /// The neighbour's address; of a station that was learned one that no neighbour has.
    address: Address,
    wire: u32,
    dst: Mac,
    /// Our own station on that network.
    src: Mac,
    state: u8,
    _reserved: [u8; 3],
}

/// The key of a station that is known by its hardware address only: a multicast address, which no neighbour has.
const fn learned(station: Mac) -> Address {
    let [a, b, c, d, e, f] = station.0;
    Address([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f])
}

impl Stack<'_> {
    /// The hop to a neighbour on a network, entered as incomplete if it is new: then whoever follows the kernel's
    /// neighbours is to [`set_hop`](Self::set_hop) it.
    pub fn hop(&mut self, wire: u32, neighbour: Address) -> Result<(u32, HopState)> {
        let station = self
            .wires
            .get(wire as usize)
            .filter(|w| w.is_open() && w.is_network())
            .map(|w| w.station)
            .ok_or(Error::Unreachable)?;
        let place = self
            .core
            .hop_place(wire, neighbour)
            .ok_or(Error::TableFull)?;
        let hop = &mut self.core.hops[place as usize];
        // One that failed is tried anew for each who asks.
        if matches!(hop.state(), HopState::Free | HopState::Failed) {
            *hop = Hop {
                address: neighbour,
                wire,
                dst: Mac::default(),
                src: station,
                state: HopState::Incomplete as u8,
                _reserved: [0; 3],
            };
        }
        Ok((place, hop.state()))
    }

    /// What is known of the hop of a way; reachable where it needs none.
    pub fn hop_state(&self, hop: u32) -> HopState {
        if hop == NONE {
            return HopState::Reachable;
        }
        let hop = self.core.hops.get(hop as usize);
        hop.map_or(HopState::Free, Hop::state)
    }

    /// The neighbours that are neither reachable nor failed: wire and address.
    pub fn incomplete_hops(&self) -> impl Iterator<Item = (u32, Address)> + '_ {
        let hops = self.core.hops.iter();
        hops.filter(|hop| hop.state() == HopState::Incomplete)
            .map(|hop| (hop.wire, hop.address))
    }

    /// Tells what the kernel found out of a neighbour: its hardware address, or that it does not answer. What waited is
    /// sent, or fails.
    pub fn set_hop(&mut self, wire: u32, neighbour: Address, found: Option<Mac>) {
        let Some(place) = self.core.hop_place(wire, neighbour) else {
            return;
        };
        let hop = &mut self.core.hops[place as usize];
        let state = match found {
            _ if hop.state() == HopState::Free => return,
            // Said again, as the kernel does whenever it has confirmed a neighbour.
            Some(mac) if hop.state() == HopState::Reachable && hop.dst == mac => return,
            Some(mac) => {
                hop.dst = mac;
                HopState::Reachable
            }
            None => HopState::Failed,
        };
        hop.state = state as u8;
        for index in 0..self.core.header.sockets.fresh() {
            let s = self.core.at(index);
            if s.hop != place || s.kind() == Kind::Free {
                continue;
            }
            s.template.forget();
            match (s.kind(), state) {
                (Kind::Stream, HopState::Reachable) if s.tcb.wants_output() => {
                    self.flush_socket(index);
                }
                (Kind::Stream, HopState::Failed) => self.core.on_hop_failed(index),
                _ => {}
            }
        }
    }
}

impl Hop {
    const fn state(&self) -> HopState {
        match self.state {
            1 => HopState::Incomplete,
            2 => HopState::Reachable,
            3 => HopState::Failed,
            _ => HopState::Free,
        }
    }
}

impl Core<'_> {
    /// Where the hop of that key is, or would be. None where its places are taken by others.
    fn hop_place(&self, wire: u32, address: Address) -> Option<u32> {
        let key = crate::Endpoint::new(address, 0);
        let home = self.flow_hash(&key, &crate::Endpoint::new(Address::UNSPECIFIED_V6, 0)) as usize;
        let places = (0..PROBES_MAX).map(|step| (home + step) % HOPS_MAX);
        for place in places {
            let hop = &self.hops[place];
            let free = hop.state() == HopState::Free;
            if free || (hop.wire == wire && hop.address == address) {
                return u32::try_from(place).ok();
            }
        }
        None
    }

    /// The hop back to a station that a frame came from.
    pub(crate) fn learn_hop(&mut self, wire: u32, back: Stations) -> Option<u32> {
        let address = learned(back.dst);
        let place = self.hop_place(wire, address)?;
        self.hops[place as usize] = Hop {
            address,
            wire,
            dst: back.dst,
            src: back.src,
            state: HopState::Reachable as u8,
            _reserved: [0; 3],
        };
        Some(place)
    }

    /// The way back to whoever sent the frame in hand, which came over `wire`. None where there is no room for its
    /// station.
    pub(crate) fn way_back(&mut self, wire: u32) -> Option<Way> {
        if self.networks.get(wire as usize) == Some(&1) {
            let hop = self.learn_hop(wire, self.back)?;
            return Some(Way { wire, hop });
        }
        Some(Way::from(wire))
    }

    /// The hardware addresses of what leaves by a hop; none while it is not reachable.
    #[inline]
    pub(crate) fn stations(&self, hop: u32) -> Option<Stations> {
        if hop == NONE {
            return Some(Stations::WIRE);
        }
        let hop = self.hops.get(hop as usize)?;
        (hop.state == HopState::Reachable as u8).then_some(Stations {
            dst: hop.dst,
            src: hop.src,
        })
    }

    /// A network is gone, and all stations on it.
    pub(crate) fn forget_hops_over(&mut self, wire: u32) {
        for hop in &mut *self.hops {
            if hop.wire == wire {
                // The place stays taken, so that those behind it are still found.
                hop.state = match hop.state() {
                    HopState::Free => HopState::Free,
                    _ => HopState::Failed,
                } as u8;
            }
        }
    }

    /// The station of a connection does not answer.
    fn on_hop_failed(&mut self, index: u32) {
        let now = self.now();
        let socket = &mut self.sockets[index as usize];
        let events = socket.tcb.on_unreachable(
            &mut Env {
                now,
                pool: &mut self.pool,
            },
            sidestep_tcp::Error::HostUnreachable,
        );
        self.on_events(index, events);
    }
}

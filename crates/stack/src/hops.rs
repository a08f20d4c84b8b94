//! The next stations of packets on networks: at which hardware address whoever forwards them is.
//!
//! ```text
//! Hop   a neighbour, by its address    resolved by the kernel, told by the agent      for those who connect
//!       a station, by where it sent    learned from its frames, reachable at once     for those who accept
//! ```
//! A wire between two stacks needs none: both ends know both. A connection whose hop is not resolved yet holds its
//! segments back; a hop that fails ends the connections that wait for it.
//!
//! Anybody can send from any number of addresses, so a hop that no socket and no remembered way uses makes room for
//! another: a learned one at once, a neighbour after some time. Each life of an entry has a number of its own, and
//! who names an earlier one reaches nobody.

use crate::memory::{Core, DOUBTED_MAX, Header, Stack};
use crate::ready::Ready;
use crate::socket::Kind;
use crate::{Address, Error, Result};
use sidestep_shm::{NONE, Nanos};
use sidestep_tcp::{Env, State};
use sidestep_wire::{Mac, tcp};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Stations that a stack talks to at a time.
pub(crate) const HOPS_MAX: usize = 1 << PLACE_BITS;
/// Bits of a hop's name that say where it is; the others count the lives of the entry.
const PLACE_BITS: u32 = 12;
/// Lives after which the count begins anew; one less than fit, so that no name is [`NONE`].
const LIVES: u32 = (1 << (32 - PLACE_BITS)) - 1;
/// Places looked at for one station.
const PROBES_MAX: usize = 32;
/// How long a neighbour keeps its place although nobody uses it.
const IDLE: Nanos = Nanos::from_secs(60);

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

/// A neighbour on a network, as whoever follows the kernel's neighbours knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// A wire of the network, whichever.
    pub wire: u32,
    /// Our hardware address there: that of the interface, which may be a VLAN's, or one beside it.
    pub station: Mac,
    /// VLAN identifier of the tag that frames carry, 0 for no tag.
    pub vlan: u16,
    /// The neighbour's address: the destination's own, or a router's.
    pub neighbour: Address,
}

/// How packets leave: over which wire, and to which station where that is a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// Index of the wire.
    pub wire: u32,
    /// Name of the hop as [`Stack::hop`] gave it, [`NONE`] on a wire between stacks.
    pub hop: u32,
    /// Longest IP packet in bytes that goes this way, as the route says; 0 where it says nothing.
    pub mtu: u32,
}

impl From<u32> for Way {
    /// Over a wire between stacks.
    fn from(wire: u32) -> Self {
        Self {
            wire,
            hop: NONE,
            mtu: 0,
        }
    }
}

/// The two hardware addresses of a frame, and its VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stations {
    pub(crate) dst: Mac,
    pub(crate) src: Mac,
    /// Identifier of its tag, 0 for none.
    pub(crate) vlan: u16,
}

impl Stations {
    /// Of a wire between stacks: both ends know them, nobody asks.
    pub(crate) const WIRE: Self = Self {
        dst: Mac([0x02, 0x53, 0x53, 0, 0, 2]),
        src: Mac([0x02, 0x53, 0x53, 0, 0, 1]),
        vlan: 0,
    };

    /// The other station and the VLAN in one word.
    #[inline]
    pub(crate) const fn other(&self) -> u64 {
        let [a, b, c, d, e, f] = self.dst.0;
        let [g, h] = self.vlan.to_ne_bytes();
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    }
}

/// An entry; zeroed memory is a free one.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Hop {
    /// The neighbour's address; of a station that was learned one that no neighbour has.
    address: Address,
    /// When it was last asked for, or let go by its last user.
    used_at: Nanos,
    /// Sockets and remembered ways that use it.
    users: u32,
    /// Which life of the entry this is.
    life: u32,
    dst: Mac,
    /// Our own station on that network.
    src: Mac,
    vlan: u16,
    /// The network's number.
    group: u8,
    state: u8,
}

/// What a hop is found by.
#[derive(Clone, Copy)]
struct Key {
    address: Address,
    station: Mac,
    vlan: u16,
    group: u8,
}

impl Key {
    /// Of a station that is known by its hardware address only: a multicast address, which no neighbour has.
    const fn learned(group: u8, back: Stations) -> Self {
        let [a, b, c, d, e, f] = back.dst.0;
        Self {
            address: Address([0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f]),
            station: back.src,
            vlan: back.vlan,
            group,
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

    const fn is_learned(&self) -> bool {
        self.address.0[0] == 0xff
    }

    fn is_of(&self, key: &Key) -> bool {
        self.address == key.address
            && self.src == key.station
            && self.vlan == key.vlan
            && self.group == key.group
    }

    /// Whether it is in use, from that station of ours on that network.
    fn is_at(&self, group: u8, station: Mac, vlan: u16) -> bool {
        self.state() != HopState::Free
            && self.group == group
            && self.src == station
            && self.vlan == vlan
    }

    /// Whether another may have the place.
    fn may_go(&self, now: Nanos) -> bool {
        let worthless = self.is_learned() || self.state() == HopState::Failed;
        self.users == 0 && (worthless || now - self.used_at >= IDLE)
    }

    /// Begins a life of the entry.
    fn begin(&mut self, key: &Key, state: HopState, now: Nanos) {
        *self = Self {
            address: key.address,
            used_at: now,
            users: 0,
            life: (self.life + 1) % LIVES,
            dst: Mac::default(),
            src: key.station,
            vlan: key.vlan,
            group: key.group,
            state: state as u8,
        };
    }
}

impl Stack<'_> {
    /// The name and state of the hop to a neighbour on a network, entered as incomplete if it is new: then whoever
    /// follows the kernel's neighbours is to [`set_hop`](Self::set_hop) it. One that no socket uses keeps its place for
    /// a minute.
    pub fn hop(&mut self, to: &NextHop) -> Result<(u32, HopState)> {
        let key = self.key_of(to).ok_or(Error::Unreachable)?;
        let now = self.core.now();
        let place = self.core.hop_place(&key).ok_or(Error::TableFull)?;
        let hop = &mut self.core.hops[place];
        if hop.state() == HopState::Free || !hop.is_of(&key) {
            hop.begin(&key, HopState::Incomplete, now);
        } else if hop.state() == HopState::Failed {
            // Tried anew for each who asks.
            hop.state = HopState::Incomplete as u8;
        }
        hop.used_at = now;
        Ok((name(place, hop.life), hop.state()))
    }

    /// What is known of the hop of a way; reachable where it needs none, free where that hop is no more.
    pub fn hop_state(&self, hop: u32) -> HopState {
        if hop == NONE {
            return HopState::Reachable;
        }
        let place = self.core.place_of(hop);
        place.map_or(HopState::Free, |place| self.core.hops[place].state())
    }

    fn key_of(&self, to: &NextHop) -> Option<Key> {
        let group = self.core.group(to.wire);
        (group != 0).then_some(Key {
            address: to.neighbour,
            station: to.station,
            vlan: to.vlan,
            group,
        })
    }

    /// The neighbours that are neither reachable nor failed.
    pub fn incomplete_hops(&self) -> impl Iterator<Item = NextHop> + '_ {
        let hops = self.core.hops.iter();
        hops.filter(|hop| hop.state() == HopState::Incomplete)
            .filter_map(|hop| self.next_hop(hop))
    }

    /// The neighbours that connections or remembered ways depend on: those in `count` places of the table from `from` on,
    /// and where to go on, until that was all.
    pub fn followed_hops(&self, from: usize, count: usize) -> (Vec<NextHop>, Option<usize>) {
        let hops = self.core.hops.iter().skip(from).take(count);
        let followed = hops.filter(|hop| {
            hop.users != 0 && hop.state() != HopState::Free && !hop.address.is_multicast()
        });
        let found = followed.filter_map(|hop| self.next_hop(hop)).collect();
        let next = from + count;
        (found, (next < self.core.hops.len()).then_some(next))
    }

    /// The neighbours over which connections have not been answered in time since this was last asked: they may be gone,
    /// and the kernel, which sees nothing of what is sent there, is to ask them. None where there are more than were noted.
    pub fn take_doubts(&mut self) -> Option<Vec<NextHop>> {
        let count = core::mem::take(&mut self.core.header.doubts) as usize;
        let doubted = self.core.header.doubted;
        let hops = doubted.get(..count)?.iter();
        let hops = hops.filter_map(|hop| self.core.hops.get(self.core.place_of(*hop)?));
        let known = hops.filter(|hop| !hop.address.is_multicast());
        Some(known.filter_map(|hop| self.next_hop(hop)).collect())
    }

    fn next_hop(&self, hop: &Hop) -> Option<NextHop> {
        Some(NextHop {
            wire: self.core.queue_of(hop.group)?,
            station: hop.src,
            vlan: hop.vlan,
            neighbour: hop.address,
        })
    }

    /// Tells what the kernel found out of a neighbour: its hardware address, or that it does not answer. What waited is
    /// sent, or fails.
    pub fn set_hop(&mut self, to: &NextHop, found: Option<Mac>) {
        let Some(place) = self.key_of(to).and_then(|key| self.core.find_hop(&key)) else {
            return;
        };
        let hop = &mut self.core.hops[place];
        let state = match found {
            // Said again, as the kernel does whenever it has confirmed a neighbour.
            Some(mac) if hop.state() == HopState::Reachable && hop.dst == mac => return,
            Some(mac) => {
                hop.dst = mac;
                HopState::Reachable
            }
            None => HopState::Failed,
        };
        hop.state = state as u8;
        if hop.users == 0 {
            return;
        }
        let hop = name(place, hop.life);
        for index in 0..self.core.header.sockets.fresh() {
            let s = self.core.at(index);
            if s.hop != hop || s.kind() == Kind::Free {
                continue;
            }
            s.template.forget();
            match (s.kind(), state) {
                (Kind::Stream, HopState::Reachable) => {
                    s.tcb.on_reachable();
                    if s.tcb.wants_output() {
                        self.flush_socket(index);
                    }
                }
                (Kind::Stream, HopState::Failed) => self.core.on_hop_failed(index),
                _ => {}
            }
        }
    }

    /// Our hardware address on the network of a wire is another one, in a VLAN (0: without a tag).
    pub fn set_station(&mut self, wire: u32, vlan: u16, (from, to): (Mac, Mac)) {
        let group = self.core.group(wire);
        if group == 0 {
            return;
        }
        for place in 0..self.core.own_stations.len() {
            if vlan == 0
                && self.core.networks[place] == group
                && self.core.own_stations[place] == from
            {
                self.core.own_stations[place] = to;
            }
        }
        for hop in &mut *self.core.hops {
            if hop.is_at(group, from, vlan) {
                hop.src = to;
            }
        }
        for index in 0..self.core.header.sockets.fresh() {
            let hop = self.core.at(index).hop;
            if self.core.is_hop_at(hop, group, to, vlan) {
                self.core.at(index).template.forget();
            }
        }
    }

    /// The hop to a group from our station on the network of a wire, without a VLAN tag: it needs no neighbour.
    pub fn group_hop(&mut self, wire: u32, station: Mac, group: Address) -> Result<u32> {
        let network = self.core.group(wire);
        let stations = Stations {
            dst: Mac::of_group(group),
            src: station,
            vlan: 0,
        };
        let hop = (network != 0).then(|| self.core.learn_hop(network, stations));
        hop.flatten().ok_or(Error::TableFull)
    }

    /// We have no such station any more on the network of a wire, as when a VLAN interface is deleted: connections from
    /// there end, and peers are told.
    pub fn lose_station(&mut self, wire: u32, vlan: u16, station: Mac) {
        let group = self.core.group(wire);
        if group == 0 {
            return;
        }
        for index in 0..self.core.header.sockets.fresh() {
            let s = self.core.at(index);
            let (hop, wire, kind) = (s.hop, s.wire, s.kind());
            if kind == Kind::Stream && self.core.is_hop_at(hop, group, station, vlan) {
                self.core.on_network_lost(index);
                self.flush_wire(wire);
            }
        }
        for hop in &mut *self.core.hops {
            if hop.is_at(group, station, vlan) {
                hop.state = HopState::Free as u8;
            }
        }
    }
}

/// What others know a hop by.
fn name(place: usize, life: u32) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "less than HOPS_MAX")]
    {
        life << PLACE_BITS | place as u32
    }
}

impl Core<'_> {
    /// Where the hop of that name is, while it lives.
    #[inline]
    fn place_of(&self, hop: u32) -> Option<usize> {
        let place = hop as usize % HOPS_MAX;
        let entry = self.hops.get(place)?;
        let lives = entry.life == hop >> PLACE_BITS && entry.state() != HopState::Free;
        lives.then_some(place)
    }

    fn probes(&self, key: &Key) -> impl Iterator<Item = usize> + use<> {
        // Without our station, which may change.
        let mut ours = Address([0; 16]);
        ours.0[0] = key.group;
        let remote = crate::Endpoint::new(key.address, 0);
        let home = self.flow_hash(&crate::Endpoint::new(ours, key.vlan), &remote) as usize;
        (0..PROBES_MAX).map(move |step| (home + step) % HOPS_MAX)
    }

    fn find_hop(&self, key: &Key) -> Option<usize> {
        self.probes(key).find(|place| {
            let hop = &self.hops[*place];
            hop.state() != HopState::Free && hop.is_of(key)
        })
    }

    /// Where the hop of that key is; else the place for it: a free one, or the one of those that nobody uses that was
    /// used longest ago. None where all its places are in use.
    fn hop_place(&self, key: &Key) -> Option<usize> {
        let now = self.now();
        let (mut free, mut oldest) = (None, None);
        for place in self.probes(key) {
            let hop = &self.hops[place];
            if hop.state() == HopState::Free {
                free = free.or(Some(place));
            } else if hop.is_of(key) {
                return Some(place);
            } else if hop.may_go(now) && oldest.is_none_or(|(at, _)| hop.used_at < at) {
                oldest = Some((hop.used_at, place));
            }
        }
        free.or(oldest.map(|(_, place)| place))
    }

    /// The hop back to a station that a frame came from.
    fn learn_hop(&mut self, group: u8, back: Stations) -> Option<u32> {
        let key = Key::learned(group, back);
        let now = self.now();
        let place = self.hop_place(&key)?;
        let hop = &mut self.hops[place];
        if hop.state() == HopState::Free || !hop.is_of(&key) {
            hop.begin(&key, HopState::Reachable, now);
            hop.dst = back.dst;
        }
        hop.used_at = now;
        Some(name(place, hop.life))
    }

    /// The way back to whoever sent the frame in hand, which came over `wire`. None where there is no room for its
    /// station.
    pub(crate) fn way_back(&mut self, wire: u32) -> Option<Way> {
        let way = Way::from(wire);
        match self.group(wire) {
            0 => Some(way),
            group => Some(Way {
                hop: self.learn_hop(group, self.back)?,
                ..way
            }),
        }
    }

    /// Whether a hop leads back to the sender of the frame in hand.
    pub(crate) fn leads_back(&self, hop: u32) -> bool {
        hop != NONE && self.stations(hop) == Some(self.back)
    }

    /// The hardware addresses of what leaves by a hop; none while it is not reachable.
    #[inline]
    pub(crate) fn stations(&self, hop: u32) -> Option<Stations> {
        if hop == NONE {
            return Some(Stations::WIRE);
        }
        let hop = &self.hops[self.place_of(hop)?];
        (hop.state == HopState::Reachable as u8).then_some(Stations {
            dst: hop.dst,
            src: hop.src,
            vlan: hop.vlan,
        })
    }

    /// Whether the hop of that name is from that station of ours on that network.
    fn is_hop_at(&self, hop: u32, group: u8, station: Mac, vlan: u16) -> bool {
        let place = self.place_of(hop);
        place.is_some_and(|place| self.hops[place].is_at(group, station, vlan))
    }

    /// The VLAN of what leaves by a hop.
    pub(crate) fn vlan(&self, hop: u32) -> u16 {
        self.place_of(hop).map_or(0, |place| self.hops[place].vlan)
    }

    /// Whether the hop that a way names still is that one.
    pub(crate) fn is_current(&self, way: &Way) -> bool {
        way.hop == NONE || self.place_of(way.hop).is_some()
    }

    /// One more uses a hop.
    pub(crate) fn hold_hop(&mut self, hop: u32) {
        if let Some(place) = self.place_of(hop) {
            self.hops[place].users += 1;
        }
    }

    /// One who used a hop does no more.
    pub(crate) fn release_hop(&mut self, hop: u32) {
        if let Some(place) = self.place_of(hop) {
            let now = self.now();
            let hop = &mut self.hops[place];
            hop.users = hop.users.saturating_sub(1);
            hop.used_at = now;
        }
    }

    /// A socket goes that way from now on.
    pub(crate) fn set_way(&mut self, index: u32, way: Way) {
        self.hold_hop(way.hop);
        let s = self.at(index);
        let before = core::mem::replace(&mut s.hop, way.hop);
        (s.wire, s.mtu) = (way.wire, way.mtu);
        s.template.forget();
        self.release_hop(before);
    }

    /// A segment for a connection on a network came from another station than the last one. If it can be the peer's, the
    /// station has changed; an accepted connection, which nobody but its frames tells of that, follows it.
    #[cold]
    pub(crate) fn on_other_station(&mut self, index: u32, segment: &tcp::Repr, payload_len: usize) {
        let now = self.now();
        let s = &mut self.sockets[index as usize];
        let end = segment.seq + u32::try_from(payload_len).unwrap_or(0);
        if !s.tcb.may_be_peers(segment, end, now) {
            return;
        }
        s.heard = self.back.other();
        let (wire, mtu, hop) = (s.wire, s.mtu, s.hop);
        let learned = self
            .place_of(hop)
            .is_some_and(|place| self.hops[place].is_learned());
        if learned && let Some(way) = self.way_back(wire) {
            self.set_way(index, Way { mtu, ..way });
        }
    }

    /// A network is gone, and all stations on it.
    pub(crate) fn forget_hops_of(&mut self, group: u8) {
        for hop in &mut *self.hops {
            if hop.group == group {
                hop.state = HopState::Free as u8;
            }
        }
    }

    /// What was sent over a hop was not answered in time.
    pub(crate) fn doubt_hop(&mut self, hop: u32) {
        let Header {
            doubted, doubts, ..
        } = &mut *self.header;
        let count = *doubts as usize;
        if hop == NONE || doubted.iter().take(count).any(|known| *known == hop) {
            return;
        }
        match doubted.get_mut(count) {
            Some(place) => {
                *place = hop;
                *doubts += 1;
            }
            None => *doubts = DOUBTED_MAX + 1,
        }
    }

    /// The station of a connection does not answer.
    fn on_hop_failed(&mut self, index: u32) {
        let now = self.now();
        let socket = &self.sockets[index as usize];
        let is_v4 = socket.remote.addr.is_v4();
        let is_opening = matches!(socket.tcb.state(), State::SynSent | State::SynReceived);
        // The kernel asks for neighbours, and fails to find them, only where there is something to send.
        if !is_opening && !socket.tcb.is_waiting() {
            return;
        }
        if !is_opening && self.hears_errors(index, is_v4) {
            self.at(index).error = Error::Unreachable as u32 + 1;
            self.notify(index, Ready::ERR);
        }
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

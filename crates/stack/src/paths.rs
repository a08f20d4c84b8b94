//! What paths through networks carry, where that is less than the first link does: learned from ICMP (RFC 1191,
//! RFC 8201), believed for ten minutes as in Linux (`mtu_expires`), and then tried anew.

use crate::hops::Way;
use crate::memory::{Core, Stack};
use crate::networks::{mss, shorter};
use crate::socket::Kind;
use crate::{Address, Endpoint};
use sidestep_shm::{NONE, Nanos};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Paths that are remembered. One that has the place of another is remembered in its stead.
pub(crate) const PATHS: usize = 256;
/// How long what ICMP said is believed.
const BELIEVED: Nanos = Nanos::from_secs(600);
/// The least packets in bytes that a path is believed to carry: `min_pmtu` of Linux, and RFC 8200 section 5.
const LEAST_V4: u32 = 552;
const LEAST_V6: u32 = 1280;
/// What `lo` carries of packets of either family.
const LOOPBACK_V4: u32 = 65_535;
const LOOPBACK_V6: u32 = 65_536;
/// Lengths of packets that links are made for (RFC 1191 section 7.1), for routers that do not say what theirs carries.
const PLATEAUS: [u32; 8] = [32_000, 17_914, 8_166, 4_352, 2_002, 1_492, 1_006, 552];

/// An entry; zeroed memory is a free one.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct PathLimit {
    remote: Address,
    until: Nanos,
    /// Longest packet in bytes, 0 for none known.
    mtu: u32,
    _reserved: u32,
}

/// The longest packet for a path by what a router said of one of `packet_len` bytes; none where that makes no sense.
pub(crate) fn believable(remote: &Address, said: u32, packet_len: usize) -> Option<u32> {
    let packet_len = u32::try_from(packet_len).unwrap_or(u32::MAX);
    let is_v4 = remote.is_v4();
    let mtu = match said {
        0 if is_v4 => PLATEAUS.into_iter().find(|mtu| *mtu < packet_len)?,
        said => said,
    };
    let mtu = mtu.max(if is_v4 { LEAST_V4 } else { LEAST_V6 });
    // A packet that a path carries is none that it refuses (RFC 8201 section 4).
    (mtu < packet_len).then_some(mtu)
}

impl Core<'_> {
    /// What is known of the path to `remote`; 0 for nothing.
    #[inline]
    pub(crate) fn path_mtu(&self, remote: &Address) -> u32 {
        if self.header.paths_until == Nanos::ZERO {
            return 0;
        }
        let path = &self.paths[self.path_place(remote)];
        let known = path.remote == *remote && path.until > self.now();
        if known { path.mtu } else { 0 }
    }

    /// Longest packet in bytes that a socket can send to `remote` by a hop over a wire, `mtu` as its route says.
    pub(crate) fn longest_packet(
        &self,
        (wire, hop, mtu): (u32, u32, u32),
        remote: &Address,
    ) -> usize {
        let link = shorter(self.packet_bytes_max(wire, self.vlan(hop)), mtu);
        if hop == NONE {
            return link;
        }
        shorter(link, self.path_mtu(remote))
    }

    /// The path to `remote` carries no longer packets than that.
    pub(crate) fn limit_path(&mut self, remote: Address, mtu: u32) {
        let until = self.now() + BELIEVED;
        let place = self.path_place(&remote);
        self.paths[place] = PathLimit {
            remote,
            until,
            mtu,
            _reserved: 0,
        };
        let first = self.header.paths_until;
        if first == Nanos::ZERO || until < first {
            self.header.paths_until = until;
        }
        self.counters.path_limits += 1;
    }

    fn path_place(&self, remote: &Address) -> usize {
        let nobody = Endpoint::new(Address::UNSPECIFIED_V6, 0);
        self.flow_hash(&nobody, &Endpoint::new(*remote, 0)) as usize % PATHS
    }

    /// The payload of segments on the path of a connection, where it is known to carry less than the link; else 0. The link
    /// may carry less now than when the connection began.
    pub(crate) fn path_mss(&self, index: u32) -> u16 {
        let s = &self.sockets[index as usize];
        if s.hop == NONE {
            return 0;
        }
        let remote = &s.remote.addr;
        let link = shorter(self.packet_bytes_max(s.wire, self.vlan(s.hop)), s.mtu);
        match (mss(remote, link), self.path_mtu(remote)) {
            (link, 0) if link >= s.tcb.offered_mss() => 0,
            (link, 0) => link,
            (link, mtu) => link.min(mss(remote, mtu as usize)),
        }
    }
}

impl Stack<'_> {
    /// The longest packet in bytes that is known to get to a host, where its first link carries longer ones.
    pub fn path_limit(&self, way: &Way, remote: &Address) -> Option<u32> {
        let link = self
            .core
            .packet_bytes_max(way.wire, self.core.vlan(way.hop));
        let path = self
            .core
            .longest_packet((way.wire, way.hop, way.mtu), remote);
        let limit = (way.hop != NONE && path < link).then_some(path)?;
        u32::try_from(limit).ok()
    }

    /// Longest IP packet in bytes that a connected socket can send: IP_MTU. Over a wire between stacks what the kernel
    /// says of its own: there whatever is longer than a frame goes another way, or in pieces.
    pub fn path_mtu(&mut self, r: crate::SocketRef) -> crate::Result<u32> {
        let s = self.core.socket(r)?;
        let (way, remote) = ((s.wire, s.hop, s.mtu), s.remote.addr);
        if s.hop == NONE {
            return Ok(if remote.is_v4() {
                LOOPBACK_V4
            } else {
                LOOPBACK_V6
            });
        }
        let packet = self.core.longest_packet(way, &remote);
        Ok(u32::try_from(packet).unwrap_or(u32::MAX))
    }

    /// Tries paths anew on which nothing was heard for long.
    #[cold]
    pub(crate) fn forget_old_paths(&mut self) {
        let now = self.core.now();
        let mut first = Nanos::ZERO;
        for path in &mut *self.core.paths {
            if path.mtu != 0 && path.until <= now {
                path.mtu = 0;
            }
            if path.mtu != 0 && (first == Nanos::ZERO || path.until < first) {
                first = path.until;
            }
        }
        self.core.header.paths_until = first;
        for index in 0..self.core.header.sockets.fresh() {
            let s = self.core.at(index);
            if s.kind() != Kind::Stream || s.hop == NONE || s.tcb.path_mss() == 0 {
                continue;
            }
            let limit = self.core.path_mss(index);
            self.core.at(index).tcb.set_path_mss(limit);
        }
    }
}

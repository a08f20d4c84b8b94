//! The flow table: from the endpoints of a segment to its connection.
//!
//! ```text
//! flows   ·  h₁|i+1  h₂|j+1  ·  h₃|k+1  ·  ·        a word each: hash and index + 1; 0 is empty
//!             └ home, or the next free places behind it (linear probing)
//! ```
//! A word tells by its hash whether it is worth a look at the socket, so finding a connection touches one line of the
//! table and one of the socket, whatever the number of connections. At most half of the table is in use.

use crate::memory::Core;
use crate::socket::SocketFlags;
use crate::{Address, Endpoint, Error, Result};
use sidestep_shm::{Steps, prefetch};
use sidestep_wire::plain::V4Ends;
use zerocopy::FromZeros;

/// Places of the table in a cache line.
const PLACES_IN_A_LINE: usize = 8;

/// Words for so many sockets.
pub(crate) const fn words(sockets_max: usize) -> usize {
    (sockets_max * 2).next_power_of_two()
}

impl Core<'_> {
    /// As [`find_flow`](Self::find_flow), looking first at the connection found last.
    #[inline]
    pub(crate) fn find_recent_flow(&mut self, local: &Endpoint, remote: &Endpoint) -> Option<u32> {
        let last = self.header.last_flow.wrapping_sub(1);
        if let Some(s) = self.sockets.get(last as usize)
            && s.has(SocketFlags::IN_FLOWS)
            && s.local == *local
            && s.remote == *remote
        {
            return Some(last);
        }
        let found = self.find_flow(local, remote)?;
        self.header.last_flow = found + 1;
        Some(found)
    }

    /// As [`find_flow`](Self::find_flow), by what a frame has.
    pub(crate) fn find_v4(&self, ends: &V4Ends) -> Option<u32> {
        let guess = self.guess_v4(ends)?;
        if self.has_v4(guess, ends) {
            return Some(guess);
        }
        let (local, remote) = ends.endpoints();
        self.find_flow(&local, &remote)
    }

    /// The first connection that may be of these ends, if any is.
    #[inline]
    pub(crate) fn guess_v4(&self, ends: &V4Ends) -> Option<u32> {
        index_of(self.flows[self.home(self.v4_hash(ends))])
    }

    /// Whether a connection has these ends.
    #[inline]
    pub(crate) fn has_v4(&self, index: u32, ends: &V4Ends) -> bool {
        let socket = self.sockets.get(index as usize);
        socket.is_some_and(|socket| socket.v4 == *ends)
    }

    /// The connection of these endpoints.
    #[inline]
    pub(crate) fn find_flow(&self, local: &Endpoint, remote: &Endpoint) -> Option<u32> {
        let hash = self.flow_hash(local, remote);
        let mut at = self.home(hash);
        for _ in 0..self.flows.len() {
            let word = self.flows[at];
            let index = index_of(word)?;
            if hash_of(word) == hash
                && let Some(socket) = self.sockets.get(index as usize)
                && socket.local == *local
                && socket.remote == *remote
            {
                return Some(index);
            }
            at = self.after(at);
        }
        None
    }

    /// Asks for the line of the table where a connection will be looked up, and returns its hash.
    #[inline]
    pub(crate) fn prefetch_flow(&self, ends: &V4Ends) -> u32 {
        let hash = self.v4_hash(ends);
        prefetch(&self.flows[self.home(hash)]);
        hash
    }

    /// The connection that has this hash, and asks for the lines of it that a segment reads, once
    /// [`prefetch_flow`](Self::prefetch_flow) has brought the table's. It may be another of the same hash.
    #[inline]
    pub(crate) fn prefetch_socket(&self, hash: u32) -> Option<u32> {
        let mut at = self.home(hash);
        let mut word = self.flows[at];
        for _ in 0..PLACES_IN_A_LINE {
            if word == 0 || hash_of(word) == hash {
                break;
            }
            at = self.after(at);
            word = self.flows[at];
        }
        let index = index_of(word)?;
        if let Some(socket) = self.sockets.get(index as usize) {
            prefetch(socket);
            prefetch(&socket.v4);
            prefetch(&socket.tcb);
        }
        Some(index)
    }

    /// Puts a connection into the flow table. Fails when there is one of the same endpoints.
    pub(crate) fn insert_flow(&mut self, index: u32) -> Result<()> {
        let (local, remote) = (self.at(index).local, self.at(index).remote);
        if self.find_flow(&local, &remote).is_some() {
            return Err(Error::AddressInUse);
        }
        let hash = self.flow_hash(&local, &remote);
        let mut at = self.home(hash);
        for _ in 0..self.flows.len() {
            if self.flows[at] == 0 {
                self.flows[at] = u64::from(hash) << 32 | u64::from(index + 1);
                let s = self.at(index);
                s.set(SocketFlags::IN_FLOWS, true);
                s.v4 = V4Ends::of(&local, &remote).unwrap_or(V4Ends::new_zeroed());
                return Ok(());
            }
            at = self.after(at);
        }
        Err(Error::TableFull)
    }

    /// Takes a connection out, and moves those behind it that it kept from their homes.
    pub(crate) fn remove_flow(&mut self, index: u32) {
        if !self.at(index).has(SocketFlags::IN_FLOWS) {
            return;
        }
        let s = self.at(index);
        s.set(SocketFlags::IN_FLOWS, false);
        s.v4 = V4Ends::new_zeroed();
        let (local, remote) = (self.at(index).local, self.at(index).remote);
        let mut gap = self.home(self.flow_hash(&local, &remote));
        for _ in 0..self.flows.len() {
            match index_of(self.flows[gap]) {
                None => return,
                Some(found) if found == index => break,
                Some(_) => gap = self.after(gap),
            }
        }
        let mut at = self.after(gap);
        let mut steps = Steps::new(self.flows.len());
        while self.flows[at] != 0 && at != gap {
            steps.step();
            let home = self.home(hash_of(self.flows[at]));
            let mask = self.flows.len() - 1;
            // Whether the home lies at or before the gap, counting back from here.
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.flows[gap] = self.flows[at];
                gap = at;
            }
            at = self.after(at);
        }
        self.flows[gap] = 0;
    }

    #[inline]
    const fn home(&self, hash: u32) -> usize {
        hash as usize & (self.flows.len() - 1)
    }

    #[inline]
    const fn after(&self, at: usize) -> usize {
        (at + 1) & (self.flows.len() - 1)
    }

    /// Keyed by the stack's secret, so that a peer cannot choose ports that collide.
    #[inline]
    pub(crate) fn flow_hash(&self, local: &Endpoint, remote: &Endpoint) -> u32 {
        match V4Ends::of(local, remote) {
            Some(ends) => self.v4_hash(&ends),
            None => self.any_hash(local, remote),
        }
    }

    #[inline]
    fn v4_hash(&self, ends: &V4Ends) -> u32 {
        let [addresses, ports] = ends.words();
        let secret = self.header.secret;
        let h = mix(
            addresses ^ secret,
            ports ^ secret.rotate_left(32) ^ 0xd6e8_feb8_6659_fd93,
        );
        #[expect(clippy::cast_possible_truncation, reason = "folded")]
        {
            (h ^ (h >> 32)) as u32
        }
    }

    fn any_hash(&self, local: &Endpoint, remote: &Endpoint) -> u32 {
        let (a, b) = halves(&local.addr);
        let (c, d) = halves(&remote.addr);
        let ports = u64::from(local.port) << 16 | u64::from(remote.port);
        let secret = self.header.secret;
        let h = mix(a ^ c.rotate_left(17) ^ secret, b ^ 0x9e37_79b9_7f4a_7c15);
        let h = mix(
            h ^ d,
            ports ^ secret.rotate_left(32) ^ 0xd6e8_feb8_6659_fd93,
        );
        #[expect(clippy::cast_possible_truncation, reason = "folded")]
        {
            (h ^ (h >> 32)) as u32
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
#[inline]
const fn index_of(word: u64) -> Option<u32> {
    (word as u32).checked_sub(1)
}

#[inline]
const fn hash_of(word: u64) -> u32 {
    (word >> 32) as u32
}

fn halves(address: &Address) -> (u64, u64) {
    let value = u128::from_ne_bytes(address.0);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    {
        (value as u64, (value >> 64) as u64)
    }
}

/// The folded 128-bit product: the mixing step of wyhash.
#[expect(
    clippy::cast_possible_truncation,
    reason = "both halves of the product are used"
)]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests;

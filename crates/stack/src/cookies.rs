//! Listeners whose queue is full answer with cookies instead of keeping connections that may never come to anything
//! (RFC 4987), unless `net.ipv4.tcp_syncookies` is 0. Only over networks: nobody invents addresses on a wire, and a SYN
//! that is dropped there costs nothing but its repetition.

use crate::Endpoint;
use crate::memory::Core;
use sidestep_shm::{Foreign, Nanos};
use sidestep_tcp::{Env, cookies, ecn_field};
use sidestep_wire::Seq;
use sidestep_wire::tcp::Repr;
use std::hash::{DefaultHasher, Hasher};

impl Core<'_> {
    /// Whether the listener may answer with a cookie: it accepts, but has too many handshakes under way.
    pub(crate) fn may_send_cookie(&self, listener: u32, wire: u32) -> bool {
        let s = &self.sockets[listener as usize];
        let is_network = self.networks.get(wire as usize).is_some_and(|n| *n != 0);
        self.header.syn_cookies != 0 && is_network && s.ready_children <= s.backlog
    }

    /// Answers a SYN and forgets it.
    pub(crate) fn send_cookie(
        &mut self,
        listener: u32,
        wire: u32,
        (local, remote): (Endpoint, Endpoint),
        syn: &Repr,
    ) {
        let now = self.now();
        let (_, ts_offset) = self.secrets(&local, &remote);
        let packet = self.packet_bytes_max(wire, self.back.vlan);
        let settings = self.offers_of(listener, &remote, packet);
        let mac = |head| self.cookie_mac(&local, &remote, syn.seq, head);
        let answer = cookies::answer(&settings, syn, now, ts_offset, mac);
        self.header.cookie_sent_at = now;
        self.counters.tcp_cookies_sent += 1;
        self.reply_tcp(&local, &remote, &answer);
    }

    /// A segment for a listener that may acknowledge a cookie: then its connection begins. True if so.
    pub(crate) fn on_cookie(
        &mut self,
        listener: u32,
        wire: u32,
        (local, remote): (Endpoint, Endpoint),
        segment: &Repr,
        payload: Foreign<'_>,
    ) -> bool {
        let now = self.now();
        let sent_at = self.header.cookie_sent_at;
        if sent_at == Nanos::ZERO || now - sent_at > cookies::LIFETIME {
            return false;
        }
        let mac = |head| self.cookie_mac(&local, &remote, segment.seq - 1, head);
        let Some(syn) = cookies::redeem(segment, now, mac) else {
            return false;
        };
        if !self.may_send_cookie(listener, wire) {
            // Genuine, but there is no room yet: the peer will say more.
            return true;
        }
        let Some(index) = self.new_child(listener, wire, (local, remote)) else {
            return true;
        };
        let (_, ts_offset) = self.secrets(&local, &remote);
        let settings = self.settings(index);
        let env = &mut Env {
            now,
            pool: &mut self.pool,
        };
        let tcb = &mut self.sockets[index as usize].tcb;
        tcb.accept_by_cookie(env, &settings, (&syn, segment.ack - 1), ts_offset);
        self.link_child(listener, index, false);
        self.counters.tcp_cookies_redeemed += 1;
        self.on_segment(index, segment, payload, ecn_field::NOT_ECT);
        true
    }

    /// A code that only this stack can make.
    #[expect(clippy::cast_possible_truncation, reason = "24 bits are used")]
    fn cookie_mac(&self, local: &Endpoint, remote: &Endpoint, peer: Seq, head: u32) -> u32 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.header.secret);
        hasher.write_u32(head);
        hasher.write_u32(peer.0);
        hasher.write(&local.addr.0);
        hasher.write(&remote.addr.0);
        hasher.write_u32(u32::from(local.port) << 16 | u32::from(remote.port));
        hasher.finish() as u32
    }
}

//! Listening sockets: their children, from the SYN to accept(2).
//!
//! A child is on one of two lists of its listener: embryos, whose handshake goes on, and those ready to be accepted.

use crate::fast_open::Opening;
use crate::memory::{Core, Stack};
use crate::socket::{Asked, Kind, SocketFlags, SocketRef};
use crate::{Endpoint, Error, Result};
use sidestep_shm::{Foreign, NONE};
use sidestep_tcp::{Env, Events, State};
use sidestep_wire::{Seq, tcp::Repr};

/// What connections have from their listening socket.
const INHERITED: SocketFlags = SocketFlags::INET6
    .union(SocketFlags::REUSEADDR)
    .union(SocketFlags::DEVICE)
    .union(SocketFlags::ZEROCOPY)
    .union(SocketFlags::INQ);

/// A connection taken from a listener's queue.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// The index of the interface that it is bound to, as its listener; 0 for none.
    pub device: u32,
    /// Whether the keys that the listener makes cookies with should be looked at again (RFC 7413).
    pub needs_keys: bool,
    /// The connection.
    pub socket: SocketRef,
    /// Our end.
    pub local: Endpoint,
    /// The peer's.
    pub remote: Endpoint,
}

impl Stack<'_> {
    /// Makes a bound socket listen, or changes its backlog.
    pub fn listen(&mut self, r: SocketRef, backlog: u32) -> Result<()> {
        let s = self.core.socket(r)?;
        match s.kind() {
            Kind::Stream
                if s.tcb.state() == State::Closed && !s.has(SocketFlags::WAS_CONNECTED) =>
            {
                s.kind = Kind::Listener as u8;
                s.backlog = backlog.max(1);
                self.core.insert_port(r.index);
                Ok(())
            }
            Kind::Listener => {
                s.backlog = backlog.max(1);
                Ok(())
            }
            _ => Err(Error::IsConnected),
        }
    }

    /// Whether a connection waits to be accepted.
    #[inline]
    pub fn acceptable(&mut self, r: SocketRef) -> Result<bool> {
        Ok(self.core.socket(r)?.ready_children > 0)
    }

    /// Takes the oldest complete connection; `slot` holds it.
    pub fn accept(&mut self, r: SocketRef, slot: u32) -> Result<Accepted> {
        let core = &mut self.core;
        let listener = core.socket(r)?;
        if listener.kind() != Kind::Listener {
            return Err(Error::WrongKind);
        }
        let (child, gives_cookies) = (listener.ready_head, listener.tcb.fast_open() != 0);
        if child == NONE {
            return Err(Error::WouldBlock);
        }
        core.unlink_child(child);
        core.counters.tcp_accepts += 1;
        core.hold(child, slot);
        let s = core.at(child);
        s.tcb.note_accepted();
        let (local, remote, device) = (s.local, s.remote, s.device);
        Ok(Accepted {
            needs_keys: gives_cookies && core.are_keys_old(),
            device,
            socket: core.reference(child),
            local,
            remote,
        })
    }

    /// Takes [`listen`](Self::listen) back: connections that nobody accepted are reset.
    pub fn unlisten(&mut self, r: SocketRef) -> Result<()> {
        let core = &mut self.core;
        if core.socket(r)?.kind() != Kind::Listener {
            return Err(Error::WrongKind);
        }
        let wires = core.abort_children(r.index);
        core.remove_port(r.index);
        core.at(r.index).kind = Kind::Stream as u8;
        for wire in wires {
            self.flush_wire(wire);
        }
        Ok(())
    }
}

impl Core<'_> {
    /// A SYN for a listener: a new child, which is returned, unless its queue is full.
    pub(crate) fn on_syn(
        &mut self,
        listener: u32,
        wire: u32,
        ends: (Endpoint, Endpoint),
        (syn, payload): (&Repr, Foreign<'_>),
        iss_min: Option<Seq>,
    ) -> Option<u32> {
        let now = self.now();
        let parent = &self.sockets[listener as usize];
        if parent.children > parent.backlog {
            if self.may_send_cookie(listener, wire) {
                self.send_cookie(listener, wire, ends, syn);
            } else {
                self.counters.tcp_backlog_full += 1;
            }
            return None;
        }
        let opening = self.fast_opening(listener, &ends, syn, payload);
        let index = self.new_child(listener, wire, ends)?;
        let (iss, ts_offset) = self.secrets(&ends.0, &ends.1);
        let iss = iss_min.map_or(iss, |least| iss.max(least));
        let settings = self.settings(index);
        let s = &mut self.sockets[index as usize];
        let env = &mut Env {
            now,
            pool: &mut self.pool,
        };
        let mut events = Events::empty();
        match opening {
            Opening::Take(cookie) => {
                events = s
                    .tcb
                    .accept_fast(env, &settings, (syn, iss), ts_offset, payload);
                if let Some(cookie) = cookie {
                    s.tcb.give_cookie(&cookie);
                }
                self.counters.tcp_fast_opens += 1;
            }
            Opening::Give(cookie) => {
                s.tcb.accept(env, &settings, syn, iss, ts_offset);
                s.tcb.give_cookie(&cookie);
            }
            Opening::Usual => s.tcb.accept(env, &settings, syn, iss, ts_offset),
        }
        let due = s.tcb.next_timeout();
        let taken = s.tcb.is_half_open();
        self.schedule(index, due);
        self.link_child(listener, index, false);
        if taken {
            self.begin_fast_pending(listener, index);
        }
        self.queue_output(index);
        self.on_events(index, events);
        Some(index)
    }

    /// A socket for a connection that a listener accepts, in the flow table, on no list yet. None where a table is full.
    pub(crate) fn new_child(
        &mut self,
        listener: u32,
        wire: u32,
        (local, remote): (Endpoint, Endpoint),
    ) -> Option<u32> {
        let way = self.way_back(wire)?;
        let index = self.alloc_socket(Kind::Stream).ok()?;
        self.inherit_options(listener, index);
        self.set_way(index, way);
        let heard = self.back.other();
        let s = self.at(index);
        (s.local, s.remote, s.heard) = (local, remote, heard);
        s.set(SocketFlags::BOUND, true);
        if self.insert_flow(index).is_err() {
            self.free_socket(index);
            return None;
        }
        Some(index)
    }

    fn inherit_options(&mut self, listener: u32, child: u32) {
        let from = &self.sockets[listener as usize];
        let (flags, rcv, snd) = (
            from.flags & INHERITED.bits(),
            from.rcv_buf_bytes,
            from.snd_buf_bytes,
        );
        let (linger, tos, hop_limit, options) = (from.linger, from.tos, from.hop_limit, from.tcb);
        let (rcv_timeout, snd_timeout, rcv_low) =
            (from.rcv_timeout, from.snd_timeout, from.rcv_low);
        let (device, asked, extra) = (from.device, from.asked, from.extra);
        let now = self.now();
        let s = self.at(child);
        s.flags |= flags;
        s.device = device;
        s.asked = asked & Asked::INHERITED.bits();
        (s.rcv_buf_bytes, s.snd_buf_bytes, s.rcv_low) = (rcv, snd, rcv_low);
        (s.linger, s.tos, s.hop_limit) = (linger, tos, hop_limit);
        (s.rcv_timeout, s.snd_timeout) = (rcv_timeout, snd_timeout);
        s.tcb.inherit(&options, now);
        if extra != 0 {
            self.inherit_stamping(listener, child);
        }
    }

    /// Puts a child on one of its listener's lists.
    pub(crate) fn link_child(&mut self, listener: u32, child: u32, ready: bool) {
        let parent = &self.sockets[listener as usize];
        let (prev, next) = if ready {
            (parent.ready_tail, NONE)
        } else {
            (NONE, parent.embryo_head)
        };
        let s = self.at(child);
        s.set(SocketFlags::CHILD, true);
        s.set(SocketFlags::ACCEPTABLE, ready);
        (s.parent, s.prev, s.next) = (listener, prev, next);
        if prev != NONE {
            self.at(prev).next = child;
        }
        if next != NONE {
            self.at(next).prev = child;
        }
        let parent = self.at(listener);
        parent.children += 1;
        if ready {
            parent.ready_children += 1;
            parent.ready_tail = child;
            if prev == NONE {
                parent.ready_head = child;
            }
        } else {
            parent.embryo_head = child;
        }
    }

    pub(crate) fn unlink_child(&mut self, child: u32) {
        let s = self.at(child);
        let (parent, prev, next, ready) =
            (s.parent, s.prev, s.next, s.has(SocketFlags::ACCEPTABLE));
        s.set(SocketFlags::CHILD | SocketFlags::ACCEPTABLE, false);
        (s.prev, s.next) = (NONE, NONE);
        if !s.has(SocketFlags::FAST_PENDING) {
            s.parent = NONE;
        }
        if prev != NONE {
            self.at(prev).next = next;
        }
        if next != NONE {
            self.at(next).prev = prev;
        }
        let parent = self.at(parent);
        parent.children -= 1;
        if ready {
            parent.ready_children -= 1;
            if prev == NONE {
                parent.ready_head = next;
            }
            if next == NONE {
                parent.ready_tail = prev;
            }
        } else if prev == NONE {
            parent.embryo_head = next;
        }
    }

    /// A child that ends before it was accepted.
    pub(crate) fn orphan_child(&mut self, child: u32) {
        self.unlink_child(child);
    }

    /// Resets all connections that a listener has not handed out; returns the wires to flush.
    pub(crate) fn abort_children(&mut self, listener: u32) -> Vec<u32> {
        let now = self.now();
        let mut wires = Vec::new();
        let mut steps = self.socket_steps();
        loop {
            let parent = self.at(listener);
            let child = if parent.ready_head == NONE {
                parent.embryo_head
            } else {
                parent.ready_head
            };
            if child == NONE {
                return wires;
            }
            steps.step();
            self.unlink_child(child);
            let s = &mut self.sockets[child as usize];
            if !wires.contains(&s.wire) {
                wires.push(s.wire);
            }
            let events = s.tcb.abort(&mut Env {
                now,
                pool: &mut self.pool,
            });
            let generation = s.generation;
            self.on_events(child, events);
            if self.at(child).generation == generation {
                self.free_if_done(child);
            }
        }
    }
}

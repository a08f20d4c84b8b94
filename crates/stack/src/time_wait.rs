//! Connections in TIME-WAIT that nobody holds: a queue, oldest first, to recycle from when the table is full.

use crate::memory::Core;
use crate::socket::SocketFlags;
use sidestep_shm::NONE;
use sidestep_tcp::{Reuse, State};
use sidestep_wire::{Seq, tcp::Repr};

impl Core<'_> {
    /// Whether a connection is over but for TIME-WAIT, nobody holds it, and nothing of it can be under way on a network.
    pub(crate) fn is_replaceable(&self, index: u32) -> bool {
        let s = &self.sockets[index as usize];
        s.tcb.state() == State::TimeWait && s.holders == 0 && s.hop == NONE
    }

    pub(crate) fn enter_time_wait(&mut self, index: u32) {
        if self.at(index).has(SocketFlags::TIME_WAIT) {
            return;
        }
        let tail = core::mem::replace(&mut self.header.time_wait_tail, index);
        let s = self.at(index);
        s.set(SocketFlags::TIME_WAIT, true);
        (s.prev, s.next) = (tail, NONE);
        if tail == NONE {
            self.header.time_wait_head = index;
        } else {
            self.at(tail).next = index;
        }
    }

    pub(crate) fn leave_time_wait(&mut self, index: u32) {
        let s = self.at(index);
        s.set(SocketFlags::TIME_WAIT, false);
        let (prev, next) = (s.prev, s.next);
        if prev == NONE {
            self.header.time_wait_head = next;
        } else {
            self.at(prev).next = next;
        }
        if next == NONE {
            self.header.time_wait_tail = prev;
        } else {
            self.at(next).prev = prev;
        }
    }

    /// A SYN may reopen a connection that is in TIME-WAIT (RFC 6191): then the old one goes, and a listener sees it.
    pub(crate) fn recycle_time_wait(&mut self, index: u32, segment: &Repr) -> Option<Seq> {
        let s = self.at(index);
        if s.tcb.state() != State::TimeWait || s.holders != 0 {
            return None;
        }
        let Reuse::Allow { iss_min } = s.tcb.time_wait_reuse(segment) else {
            return None;
        };
        self.free_socket(index);
        Some(iss_min)
    }
}

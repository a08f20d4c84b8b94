//! EPOLLONESHOT of sockets that the kernel serves, too: what either side has reported, the other must not report again.

use super::{DISABLED, Ready, SetRef};
use crate::memory::Stack;
use crate::socket::Kind;
use sidestep_shm::NONE;

impl Stack<'_> {
    /// The kernel reports the member that the program knows by `data`. Whether it is to be told: not where it is to be told
    /// once, and was by our side. Else our side is silent from now on, too.
    pub fn set_spend(&mut self, set: SetRef, data: u64) -> bool {
        let core = &mut self.core;
        let mut at = core.set(set).map_or(NONE, |s| s.members);
        while at != NONE {
            let w = &mut core.watches[at as usize];
            let once = Ready::from_bits_retain(w.events).contains(Ready::ONESHOT);
            if w.data == data && once && core.sockets[w.socket as usize].kind() != Kind::Stream {
                let first = w.state & DISABLED == 0;
                w.state |= DISABLED;
                return first;
            }
            at = w.member_next;
        }
        true
    }
}

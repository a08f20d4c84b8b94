//! Urgent data of TCP sockets: sent and received by themselves, and who is told by a signal.

use crate::memory::{Core, Stack};
use crate::socket::{SocketFlags, SocketRef};
use crate::tcp::Manner;
use crate::{Error, Result};
use sidestep_shm::{Foreign, Nanos};
use sidestep_tcp::{OutOfBand, State};

/// The bit of [`Stack::take_wakes`] that says that there are owners to signal.
const SIGNALS: u64 = 1 << 63;
/// Owners remembered until the lock is given back; more are not told.
const OWNERS_MAX: usize = 64;

impl Stack<'_> {
    /// As [`send`](Self::send) with MSG_OOB.
    pub fn send_urgent(
        &mut self,
        now: Nanos,
        r: SocketRef,
        parts: &[Foreign<'_>],
    ) -> Result<usize> {
        let manner = Manner {
            urgent: true,
            ..Manner::default()
        };
        self.send_parts(now, r, parts, manner)
    }

    /// recv(2) with MSG_OOB: the urgent byte; none at the end of the stream.
    ///
    /// # Errors
    /// `WrongKind` where there is nothing out of band to read, `WouldBlock` where it has not come.
    pub fn recv_urgent(&mut self, r: SocketRef, peek: bool) -> Result<Option<u8>> {
        let s = self.core.socket(r)?;
        match s.tcb.recv_urgent(peek) {
            OutOfBand::Byte(byte) => Ok(Some(byte)),
            OutOfBand::Nothing => Err(Error::WrongKind),
            OutOfBand::Coming => {
                let ended = s.tcb.state() == State::Closed || s.has(SocketFlags::SHUT_READ);
                if ended {
                    Ok(None)
                } else {
                    Err(Error::WouldBlock)
                }
            }
        }
    }

    /// SIOCATMARK.
    pub fn at_mark(&mut self, r: SocketRef) -> Result<bool> {
        self.core.socket(r).map(|s| s.tcb.at_mark())
    }

    /// F_SETOWN: the process that is sent SIGURG, or the group, if negative; 0 for none.
    pub fn set_owner(&mut self, r: SocketRef, owner: i32) -> Result<()> {
        self.core.socket(r).map(|s| s.owner = owner)
    }

    /// Whether such wakes come with owners to be sent SIGURG.
    #[inline]
    pub const fn has_signals(wakes: u64) -> bool {
        wakes & SIGNALS != 0
    }

    /// Whom to send SIGURG, now that the lock is given back. To be taken before that.
    pub fn take_owners(&mut self) -> Vec<i32> {
        core::mem::take(&mut self.core.urgent_owners)
    }
}

impl Core<'_> {
    /// Urgent data was announced: the owner is told.
    pub(crate) fn signal_owner(&mut self, index: u32) {
        let owner = self.at(index).owner;
        if owner != 0 && self.urgent_owners.len() < OWNERS_MAX {
            self.urgent_owners.push(owner);
            self.wake |= SIGNALS;
        }
    }
}

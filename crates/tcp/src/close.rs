//! The ends of a connection: shutdown, close, abort, TIME-WAIT (RFC 9293 3.6, 3.10.4, 3.10.5; RFC 6191).

use crate::state::{Error, Events, State};
use crate::tcb::{Env, Marks, Rare, Tcb};
use crate::timer::{Deadlines, Timer};
use sidestep_shm::ChunkPool;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Repr};

/// Whether a SYN may take the place of a connection in TIME-WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// No: give the SYN to the connection, which answers it.
    Refuse,
    /// Yes: release the connection and treat the SYN as new. Our initial sequence number must not come before this.
    Allow {
        /// The least initial sequence number that cannot be confused with the old connection's.
        iss_min: Seq,
    },
}

impl Tcb {
    /// Ends our direction: a FIN follows what is queued. The other direction goes on.
    pub fn shutdown_write(&mut self, _env: &mut Env<'_, '_>) -> Events {
        let next = match self.state() {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            // The FIN goes out when the handshake is complete.
            waiting @ (State::SynSent | State::SynReceived) => waiting,
            _ => return self.events(Events::empty()),
        };
        self.set_state(next);
        self.marks.insert(Marks::FIN_QUEUED | Marks::SEND_DUE);
        self.events(Events::empty())
    }

    /// Ends both directions, as close(2) does: with a RST where received data was left unread (RFC 2525 2.17), else
    /// with a FIN behind what is queued. What the peer sends from now on is answered by a RST.
    pub fn close(&mut self, env: &mut Env<'_, '_>) -> Events {
        match self.state() {
            State::Closed | State::Listen => {
                self.free_buffers(env.pool);
                return self.events(Events::empty());
            }
            State::SynSent => return self.abort(env),
            _ => {}
        }
        if self.rcv.len() > 0 {
            return self.abort(env);
        }
        self.clear_ahead(env.pool);
        self.marks.insert(Marks::ORPHANED);
        self.shutdown_write(env);
        if self.state() == State::FinWait2 {
            return self.wait_for_fin(env);
        }
        self.events(Events::empty())
    }

    /// Nobody holds the connection, and only the peer's FIN is missing: it is waited for as long as TCP_LINGER2 says.
    pub(crate) fn wait_for_fin(&mut self, env: &mut Env<'_, '_>) -> Events {
        match self.choices.fin_wait_2() {
            Some(span) => {
                self.deadlines.set(Timer::Linger, env.now + span);
                self.events(Events::empty())
            }
            None => self.abort(env),
        }
    }

    /// Ends the connection at once (RFC 9293 3.10.5), with a RST where the peer still counts on it. The RST is for
    /// [`poll_transmit`](Self::poll_transmit) to take before the connection is released; buffers are free already.
    pub fn abort(&mut self, env: &mut Env<'_, '_>) -> Events {
        let state = self.state();
        if state == State::Closed {
            self.free_buffers(env.pool);
            return self.events(Events::empty());
        }
        let needs_reset = matches!(
            state,
            State::SynReceived
                | State::Established
                | State::FinWait1
                | State::FinWait2
                | State::CloseWait
        );
        self.set_closed();
        self.free_buffers(env.pool);
        if needs_reset {
            self.reset_in_sequence();
        }
        self.events(Events::CLOSED)
    }

    /// Gives all buffers back without a word to the peer, and makes the entry as good as new.
    pub fn release(&mut self, pool: &mut ChunkPool<'_>) {
        self.free_buffers(pool);
        *self = Self::new();
    }

    /// Whether `syn` may open a new connection in place of this one, which is in TIME-WAIT: by a newer timestamp
    /// (RFC 6191), or by a sequence number beyond the old ones (RFC 9293 3.10.7.4).
    pub fn time_wait_reuse(&self, syn: &Repr) -> Reuse {
        let opens = syn.flags & (Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN) == Flags::SYN;
        if self.state() != State::TimeWait || !opens {
            return Reuse::Refuse;
        }
        let beyond = syn.seq.gt(self.rcv_nxt);
        let newer = match syn.options.timestamps {
            Some(ts) if self.is(Marks::TIMESTAMPS) => {
                let ahead = ts.value.wrapping_sub(self.ts_recent).cast_signed();
                ahead > 0 || (ahead == 0 && beyond)
            }
            _ => beyond,
        };
        if newer {
            Reuse::Allow {
                iss_min: self.snd_nxt + (u32::from(u16::MAX) + 2),
            }
        } else {
            Reuse::Refuse
        }
    }

    pub(crate) fn enter_time_wait(&mut self, env: &mut Env<'_, '_>) -> Events {
        self.set_state(State::TimeWait);
        self.snd.clear(env.pool);
        self.scoreboard.clear(env.pool);
        self.free_model(env.pool);
        self.clear_ahead(env.pool);
        self.deadlines = Deadlines::NONE;
        self.marks.remove(Marks::OUTPUT & !Marks::ACK_NOW);
        self.restart_time_wait(env.now);
        Events::TIME_WAIT
    }

    pub(crate) fn restart_time_wait(&mut self, now: sidestep_shm::Nanos) {
        self.deadlines.set(Timer::Linger, now + self.time_wait);
    }

    /// The link is gone, and the peer with it: the connection ends without a word. What was received can still be read;
    /// where the peer had ended its direction, that end is what the reader sees, else an error.
    pub fn on_link_lost(&mut self, env: &mut Env<'_, '_>) -> Events {
        match self.state() {
            State::Closed | State::Listen => Events::empty(),
            State::SynSent | State::SynReceived => {
                self.fail(env, Error::Refused);
                Events::CLOSED | Events::REFUSED
            }
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait => {
                self.finish(env)
            }
            State::Established | State::FinWait1 | State::FinWait2 => {
                self.fail(env, Error::Reset);
                Events::CLOSED | Events::RESET
            }
        }
    }

    /// There is no way to the peer any more after what leaves now: the peer, which is still there, is sent a RST.
    pub fn on_network_lost(&mut self, env: &mut Env<'_, '_>) -> Events {
        let is_peer_bound = matches!(
            self.state(),
            State::SynReceived
                | State::Established
                | State::FinWait1
                | State::FinWait2
                | State::CloseWait
        );
        let events = self.on_link_lost(env);
        if is_peer_bound {
            self.reset_in_sequence();
        }
        self.events(events)
    }

    /// The orderly end: CLOSED, with what was received still there for the reader.
    pub(crate) fn finish(&mut self, env: &mut Env<'_, '_>) -> Events {
        self.set_closed();
        self.free_unreadable(env.pool);
        Events::CLOSED
    }

    /// The disorderly end. What was received in order can still be read before the error shows, as on Linux.
    pub(crate) fn fail(&mut self, env: &mut Env<'_, '_>, error: Error) {
        self.set_closed();
        self.free_unreadable(env.pool);
        self.error = error as u8;
    }

    /// Asks for a RST that a peer will believe which acknowledged `seq`; the connection stays as it is.
    pub(crate) fn reset_with(&mut self, seq: Seq) {
        self.reset_seq = seq;
        self.rare.remove(Rare::RST_ACKS);
        self.marks.insert(Marks::RST_DUE);
    }

    /// Asks for a RST behind all that was sent.
    pub(crate) fn reset_in_sequence(&mut self) {
        (self.reset_seq, self.reset_ack) = (self.snd_nxt, self.rcv_nxt);
        self.marks.insert(Marks::RST_DUE);
        self.rare.insert(Rare::RST_ACKS);
    }

    /// Answers a segment to a connection that is CLOSED already but not yet released.
    pub(crate) fn refuse(&mut self, seg: &Repr, payload_len: usize) {
        if let Some(reset) = crate::reset_for(seg, payload_len)
            && self.local_port != 0
        {
            self.reset_with(reset.seq);
            self.reset_ack = reset.ack;
            let acks = reset.flags.contains(Flags::ACK);
            self.rare.set(Rare::RST_ACKS, acks);
        }
    }

    fn set_closed(&mut self) {
        self.set_state(State::Closed);
        self.deadlines = Deadlines::NONE;
        self.marks.remove(Marks::OUTPUT | Marks::ACK_PENDING);
    }

    fn free_unreadable(&mut self, pool: &mut ChunkPool<'_>) {
        self.snd.clear(pool);
        self.scoreboard.clear(pool);
        self.free_model(pool);
        if self.is(Marks::ORPHANED) {
            self.rcv.clear(pool);
        } else {
            self.clear_ahead(pool);
        }
    }

    fn free_buffers(&mut self, pool: &mut ChunkPool<'_>) {
        // A zeroed entry has queues that are not valid yet, and nothing in them.
        if self.adv_mss != 0 {
            self.snd.clear(pool);
            self.scoreboard.clear(pool);
            self.free_model(pool);
            self.rcv.clear(pool);
        }
    }
}

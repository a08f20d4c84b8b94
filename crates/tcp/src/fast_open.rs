//! TCP Fast Open (RFC 7413): data in the SYN, where a cookie proves that the peer is who it says it is. Whose cookie is
//! good, and which servers have given one, is the caller's business.
//!
//! A connection that takes data from a SYN is ESTABLISHED in every respect but one: its SYN-ACK is repeated until the peer
//! says anything. `dup_acks` is 1 meanwhile, so that what the peer says takes the long way.

use crate::state::{Events, State};
use crate::tcb::{Env, Marks, Settings, Tcb};
use crate::timer::Timer;
use sidestep_shm::Foreign;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{FastOpen, Repr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a SYN that options may take (`MAX_TCP_OPTION_SPACE`).
const OPTIONS_MAX: u16 = 40;

/// What this connection does about it. Stored as a byte; 0 for nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    /// Asks for a cookie with its SYN.
    Asks = 1,
    /// Sends data and the cookie with its SYN.
    Sends = 2,
    /// Did either, without an answer: the SYN is repeated as any other.
    GaveUp = 3,
    /// The peer has given a cookie.
    Learned = 4,
    /// Gives the peer a cookie with its SYN-ACK.
    Gives = 5,
}

/// See the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Opening {
    cookie: [u8; FastOpen::BYTES_MAX],
    len: u8,
    part: u8,
    /// The SYN-ACK of a connection that has data already is not acknowledged: 1 before it was sent, then 2.
    unacked: u8,
    /// The peer took the data of our SYN.
    pub(crate) data_taken: u8,
}

impl Opening {
    fn set(&mut self, part: Part, cookie: &FastOpen) {
        let bytes = cookie.bytes();
        self.cookie[..bytes.len()].copy_from_slice(bytes);
        self.len = u8::try_from(bytes.len()).unwrap_or(0);
        self.part = part as u8;
    }

    fn cookie(&self) -> Option<FastOpen> {
        FastOpen::new(&self.cookie[..usize::from(self.len)])
    }

    const fn is(&self, part: Part) -> bool {
        self.part == part as u8
    }
}

/// The side that opens.
impl Tcb {
    /// After [`connect`](Self::connect), before anything is sent: has the SYN carry data, given the server's cookie, else
    /// ask for one. Returns how many bytes were queued.
    pub fn open_fast(
        &mut self,
        env: &mut Env<'_, '_>,
        cookie: Option<&FastOpen>,
        parts: &[Foreign<'_>],
    ) -> usize {
        let Some(cookie) = cookie else {
            self.opening.set(Part::Asks, &FastOpen::REQUEST);
            return 0;
        };
        self.opening.set(Part::Sends, cookie);
        let mut queued = 0;
        for part in parts {
            let n = self.snd.append(env.pool, part.first(self.send_space()));
            queued += n;
            if n < part.len() {
                break;
            }
        }
        queued
    }

    /// Bytes of text that our SYN takes along.
    pub(crate) fn syn_text_len(&self) -> u32 {
        if !self.opening.is(Part::Sends) || self.state() != State::SynSent {
            return 0;
        }
        let path = match self.path_mss {
            0 => self.adv_mss,
            limit => limit.min(self.adv_mss),
        };
        self.snd
            .len()
            .min(u32::from(path.saturating_sub(OPTIONS_MAX)))
    }

    /// The option of our SYN or SYN-ACK.
    pub(crate) fn fast_open_option(&self) -> Option<FastOpen> {
        if self.opening.is(Part::Asks) {
            return Some(FastOpen::REQUEST);
        }
        let shows = self.opening.is(Part::Sends) || self.opening.is(Part::Gives);
        self.opening.cookie().filter(|_| shows)
    }

    /// A SYN is repeated: as any other from now on (RFC 7413 4.1.3).
    pub(crate) fn give_up_fast_open(&mut self) {
        if self.opening.is(Part::Asks) || self.opening.is(Part::Sends) {
            self.opening.part = Part::GaveUp as u8;
        }
    }

    /// The SYN-ACK came: its cookie, and how much of the text it acknowledges. What it does not is sent again.
    pub(crate) fn on_fast_open_answer(&mut self, env: &mut Env<'_, '_>, seg: &Repr) {
        let taken = seg.ack.0.wrapping_sub(self.iss.0).saturating_sub(1);
        let taken = taken.min(self.snd.len());
        if taken > 0 {
            self.snd.consume(env.pool, taken, seg.ack);
            self.counters.bytes_acked += u64::from(taken);
            self.opening.data_taken = 1;
        }
        self.snd_nxt = seg.ack;
        if let Some(cookie) = seg.options.fast_open.filter(|c| !c.bytes().is_empty()) {
            self.opening.set(Part::Learned, &cookie);
        }
    }

    /// The cookie that the server has given, for the next connection to it.
    pub fn learned_cookie(&self) -> Option<FastOpen> {
        self.opening
            .cookie()
            .filter(|_| self.opening.is(Part::Learned))
    }

    /// Whether a SYN with data or a request had no answer: perhaps something in between drops such.
    pub const fn fast_open_failed(&self) -> bool {
        self.opening.is(Part::GaveUp)
    }
}

/// The side that is opened.
impl Tcb {
    /// Has the SYN-ACK give the peer a cookie.
    pub fn give_cookie(&mut self, cookie: &FastOpen) {
        self.opening.set(Part::Gives, cookie);
    }

    /// As [`accept`](Self::accept), of a SYN with a good cookie: its text is taken, and the program may answer at once.
    pub fn accept_fast(
        &mut self,
        env: &mut Env<'_, '_>,
        settings: &Settings,
        (syn, iss): (&Repr, Seq),
        ts_offset: u32,
        payload: Foreign<'_>,
    ) -> Events {
        self.accept(env, settings, syn, iss, ts_offset);
        (self.snd_una, self.snd_nxt) = (iss + 1, iss + 1);
        self.opening.unacked = 1;
        self.dup_acks = 1;
        self.set_state(State::Established);
        self.start_keepalive(env.now);
        let events = self.on_text_and_fin(env, syn.seq + 1, syn.flags, payload);
        self.events(events | Events::CONNECTED | Events::WRITABLE)
    }

    /// Whether the peer has yet to acknowledge the SYN-ACK of such a connection.
    pub(crate) const fn is_half_open(&self) -> bool {
        self.opening.unacked != 0
    }

    /// The SYN-ACK of such a connection leaves; whether it did before.
    pub(crate) fn note_syn_ack_sent(&mut self) -> bool {
        core::mem::replace(&mut self.opening.unacked, 2) == 2
    }

    /// The peer has spoken: the handshake is complete.
    #[cold]
    pub(crate) fn complete_fast_open(&mut self, env: &mut Env<'_, '_>, seg: &Repr) {
        self.opening.unacked = 0;
        (self.dup_acks, self.retries, self.backoff) = (0, 0, 0);
        self.marks.remove(Marks::SYN_DUE);
        let echo = seg.options.timestamps.map(|ts| ts.echo);
        self.measure_round_trip(self.iss + 1, echo, env.now);
        if self.is_outstanding() {
            self.rearm_retransmit(env.now);
        } else {
            self.deadlines.clear(Timer::Retransmit);
        }
    }
}

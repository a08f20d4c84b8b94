//! TCP Fast Open (RFC 7413): data in the SYN, where a cookie proves that the peer is who it says it is. Whose cookie is
//! good, and which servers have given one, is the caller's business.
//!
//! A connection that takes data from a SYN is ESTABLISHED in every respect but one: its SYN-ACK is repeated until the peer
//! says anything. `dup_acks` is 1 meanwhile, so that what the peer says takes the long way.

use crate::open::MSS_DEFAULT;
use crate::recovery::scoreboard::ticks;
use crate::state::{Events, State};
use crate::tcb::{Env, Marks, Rare, Settings, Tcb};
use crate::timer::Timer;
use bitflags::bitflags;
use sidestep_shm::Foreign;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{FastOpen, Repr};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a SYN that options may take (`MAX_TCP_OPTION_SPACE`).
const OPTIONS_MAX: u16 = 40;
/// Timeouts in a row before one that makes us suspicious (`tcp_fastopen_active_detect_blackhole`).
const SUSPICIOUS: u8 = 2;

/// What this connection does about it. Stored as a byte; 0 for nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    /// Asks for a cookie with its SYN.
    Asks = 1,
    /// Sends data and the cookie with its SYN.
    Sends = 2,
    /// Sends data with its SYN, which the peer takes without a cookie.
    Trusts = 3,
    /// Gives the peer a cookie with its SYN-ACK.
    Gives = 4,
}

#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
struct Facts(u8);

bitflags! {
    impl Facts: u8 {
        /// The cookie is what the peer answered.
        const LEARNED = 1;
        /// The SYN waits for the first bytes.
        const HELD = 4;
        /// Timeouts look as if something on the path swallows such segments; not told yet.
        const SUSPECT = 8;
        /// The peer took the data of our SYN, or we that of its.
        const DATA_TAKEN = 16;
        /// No program has accepted the connection yet.
        const UNCLAIMED = 32;
    }
}

/// See the file.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Opening {
    cookie: [u8; FastOpen::BYTES_MAX],
    len: u8,
    part: u8,
    /// The cookie is in the option for experiments.
    experimental: u8,
    facts: Facts,
    /// Bytes of text that our SYN takes; before it was sent, at most. Of the side that is opened, those of the peer's.
    text: u16,
    /// The SYN-ACK of a connection that has data already is not acknowledged: 1 before it was sent, then 2.
    unacked: u8,
    /// How often our SYN or SYN-ACK was repeated: only the first one has the option, or data (RFC 7413 4.1.3).
    pub(crate) repeats: u8,
}

impl Opening {
    /// Bytes of text in our SYN, or in the peer's.
    pub(crate) const fn text_bytes(&self) -> u16 {
        self.text
    }

    fn set(&mut self, part: Part, cookie: &FastOpen) {
        self.part = part as u8;
        self.keep(cookie);
    }

    fn keep(&mut self, cookie: &FastOpen) {
        let bytes = cookie.bytes();
        self.cookie[..bytes.len()].copy_from_slice(bytes);
        self.len = u8::try_from(bytes.len()).unwrap_or(0);
        self.experimental = u8::from(cookie.experimental);
    }

    fn cookie(&self) -> Option<FastOpen> {
        let cookie = FastOpen::new(&self.cookie[..usize::from(self.len)])?;
        Some(cookie.in_experiment(self.experimental != 0))
    }

    const fn is(&self, part: Part) -> bool {
        self.part == part as u8
    }

    const fn has(&self, fact: Facts) -> bool {
        self.facts.contains(fact)
    }

    /// Whether data was taken that came with a SYN.
    pub(crate) const fn data_taken(&self) -> bool {
        self.has(Facts::DATA_TAKEN)
    }
}

/// What a client's SYN says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Nothing of it.
    Plain,
    /// Asks for a cookie, in the option for experiments or the one of RFC 7413.
    Ask {
        /// Which of the two.
        experimental: bool,
    },
    /// Has data, and the cookie that makes the server take them; none where it takes them without.
    Data(Option<FastOpen>),
}

/// Why a connection was not opened fast (`enum tcp_fastopen_client_fail` of linux/tcp.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FastFailure {
    /// No cookie of the server was known.
    NoCookie = 1,
    /// The server has not acknowledged the data.
    NotAcknowledged = 2,
    /// The SYN was repeated, and the data were not acknowledged.
    Repeated = 3,
}

/// What came of it on the client's side, for connections to the same server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastAnswer {
    /// The server's MSS.
    pub mss: u16,
    /// The cookie that it gave.
    pub cookie: Option<FastOpen>,
    /// It knows nothing of the option that asked for one: whether that for experiments.
    pub unknown: Option<bool>,
    /// The SYN with data, or its answer, was lost.
    pub lost: bool,
}

/// The side that opens.
impl Tcb {
    /// After [`connect`](Self::connect), before anything is sent: what the SYN is to say, and the first bytes of the
    /// stream, of which so many leave with the SYN as a segment of `mss` bytes has room for; 0 where the server's is not
    /// known. The others are queued where `whole` says so. Returns how many bytes were queued.
    pub fn open_fast(
        &mut self,
        env: &mut Env<'_, '_>,
        greeting: Greeting,
        mss: u16,
        parts: &[Foreign<'_>],
        whole: bool,
    ) -> usize {
        self.opening.facts.remove(Facts::HELD);
        self.marks.insert(Marks::SYN_DUE);
        self.stalled_since = env.now;
        match greeting {
            Greeting::Plain => {}
            Greeting::Ask { experimental } => self
                .opening
                .set(Part::Asks, &FastOpen::REQUEST.in_experiment(experimental)),
            Greeting::Data(Some(cookie)) => self.opening.set(Part::Sends, &cookie),
            Greeting::Data(None) => self.opening.set(Part::Trusts, &FastOpen::REQUEST),
        }
        if matches!(greeting, Greeting::Data(_)) {
            self.opening.text = self.syn_room(mss);
        }
        let room = if whole {
            self.send_space()
        } else {
            usize::from(self.opening.text).min(self.send_space())
        };
        let mut queued = 0;
        for part in parts {
            let n = self.snd.append(env.pool, part.first(room - queued));
            queued += n;
            if n < part.len() {
                break;
            }
        }
        queued
    }

    /// After [`connect`](Self::connect), before anything is sent: nothing is, until [`open_fast`](Self::open_fast) brings
    /// the first bytes.
    pub fn hold_open(&mut self) {
        self.opening.facts.insert(Facts::HELD);
        self.marks.remove(Marks::SYN_DUE);
    }

    /// Whether the connection is to be opened by its first bytes.
    pub const fn is_held(&self) -> bool {
        self.state == State::SynSent as u8 && self.opening.has(Facts::HELD)
    }

    /// What a SYN has room for: less than others, for the sake of those on the path who add options of their own.
    fn syn_room(&self, mss: u16) -> u16 {
        let known = |limit: u16| if limit == 0 { u16::MAX } else { limit };
        let mss = self.adv_mss.min(known(mss)).min(known(self.path_mss));
        mss.saturating_sub(OPTIONS_MAX)
    }

    /// Bytes of text that our SYN takes along, which leaves now for the first time.
    pub(crate) fn take_syn_text(&mut self) -> u32 {
        if self.state() != State::SynSent {
            return 0;
        }
        let len = self.snd.len().min(u32::from(self.opening.text));
        self.opening.text = u16::try_from(len).unwrap_or(0);
        self.counters.data_segments_out += u32::from(len > 0);
        len
    }

    /// The option of our SYN or SYN-ACK.
    pub(crate) fn fast_open_option(&self) -> Option<FastOpen> {
        let experimental = self.opening.experimental != 0;
        if self.opening.repeats > 0 {
            return None;
        }
        if self.opening.is(Part::Asks) {
            return Some(FastOpen::REQUEST.in_experiment(experimental));
        }
        let shows = self.opening.is(Part::Sends) || self.opening.is(Part::Gives);
        self.opening.cookie().filter(|_| shows)
    }

    /// A SYN or SYN-ACK is repeated: as any other from now on (RFC 7413 4.1.3).
    pub(crate) fn give_up_fast_open(&mut self) {
        self.opening.repeats = self.opening.repeats.saturating_add(1);
    }

    /// The SYN with data was too long for the path: once more without, with what the path carries announced.
    pub(crate) fn on_syn_too_long(&mut self, mss: u16) {
        self.adv_mss = self.adv_mss.min(mss);
        let bare = self.opening.text == 0 || self.opening.repeats > 0;
        if self.state() == State::SynSent && self.is_outstanding() && !bare {
            self.marks.insert(Marks::SYN_DUE);
        }
    }

    /// The SYN-ACK came: its cookie, and how much of the text it acknowledges.
    pub(crate) fn on_fast_open_answer(&mut self, env: &mut Env<'_, '_>, seg: &Repr) {
        let sent = u32::from(self.opening.text);
        let taken = seg.ack.0.wrapping_sub(self.iss.0).saturating_sub(1);
        let taken = taken.min(sent).min(self.snd.len());
        if taken > 0 {
            self.snd.consume(env.pool, taken, seg.ack);
            self.counters.bytes_acked += u64::from(taken);
        }
        let all = sent > 0 && taken == sent;
        self.opening.facts.set(Facts::DATA_TAKEN, all);
        let asked = self.opening.is(Part::Asks) || self.opening.is(Part::Sends);
        if asked && let Some(cookie) = seg.options.fast_open.filter(|c| !c.bytes().is_empty()) {
            self.opening.keep(&cookie);
            self.opening.facts.insert(Facts::LEARNED);
        }
    }

    /// The handshake is complete, but for text of the SYN that the peer did not take: goes again, and says nothing of
    /// congestion.
    #[cold]
    pub(crate) fn resend_syn_text(&mut self, env: &mut Env<'_, '_>) {
        let (end, sent) = (self.snd_nxt, ticks(env.now));
        self.scoreboard.push(env.pool, end, sent, self.rtt.grain);
        self.on_flight_too_long(env);
    }

    /// What connections to the same server go by. None where this one was opened as usual.
    pub fn fast_answer(&self) -> Option<FastAnswer> {
        let opening = &self.opening;
        let asked = opening.is(Part::Asks) || opening.is(Part::Sends);
        let data = opening.text > 0;
        let bare = opening.is(Part::Trusts) && data;
        if !(asked || bare) {
            return None;
        }
        let cookie = opening.cookie().filter(|_| opening.has(Facts::LEARNED));
        let repeated = opening.repeats > 0;
        let silent = asked && cookie.is_none();
        Some(FastAnswer {
            mss: match self.peer_mss {
                0 => MSS_DEFAULT,
                mss => mss,
            },
            cookie,
            unknown: (silent && !repeated && !data).then_some(opening.experimental != 0),
            lost: silent && repeated && data && !opening.data_taken(),
        })
    }

    pub(crate) fn fast_failure(&self) -> Option<FastFailure> {
        let opening = &self.opening;
        let sent = opening.is(Part::Sends) || opening.is(Part::Trusts);
        if opening.is(Part::Asks) {
            return Some(FastFailure::NoCookie);
        }
        let opens = matches!(self.state(), State::SynSent | State::SynReceived);
        let answered = !opens && self.rcv_nxt != Seq(0);
        if !sent || opening.text == 0 || opening.data_taken() || !answered {
            return None;
        }
        Some(if opening.repeats > 0 {
            FastFailure::Repeated
        } else {
            FastFailure::NotAcknowledged
        })
    }

    /// How SYN and data in it count as delivered: only together where the peer took both.
    pub(crate) fn is_syn_delivered(&self) -> bool {
        !self.is_half_open() && (self.rare.contains(Rare::PASSIVE) || !self.opening.data_taken())
    }

    /// A retransmission timer expires: a third time in a row, or for the last time, says that something on the path may
    /// swallow what was opened fast.
    pub(crate) fn suspect_fast_open(&mut self, gives_up: bool) {
        let opening = &self.opening;
        let opened = opening.is(Part::Asks) || opening.is(Part::Sends) || opening.is(Part::Trusts);
        let fast = opened && (opening.part != Part::Trusts as u8 || opening.text > 0);
        if fast && (self.retries == SUSPICIOUS || (self.retries < SUSPICIOUS && gives_up)) {
            self.opening.facts.insert(Facts::SUSPECT);
        }
    }

    /// Whether that is so; told once.
    pub fn take_suspicion(&mut self) -> bool {
        let suspect = self.opening.has(Facts::SUSPECT);
        self.opening.facts.remove(Facts::SUSPECT);
        suspect
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
        let facts = &mut self.opening.facts;
        facts.insert(Facts::UNCLAIMED);
        facts.set(Facts::DATA_TAKEN, !payload.is_empty());
        self.opening.text = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        self.dup_acks = 1;
        self.set_state(State::Established);
        self.start_keepalive(env.now);
        let events = self.on_text_and_fin(env, syn.seq + 1, syn.flags, payload);
        self.events(events | Events::CONNECTED | Events::WRITABLE)
    }

    /// Whether the peer has yet to acknowledge the SYN-ACK of such a connection.
    pub const fn is_half_open(&self) -> bool {
        self.opening.unacked != 0
    }

    /// A program has accepted the connection.
    pub fn note_accepted(&mut self) {
        self.opening.facts.remove(Facts::UNCLAIMED);
    }

    /// Whether it is such a connection, and nobody has accepted it: as one in SYN-RECEIVED to those who speak of errors.
    pub(crate) const fn is_unclaimed(&self) -> bool {
        self.is_half_open() && self.opening.has(Facts::UNCLAIMED)
    }

    /// Whether the peer was told of no other window than the SYN-ACK has room for, which is little but no sign that the
    /// reader is behind: it has acknowledged all that came.
    pub(crate) fn has_syn_window(&self) -> bool {
        let told = u32::from(u16::MAX) + u32::from(self.opening.text);
        let edge = self.rcv_adv.0.wrapping_sub((self.irs + 1).0);
        self.opening.data_taken() && self.rare.contains(Rare::PASSIVE) && edge <= told
    }

    /// The SYN-ACK of such a connection leaves; whether it did before.
    pub(crate) fn note_syn_ack_sent(&mut self) -> bool {
        core::mem::replace(&mut self.opening.unacked, 2) == 2
    }

    /// The peer has spoken: the handshake is complete.
    #[cold]
    pub(crate) fn complete_fast_open(&mut self, env: &mut Env<'_, '_>, seg: &Repr) -> Events {
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
        Events::CONFIRMED
    }
}

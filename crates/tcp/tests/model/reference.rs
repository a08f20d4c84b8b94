//! A TCP endpoint as RFC 9293 section 3.10.7 tells it, with RFC 5961 and PAWS, and nothing else: no windows but the
//! receive window, no congestion, no timers, no buffers. It says of each segment that arrives what the answer must be,
//! and knows which bytes a program may be given. Written apart from the implementation, and meant to be read beside
//! the RFC.

use sidestep_shm::Nanos;
use sidestep_tcp::State;
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Repr};

/// Least time between two answers to what should not have come (RFC 5961 section 7).
const CHALLENGE_INTERVAL: Nanos = Nanos::from_millis(500);

/// What must come back for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Not a word.
    Silence,
    /// An acknowledgement of all that came in order, by itself or on text.
    Ack,
    /// A reset with this sequence number.
    Reset(Seq),
    /// The SYN-ACK, once more or for the first time.
    SynAck,
    /// Text and acknowledgements may come, or not yet.
    Any,
}

/// The endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) state: State,
    /// Whether it listened.
    passive: bool,
    pub(crate) iss: Seq,
    pub(crate) snd_una: Seq,
    /// Beyond all that was ever sent.
    pub(crate) snd_nxt: Seq,
    /// Where its FIN was sent.
    pub(crate) fin_sent: Option<Seq>,
    /// Furthest edge that the peer ever offered.
    pub(crate) snd_edge: Seq,
    snd_wl: (Seq, Seq),
    window_max: u32,
    pub(crate) snd_shift: u8,
    pub(crate) irs: Seq,
    pub(crate) rcv_nxt: Seq,
    /// Right edge of the window, as announced.
    pub(crate) rcv_edge: Seq,
    /// The window that its SYN announced.
    pub(crate) syn_window: u32,
    /// Text that arrived inside the window: what a program may be given, by offset from the first byte.
    arrived: Vec<(u32, u32)>,
    /// Where the peer's FIN is.
    pub(crate) fin_at: Option<Seq>,
    /// The program has let go of it.
    pub(crate) orphaned: bool,
    /// The program has ended its direction.
    pub(crate) shut: bool,
    /// Whether timestamps are used, the newest one in order, and what was acknowledged when.
    pub(crate) timestamps: bool,
    pub(crate) ts_recent: u32,
    pub(crate) acked: Seq,
    challenged: Option<Nanos>,
}

impl Reference {
    /// In SYN-SENT or, `passive`, about to be given a SYN.
    pub(crate) fn new(iss: Seq, passive: bool, timestamps: bool) -> Self {
        Self {
            state: if passive {
                State::Listen
            } else {
                State::SynSent
            },
            passive,
            iss,
            snd_una: iss,
            snd_nxt: iss + 1,
            fin_sent: None,
            snd_edge: iss + 1,
            snd_wl: (Seq(0), Seq(0)),
            window_max: 0,
            snd_shift: 0,
            irs: Seq(0),
            rcv_nxt: Seq(0),
            rcv_edge: Seq(0),
            syn_window: 0,
            arrived: Vec::new(),
            fin_at: None,
            orphaned: false,
            shut: false,
            timestamps,
            ts_recent: 0,
            acked: Seq(0),
            challenged: None,
        }
    }

    /// The peer's SYN is taken.
    pub(crate) fn synchronize(&mut self, syn: &Repr) {
        self.irs = syn.seq;
        self.rcv_nxt = syn.seq + 1;
        self.acked = self.rcv_nxt;
        self.rcv_edge = self.rcv_nxt + self.syn_window;
        self.timestamps &= syn.options.timestamps.is_some();
        self.ts_recent = syn.options.timestamps.unwrap_or_default().value;
        self.take_window(syn, syn.ack);
    }

    /// A segment arrives (RFC 9293 3.10.7).
    pub(crate) fn arrives(&mut self, seg: &Repr, len: usize, now: Nanos) -> Answer {
        match self.state {
            State::Closed | State::Listen => closed(seg, len),
            State::SynSent => self.in_syn_sent(seg, len),
            _ => self.in_others(seg, len, now),
        }
    }

    /// 3.10.7.3.
    fn in_syn_sent(&mut self, seg: &Repr, len: usize) -> Answer {
        let acks = seg.flags.contains(Flags::ACK);
        if acks && !(seg.ack.gt(self.iss) && seg.ack.le(self.snd_nxt)) {
            return if seg.flags.contains(Flags::RST) {
                Answer::Silence
            } else {
                Answer::Reset(seg.ack)
            };
        }
        if seg.flags.contains(Flags::RST) {
            if acks {
                self.state = State::Closed;
            }
            return Answer::Silence;
        }
        if !seg.flags.contains(Flags::SYN) {
            return Answer::Silence;
        }
        self.synchronize(seg);
        if !acks {
            self.state = State::SynReceived;
            return Answer::SynAck;
        }
        self.establish(seg);
        self.take_text(seg, seg.seq + 1, len);
        Answer::Ack
    }

    /// 3.10.7.4.
    fn in_others(&mut self, seg: &Repr, len: usize, now: Nanos) -> Answer {
        let reset = seg.flags.contains(Flags::RST);
        let seq_len = seg.seq_len(len);
        if !reset && !self.passes_paws(seg) {
            return self.owed(seg, seq_len, now);
        }
        let simultaneous = self.state == State::SynReceived
            && !self.passive
            && seg.flags.contains(Flags::SYN | Flags::ACK)
            && (seg.seq, seg.ack) == (self.irs, self.snd_nxt);
        // From the end of the window it is heard what has no text (as Linux): who has filled it speaks from there.
        let is_ack = seg.flags & (Flags::ACK | Flags::RST) == Flags::ACK;
        let at_end = is_ack && seq_len == 0 && seg.seq == self.rcv_edge;
        if !self.acceptable(seg.seq, seq_len) && !simultaneous && !at_end {
            return self.on_unacceptable(seg, seq_len, reset, now);
        }
        if reset {
            if seg.seq != self.rcv_nxt {
                return self.challenge(now);
            }
            self.state = State::Closed;
            return Answer::Silence;
        }
        if seg.flags.contains(Flags::SYN) && !simultaneous {
            return self.challenge(now);
        }
        if !seg.flags.contains(Flags::ACK) {
            return Answer::Silence;
        }
        let mut answer = Answer::Any;
        if self.state == State::SynReceived {
            if !(seg.ack.gt(self.snd_una) && seg.ack.le(self.snd_nxt)) {
                return Answer::Reset(seg.ack);
            }
            self.establish(seg);
            if simultaneous {
                answer = Answer::Ack;
            }
        }
        if seg.ack.gt(self.snd_nxt) || seg.ack.lt(self.snd_una - self.window_max) {
            return self.challenge(now);
        }
        self.take_ack(seg);
        if let Some(ts) = seg.options.timestamps
            && self.timestamps
            && seg.seq.le(self.acked)
            && ts.value.wrapping_sub(self.ts_recent).cast_signed() >= 0
        {
            self.ts_recent = ts.value;
        }
        if self.state == State::Closed {
            return Answer::Silence;
        }
        let seq = seg.seq + u32::from(simultaneous);
        match self.take_text(seg, seq, len) {
            Answer::Any => answer,
            other => other,
        }
    }

    fn on_unacceptable(&mut self, seg: &Repr, seq_len: u32, reset: bool, now: Nanos) -> Answer {
        if reset {
            return Answer::Silence;
        }
        if self.state == State::SynReceived && seg.flags.contains(Flags::SYN) && seg.seq == self.irs
        {
            return Answer::SynAck;
        }
        let fin = seg.flags.contains(Flags::FIN);
        if self.state == State::TimeWait && fin && seg.seq + seq_len == self.rcv_nxt {
            return Answer::Ack;
        }
        self.owed(seg, seq_len, now)
    }

    /// First check of 3.10.7.4. At a closed window what begins at RCV.NXT is let in for its ACK and RST.
    fn acceptable(&self, seq: Seq, seq_len: u32) -> bool {
        let inside = |seq: Seq| seq.ge(self.rcv_nxt) && seq.lt(self.rcv_edge);
        seq == self.rcv_nxt || inside(seq) || (seq_len > 0 && inside(seq + (seq_len - 1)))
    }

    /// RFC 7323 5.3, R1.
    fn passes_paws(&self, seg: &Repr) -> bool {
        let ts = seg.options.timestamps.filter(|_| self.timestamps);
        ts.is_none_or(|ts| ts.value.wrapping_sub(self.ts_recent).cast_signed() >= 0)
    }

    /// An acknowledgement is owed; without text, or to a SYN (RFC 5961 section 4), it is limited.
    fn owed(&mut self, seg: &Repr, seq_len: u32, now: Nanos) -> Answer {
        if seq_len > 0 && !seg.flags.contains(Flags::SYN) {
            Answer::Ack
        } else {
            self.challenge(now)
        }
    }

    fn challenge(&mut self, now: Nanos) -> Answer {
        if self
            .challenged
            .is_some_and(|at| now - at < CHALLENGE_INTERVAL)
        {
            return Answer::Silence;
        }
        self.challenged = Some(now);
        Answer::Ack
    }

    /// Where the segment began whose window counts (SND.WL1).
    pub(crate) const fn newest_window(&self) -> Seq {
        self.snd_wl.0
    }

    fn establish(&mut self, seg: &Repr) {
        self.snd_una = seg.ack;
        self.state = if self.shut {
            State::FinWait1
        } else {
            State::Established
        };
        self.take_window(seg, seg.ack);
    }

    /// Fifth: acknowledgement and window.
    fn take_ack(&mut self, seg: &Repr) {
        let news = seg.ack.gt(self.snd_una);
        if news {
            self.snd_una = seg.ack;
        }
        let newer =
            self.snd_wl.0.lt(seg.seq) || (self.snd_wl.0 == seg.seq && self.snd_wl.1.le(seg.ack));
        if seg.ack.ge(self.snd_una) && (news || newer) {
            self.take_window(seg, seg.ack);
        }
        if self.fin_sent.is_some_and(|fin| self.snd_una.gt(fin)) {
            self.state = match self.state {
                State::FinWait1 => State::FinWait2,
                State::Closing => State::TimeWait,
                State::LastAck => State::Closed,
                other => other,
            };
        }
    }

    fn take_window(&mut self, seg: &Repr, ack: Seq) {
        let shift = if seg.flags.contains(Flags::SYN) {
            0
        } else {
            self.snd_shift
        };
        let window = u32::from(seg.window) << shift;
        self.snd_wl = (seg.seq, seg.ack);
        self.window_max = self.window_max.max(window);
        if seg.flags.contains(Flags::ACK) || !self.passive {
            self.snd_edge = self.snd_edge.max(ack + window);
        }
    }

    /// Seventh and eighth: text and FIN.
    fn take_text(&mut self, seg: &Repr, seq: Seq, len: usize) -> Answer {
        let fin = seg.flags.contains(Flags::FIN);
        if len == 0 && !fin {
            return Answer::Any;
        }
        let receives = matches!(
            self.state,
            State::Established | State::FinWait1 | State::FinWait2
        );
        if !receives {
            return Answer::Ack;
        }
        let end = seq + len as u32;
        if self.orphaned && len > 0 && end.gt(self.rcv_nxt) {
            self.state = State::Closed;
            return Answer::Reset(self.snd_una);
        }
        let edge = self.fin_at.unwrap_or(self.rcv_edge);
        let (from, to) = (seq.max(self.rcv_nxt), end.min(edge));
        let before = self.rcv_nxt;
        if from.lt(to) {
            let first = self.irs + 1;
            self.arrived
                .push((from.0.wrapping_sub(first.0), to.0.wrapping_sub(first.0)));
            self.rcv_nxt = self.contiguous(self.rcv_nxt);
        }
        if fin && self.fin_at.is_none() && end.ge(self.rcv_nxt) && end.le(self.rcv_edge) {
            self.fin_at = Some(end);
        }
        self.take_fin();
        let next = before == seq && self.fin_at.is_none() && end.le(edge);
        if next && self.rcv_nxt == end {
            Answer::Any
        } else {
            Answer::Ack
        }
    }

    fn take_fin(&mut self) {
        if self.fin_at != Some(self.rcv_nxt) {
            return;
        }
        self.state = match self.state {
            State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            _ => return,
        };
        self.rcv_nxt += 1;
        self.rcv_edge = self.rcv_edge.max(self.rcv_nxt);
    }

    /// Where the text ends that arrived and joins `from`.
    fn contiguous(&self, from: Seq) -> Seq {
        let first = self.irs + 1;
        let mut end = from.0.wrapping_sub(first.0);
        while let Some(more) = self
            .arrived
            .iter()
            .filter(|(start, stop)| *start <= end && *stop > end)
            .map(|(_, stop)| *stop)
            .max()
        {
            end = more;
        }
        first + end
    }
}

/// A segment for nobody (3.10.7.1).
fn closed(seg: &Repr, _len: usize) -> Answer {
    if seg.flags.contains(Flags::RST) {
        Answer::Silence
    } else if seg.flags.contains(Flags::ACK) {
        Answer::Reset(seg.ack)
    } else {
        Answer::Reset(Seq(0))
    }
}

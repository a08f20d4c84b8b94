//! Opening a connection: actively, passively, and from both ends at once (RFC 9293 3.5, 3.10.7.3).

use crate::choices::Fixed;
use crate::congestion::Congestion;
use crate::ecn::{Accurate, Ecn};
use crate::recovery::scoreboard::Scoreboard;
use crate::recv_queue::RecvQueue;
use crate::rtt::Rtt;
use crate::send_queue::SendQueue;
use crate::state::{Error, Events, State};
use crate::tcb::{Env, Marks, Rare, Settings, Tcb};
use crate::timer::{DELAYED_ACK, Deadlines, Timer};
use crate::validate::is_older;
use crate::window::{QUICK_ACKS, RCV_MSS_INITIAL, window_scale};
use sidestep_shm::{Foreign, Nanos};
use sidestep_wire::Seq;
use sidestep_wire::tcp::{Flags, Options, Repr};

/// What a peer takes that announces no MSS (RFC 9293 3.7.1).
pub(crate) const MSS_DEFAULT: u16 = 536;
/// The least MSS that is believed; tiny ones only serve to make us work.
const MSS_MIN: u16 = 48;
/// What the timestamps option and its padding take of each segment.
pub(crate) const TIMESTAMPS_BYTES: u16 = 12;

impl Tcb {
    /// Opens actively: to SYN-SENT, with a SYN due. `iss` is the initial sequence number (RFC 6528), `ts_offset` shifts
    /// the timestamp clock. Options set before are kept.
    pub fn connect(
        &mut self,
        env: &mut Env<'_, '_>,
        settings: &Settings,
        local_port: u16,
        remote_port: u16,
        iss: Seq,
        ts_offset: u32,
    ) {
        self.begin(env, settings, iss, ts_offset);
        (self.local_port, self.remote_port) = (local_port, remote_port);
        self.set_state(State::SynSent);
        self.marks.insert(Marks::SYN_DUE);
        self.ecn.ask(settings.ecn);
        self.accurate = Accurate::new(true);
    }

    /// Opens passively, by a SYN that [`listen::on_segment`](crate::listen::on_segment) let through: to SYN-RECEIVED,
    /// with a SYN-ACK due.
    pub fn accept(
        &mut self,
        env: &mut Env<'_, '_>,
        settings: &Settings,
        syn: &Repr,
        iss: Seq,
        ts_offset: u32,
    ) {
        self.begin(env, settings, iss, ts_offset);
        (self.local_port, self.remote_port) = (syn.dst_port, syn.src_port);
        self.set_state(State::SynReceived);
        self.marks.insert(Marks::SYN_DUE);
        self.rare.insert(Rare::PASSIVE);
        self.ecn.on_syn(settings.ecn, syn.flags);
        self.accurate = Accurate::new(false);
        self.last_rx = env.now;
        self.synchronize(syn);
    }

    fn begin(&mut self, env: &mut Env<'_, '_>, settings: &Settings, iss: Seq, ts_offset: u32) {
        let kept = *self;
        if State::from_byte(self.state) != State::Closed {
            // A slip of the caller; at least no buffer is lost.
            self.release(env.pool);
        }
        *self = Self::new();
        self.marks = kept.marks & Marks::SET_BY_PROGRAM;
        self.keep_idle_s = kept.keep_idle_s;
        self.keep_interval_s = kept.keep_interval_s;
        self.keep_count = kept.keep_count;
        self.user_timeout_ms = kept.user_timeout_ms;
        self.choices = kept.choices;
        self.unsent_low = if kept.choices.fixed.contains(Fixed::UNSENT_LOW) {
            kept.unsent_low
        } else {
            settings.unsent_low
        };

        (self.iss, self.snd_una, self.snd_nxt) = (iss, iss, iss);
        (self.snd_sml, self.recover, self.piece_end) = (iss, iss, iss);
        self.ts_offset = ts_offset;
        self.rcv = RecvQueue::EMPTY;
        self.snd = SendQueue::EMPTY;
        self.scoreboard = Scoreboard::EMPTY;
        self.deadlines = Deadlines::NONE;
        self.rtt = Rtt::UNKNOWN;
        self.adv_mss = settings.mss.max(MSS_MIN);
        if self.choices.mss != 0 {
            self.adv_mss = self.adv_mss.min(self.choices.mss.max(MSS_MIN));
        }
        self.path_mss = settings.path_mss;
        self.mss = self.adv_mss;
        let algorithm = self.choices.congestion().unwrap_or(settings.congestion);
        self.congestion = Congestion::new(algorithm, u32::from(self.mss), env.now, iss);
        self.choose_pacing();
        self.rcv_mss = RCV_MSS_INITIAL.min(self.adv_mss);
        self.rcv_buf_bytes = settings.rcv_buf_bytes.max(u32::from(MSS_MIN));
        self.snd_buf_bytes = settings.snd_buf_bytes.max(u32::from(MSS_MIN));
        self.rcv_buf_bytes_max = settings.rcv_buf_bytes_max.max(self.rcv_buf_bytes);
        self.rcv_wscale = window_scale(self.rcv_buf_bytes_max);
        self.clamp_window();
        self.time_wait = settings.time_wait;
        self.syn_retries = self.choices.syn_retries().unwrap_or(settings.syn_retries);
        self.data_retries = settings.data_retries;
        self.quick_acks = QUICK_ACKS;
        self.burst_min = settings.burst_segments;
        self.rare
            .set(Rare::KEEPS_WINDOW, !settings.slow_start_after_idle);
        // Until the peer has answered, these are what we offer.
        self.marks.set(Marks::TIMESTAMPS, settings.timestamps);
        self.marks.set(Marks::WINDOW_SCALE, settings.window_scale);
        self.marks.set(Marks::SACK_PERMITTED, settings.sack);
        self.stalled_since = env.now;
        self.recovery.marked = iss;
    }

    /// Takes the peer's sequence number and options from its SYN.
    fn synchronize(&mut self, syn: &Repr) {
        self.irs = syn.seq;
        self.rcv_nxt = syn.seq + 1;
        self.rcv_acked = self.rcv_nxt;
        // What our SYN announced, or our SYN-ACK will.
        self.rcv_adv = self.rcv_nxt + self.rcv_buf_bytes.min(u32::from(u16::MAX));
        self.round.edge = self.rcv_nxt;
        self.take_window(syn.seq, syn.ack, self.window_of(syn));
        match syn.options.timestamps {
            Some(ts) if self.is(Marks::TIMESTAMPS) => self.ts_recent = ts.value,
            _ => self.marks.remove(Marks::TIMESTAMPS),
        }
        match syn.options.window_scale {
            // A larger shift count is taken as 14 (RFC 7323 2.3).
            Some(shift) if self.is(Marks::WINDOW_SCALE) => self.snd_wscale = shift.min(14),
            _ => {
                self.marks.remove(Marks::WINDOW_SCALE);
                self.rcv_wscale = 0;
            }
        }
        if !syn.options.sack_permitted {
            self.marks.remove(Marks::SACK_PERMITTED);
        }
        self.peer_mss = syn.options.mss.unwrap_or(0);
        self.set_segment_size();
    }

    /// The largest segment that both ends and the options allow (RFC 9293 3.7.1, RFC 6691).
    pub(crate) fn set_segment_size(&mut self) {
        let peer = if self.peer_mss == 0 {
            MSS_DEFAULT
        } else {
            self.peer_mss.max(MSS_MIN)
        };
        let options = if self.is(Marks::TIMESTAMPS) {
            TIMESTAMPS_BYTES
        } else {
            0
        };
        let path = match self.path_mss {
            0 => u16::MAX,
            limit => limit,
        };
        self.mss = peer.min(self.adv_mss).min(path) - options;
        if self.snd_una == self.iss {
            self.congestion.set_segment_size(u32::from(self.mss));
        }
    }

    /// The options of our SYN or SYN-ACK.
    pub(crate) fn syn_options(&self, now: Nanos) -> Options {
        Options {
            mss: Some(self.adv_mss),
            window_scale: self.is(Marks::WINDOW_SCALE).then_some(self.rcv_wscale),
            timestamps: self.timestamps_option(now),
            sack_permitted: self.is(Marks::SACK_PERMITTED),
            fast_open: self.fast_open_option(),
            ..Options::default()
        }
    }

    /// A segment arrives in SYN-SENT (RFC 9293 3.10.7.3).
    pub(crate) fn on_segment_in_syn_sent(
        &mut self,
        env: &mut Env<'_, '_>,
        seg: &Repr,
        payload: Foreign<'_>,
    ) -> Events {
        let acks = seg.flags.contains(Flags::ACK);
        if acks && (seg.ack.le(self.iss) || seg.ack.gt(self.snd_nxt)) {
            if !seg.flags.contains(Flags::RST) {
                self.reset_with(seg.ack);
            }
            return Events::empty();
        }
        if acks && !self.echoes_our_syn(seg, env.now) {
            if !seg.flags.contains(Flags::RST) {
                self.reset_with(seg.ack);
            }
            return Events::empty();
        }
        if seg.flags.contains(Flags::RST) {
            if !acks {
                return Events::empty();
            }
            self.fail(env, Error::Refused);
            return Events::REFUSED | Events::CLOSED;
        }
        if !seg.flags.contains(Flags::SYN) {
            return Events::empty();
        }
        self.synchronize(seg);
        if acks {
            self.ecn.on_syn_ack(seg.flags);
        }
        if !acks {
            // Both ends open at once (RFC 9293 3.5, figure 8).
            self.ecn.ask(Ecn::Off);
            self.set_state(State::SynReceived);
            self.marks.insert(Marks::SYN_DUE);
            self.retries = 0;
            return Events::empty();
        }
        self.on_fast_open_answer(env, seg);
        let mut events = self.establish(env, seg);
        self.marks.insert(Marks::ACK_NOW);
        if !payload.is_empty() || seg.flags.contains(Flags::FIN) {
            events |= self.on_text_and_fin(env, seg.seq + 1, seg.flags, payload);
        }
        events
    }

    /// Whether the timestamp that a segment echoes can be that of a SYN of ours (as Linux: what does not is another
    /// connection's).
    fn echoes_our_syn(&self, seg: &Repr, now: Nanos) -> bool {
        let Some(ts) = seg.options.timestamps else {
            return true;
        };
        let (first, last) = (self.ts_now(self.stalled_since), self.ts_now(now));
        let known = !is_older(ts.echo, first) && !is_older(last, ts.echo);
        known || ts.echo == 0 || !self.is(Marks::TIMESTAMPS)
    }

    /// SYN-RECEIVED is over: the peer has acknowledged our SYN, sent in answer to its own.
    pub(crate) fn open_from_both_ends(&mut self, env: &mut Env<'_, '_>, seg: &Repr) -> Events {
        if !self.rare.contains(Rare::PASSIVE) {
            self.on_fast_open_answer(env, seg);
            if seg.flags.contains(Flags::SYN) {
                // Told as Linux tells it: the SYN has come twice.
                self.note_arrived_twice(self.irs, self.irs + 1);
                self.marks.insert(Marks::ACK_NOW);
            }
        }
        self.establish(env, seg)
    }

    /// Our SYN is acknowledged and the peer's received: to ESTABLISHED, or on to FIN-WAIT-1 where the program has
    /// closed meanwhile.
    pub(crate) fn establish(&mut self, env: &mut Env<'_, '_>, seg: &Repr) -> Events {
        let echo = seg.options.timestamps.map(|ts| ts.echo);
        self.measure_round_trip(seg.ack, echo, env.now);
        self.snd_una = seg.ack;
        (self.snd_sml, self.recover) = (seg.ack - 1, seg.ack - 1);
        self.piece_end = self.recover;
        (self.retries, self.backoff) = (0, 0);
        self.marks.remove(Marks::SYN_DUE);
        self.deadlines.clear(Timer::Retransmit);
        self.take_window(seg.seq, seg.ack, self.window_of(seg));
        self.set_state(State::Established);
        self.last_data_rx = env.now - DELAYED_ACK;
        self.start_keepalive(env.now);
        if self.is(Marks::FIN_QUEUED) {
            self.set_state(State::FinWait1);
            self.marks.insert(Marks::SEND_DUE);
        }
        if self.is_outstanding() {
            self.resend_syn_text(env);
        } else if self.has_unsent() {
            // What waited for this answers it at once (as Linux: acknowledgements wait for answers from now on).
            self.marks.insert(Marks::SEND_DUE | Marks::PINGPONG);
        }
        Events::CONNECTED | Events::WRITABLE
    }

    /// Notes the window of a segment that is newer than the one noted last.
    #[inline]
    pub(crate) fn take_window(&mut self, seq: Seq, ack: Seq, window: u32) {
        self.snd_wnd = window;
        self.snd_wl1 = seq;
        self.snd_wl2 = ack;
        self.snd_wnd_max = self.snd_wnd_max.max(self.snd_wnd);
    }

    /// The window that a segment announces, in bytes; those with SYN are not scaled (RFC 7323 2.2).
    #[inline]
    pub(crate) fn window_of(&self, seg: &Repr) -> u32 {
        let shift = if seg.flags.contains(Flags::SYN) {
            0
        } else {
            self.snd_wscale
        };
        u32::from(seg.window) << shift
    }
}

//! What can be seen of a connection: TCP_INFO, statistics.

use crate::congestion::Algorithm;
use crate::fast_open::FastFailure;
use crate::recovery::Phase;
use crate::state::State;
use crate::tcb::{Marks, Tcb};
use crate::timer::{DELAYED_ACK, Timer};
use sidestep_shm::Nanos;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a connection counts.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Counters {
    /// Bytes of text received in order.
    pub bytes_received: u64,
    /// Bytes of text acknowledged by the peer.
    pub bytes_acked: u64,
    /// Nanoseconds in which something was outstanding or waited for the peer's window, up to the last progress.
    pub busy_ns: u64,
    /// Segments received.
    pub segments_in: u32,
    /// Segments sent.
    pub segments_out: u32,
    /// Segments with text received.
    pub data_segments_in: u32,
    /// Segments with text or FIN sent, also again.
    pub data_segments_out: u32,
    /// Segments with text, SYN or FIN sent again.
    pub retransmits: u32,
    /// Losses found by what was acknowledged, before a timeout.
    pub fast_retransmits: u32,
    /// Retransmission timeouts.
    pub timeouts: u32,
    /// Segments received ahead of a hole.
    pub segments_ahead: u32,
    /// Segments dropped, in part at least, because there was no buffer.
    pub dropped_no_buffer: u32,
    /// Acknowledgements that were not sent because of their rate (RFC 5961 section 7).
    pub challenges_suppressed: u32,
    /// Window and keepalive probes sent.
    pub probes: u32,
    /// Probes of the tail sent (RFC 8985).
    pub tail_probes: u32,
    /// Reports of the peer that something came twice (RFC 2883).
    pub repeats_reported: u32,
    /// Reductions of the congestion window that were taken back.
    pub reductions_undone: u32,
    /// Bytes of text sent again.
    pub bytes_repeated: u64,
    /// Times that segments were seen to overtake each other.
    pub reorderings: u32,
    /// Windows in which the peer reported congestion (RFC 3168).
    pub congestion_echoes: u32,
}

/// What TCP_INFO needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The state.
    pub state: State,
    /// Where loss recovery stands.
    pub phase: Phase,
    /// The congestion control in use.
    pub algorithm: Algorithm,
    /// Timeouts in a row without progress.
    pub retransmits: u8,
    /// Window or keepalive probes in a row without an answer.
    pub probes: u8,
    /// Doublings of the timeout.
    pub backoff: u8,
    /// Something in flight is amiss, or the peer has it out of order.
    pub disturbed: bool,
    /// Timestamps are in use.
    pub timestamps: bool,
    /// SACK is in use.
    pub sack: bool,
    /// The peer took the data of our SYN, or we that of its (RFC 7413).
    pub syn_data: bool,
    /// Why our SYN had no data that the peer took, where it was to have some.
    pub fast_failure: Option<FastFailure>,
    /// How often our SYN or SYN-ACK was repeated.
    pub syn_repeats: u8,
    /// Our SYN arrived, and not as one with data that arrived with it.
    pub syn_delivered: bool,
    /// ECN is in use.
    pub ecn: bool,
    /// Shift counts of the windows that we receive and send, if scaled.
    pub window_scale: Option<(u8, u8)>,
    /// The retransmission timeout.
    pub rto: Nanos,
    /// The smoothed round-trip time, 0 if unknown.
    pub rtt: Nanos,
    /// Its variation.
    pub rttvar: Nanos,
    /// The least round-trip time seen, 0 if unknown.
    pub rtt_min: Nanos,
    /// Largest payload sent in a segment, the estimate of the peer's, and the MSS that we announced.
    pub snd_mss: u16,
    /// Estimate of the payload in the peer's full segments.
    pub rcv_mss: u16,
    /// The MSS announced.
    pub adv_mss: u16,
    /// Congestion window in bytes.
    pub snd_cwnd_bytes: u32,
    /// Slow start threshold in bytes; `u32::MAX` before the first loss.
    pub snd_ssthresh_bytes: u32,
    /// The peer's window in bytes.
    pub snd_wnd_bytes: u32,
    /// Our window in bytes, as announced.
    pub rcv_wnd_bytes: u32,
    /// Bytes sent and not acknowledged.
    pub unacked_bytes: u32,
    /// Of these, bytes that the peer has, out of order.
    pub sacked_bytes: u32,
    /// Of these, bytes believed lost and not yet sent again.
    pub lost_bytes: u32,
    /// Of these, bytes sent again.
    pub repeated_bytes: u32,
    /// By how many segments others were seen to be overtaken; 0 for none.
    pub reordering: u8,
    /// Bytes queued and not sent.
    pub unsent_bytes: u32,
    /// Bytes received that wait for the reader.
    pub unread_bytes: u32,
    /// Bytes received that wait behind a hole.
    pub ahead_bytes: u32,
    /// Size of the receive buffer.
    pub rcv_buf_bytes: u32,
    /// What the program read in a round trip, as far as known: what the buffer's growth goes by.
    pub rcv_space_bytes: u32,
    /// The longest time for which an acknowledgement is held back now.
    pub ack_timeout: Nanos,
    /// Most bytes of a segment that the path carries, without options.
    pub path_mss: u16,
    /// Bytes a second at which segments leave where they are spread, or would; `u64::MAX` where nothing is known.
    pub pacing_rate: u64,
    /// Its limit; `u64::MAX` for none.
    pub pacing_rate_max: u64,
    /// Bytes a second that arrived lately, where the congestion control measures it; else 0.
    pub delivery_rate: u64,
    /// For how long something was outstanding, or waited for the peer's window.
    pub busy: Nanos,
    /// For how long there was more to send than the peer's window allowed.
    pub limited_by_peer: Nanos,
    /// For how long a program had more to write than the send buffer held.
    pub limited_by_buffer: Nanos,
    /// When data was last sent.
    pub last_data_sent: Nanos,
    /// When data was last received; when the connection was established where none was, as Linux has it.
    pub last_data_received: Nanos,
    /// When a valid segment was last received.
    pub last_received: Nanos,
    /// Counters.
    pub counters: Counters,
}

impl Tcb {
    /// When data came last.
    pub const fn last_data_received(&self) -> Nanos {
        self.last_data_rx
    }

    /// All that can be told as of when something was last sent or received.
    pub fn info(&self) -> Info {
        self.info_at(self.last_rx.max(self.last_tx))
    }

    /// All that can be told at a time.
    pub fn info_at(&self, now: Nanos) -> Info {
        let (by_peer, by_buffer) = self.limited.sums(now);
        let idle = self.probes_window();
        Info {
            state: self.told_state(),
            syn_data: self.opening.data_taken(),
            fast_failure: self.fast_failure(),
            syn_repeats: self.opening.repeats,
            syn_delivered: self.is_syn_delivered(),
            phase: self.phase(),
            algorithm: self.congestion.algorithm(),
            retransmits: if idle { 0 } else { self.retries },
            probes: if idle { self.retries } else { self.keep_probes },
            backoff: self.backoff,
            disturbed: self.dup_acks > 0 || self.scoreboard.sacked_bytes() > 0,
            timestamps: self.is(Marks::TIMESTAMPS),
            sack: self.is(Marks::SACK_PERMITTED),
            ecn: self.ecn.is_on(),
            window_scale: self
                .is(Marks::WINDOW_SCALE)
                .then_some((self.snd_wscale, self.rcv_wscale)),
            rto: self.rtt.rto(self.backoff),
            rtt: Nanos(self.rtt.srtt_ns),
            rttvar: Nanos(self.rtt.rttvar_ns),
            rtt_min: Nanos(if self.rtt.srtt_ns == 0 {
                0
            } else {
                self.rtt.min_ns
            }),
            snd_mss: self.mss,
            rcv_mss: self.rcv_mss,
            adv_mss: self.adv_mss,
            snd_cwnd_bytes: self.congestion.cwnd,
            snd_ssthresh_bytes: self.congestion.ssthresh,
            snd_wnd_bytes: self.snd_wnd,
            rcv_wnd_bytes: self.rcv_wnd(),
            unacked_bytes: self.snd_nxt.0.wrapping_sub(self.snd_una.0),
            sacked_bytes: self.scoreboard.sacked_bytes(),
            lost_bytes: self.scoreboard.lost_bytes(),
            repeated_bytes: self.scoreboard.repeated_bytes(),
            reordering: self.reordering_segments(),
            unsent_bytes: self.unsent_bytes(),
            unread_bytes: self.rcv.len(),
            ahead_bytes: self.rcv.ahead_bytes(),
            rcv_buf_bytes: self.rcv_buf_bytes,
            rcv_space_bytes: self.round.read_bytes,
            ack_timeout: DELAYED_ACK,
            path_mss: match self.path_mss {
                0 => self.adv_mss,
                limit => limit.min(self.adv_mss),
            },
            pacing_rate: self.pacing_rate(),
            pacing_rate_max: match self.pacing_max() {
                0 => u64::MAX,
                most => most,
            },
            delivery_rate: self.pacing.delivery_rate,
            busy: self.busy(now),
            limited_by_peer: Nanos(by_peer),
            limited_by_buffer: Nanos(by_buffer),
            last_data_sent: self.last_tx,
            last_data_received: self.told_data_received(),
            last_received: self.last_rx,
            counters: self.counters,
        }
    }

    /// Whether something waits for the peer's window, with nothing outstanding.
    fn probes_window(&self) -> bool {
        !self.is_outstanding() && self.deadlines.at(Timer::Retransmit) != Nanos::NEVER
    }

    fn busy(&self, now: Nanos) -> Nanos {
        let mut busy = Nanos(self.counters.busy_ns);
        if self.is_outstanding() || self.probes_window() {
            busy = busy + (now - self.stalled_since);
        }
        busy
    }

    /// When data was last received, or the connection established if there was none.
    fn told_data_received(&self) -> Nanos {
        match self.counters.data_segments_in {
            0 => self.last_data_rx + DELAYED_ACK,
            _ => self.last_data_rx,
        }
    }

    /// The state, as Linux names it where data was taken before the handshake was complete.
    fn told_state(&self) -> State {
        if self.is_half_open() {
            State::SynReceived
        } else {
            self.state()
        }
    }

    /// The counters.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}

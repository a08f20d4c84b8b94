//! The transmission control block: every variable of one connection, as plain data of fixed size.
//!
//! ```text
//! byte   0  state, phase, marks, sequence space          what every segment reads and writes
//!       64  receive queue, send queue and its cursor
//!      128  deadlines, round-trip time, congestion window
//!      328  what is known of everything in flight
//!      472  times, buffer sizes, ports, options, counters, loss recovery
//! ```
//! All fields are written by the holder of the stack's lock only.

use crate::autotune::Round;
use crate::choices::Choices;
use crate::congestion::{Algorithm, Congestion};
use crate::ecn::{Accurate, Ecn, EcnBits};
use crate::fast_open::Opening;
use crate::info::Counters;
use crate::limited::Limited;
use crate::pacing::Pacing;
use crate::recovery::scoreboard::Scoreboard;
use crate::recovery::{Phase, Recovery};
use crate::recv_queue::RecvQueue;
use crate::rtt::Rtt;
use crate::sack_blocks::Blocks;
use crate::search::Search;
use crate::send_queue::SendQueue;
use crate::state::{Error, Events, State};
use crate::timer::Deadlines;
use crate::urgent::Urgent;
use bitflags::bitflags;
use sidestep_shm::{ChunkPool, Nanos};
use sidestep_wire::Seq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a call on a connection needs of its surroundings.
pub struct Env<'e, 'm> {
    /// The time.
    pub now: Nanos,
    /// Where buffers come from.
    pub pool: &'e mut ChunkPool<'m>,
}

/// What a connection is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Largest segment the link and path carry, in bytes of payload without options (the MSS we announce).
    pub mss: u16,
    /// As `mss`, for segments that we send, where the path is known to carry less; 0 where it is not.
    pub path_mss: u16,
    /// Most bytes kept for the reader; the receive window at rest.
    pub rcv_buf_bytes: u32,
    /// Largest value that `rcv_buf_bytes` may be raised to later; decides the window scale.
    pub rcv_buf_bytes_max: u32,
    /// Most bytes kept for the peer, sent or not.
    pub snd_buf_bytes: u32,
    /// Bytes that may wait to be sent, where the program has not said (TCP_NOTSENT_LOWAT); 0 for no limit.
    pub unsent_low: u32,
    /// How long TIME-WAIT lasts.
    pub time_wait: Nanos,
    /// Offer timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offer window scaling (RFC 7323).
    pub window_scale: bool,
    /// Offer selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: Ecn,
    /// What moves the congestion window.
    pub congestion: Algorithm,
    /// Begin anew with slow start after a pause (`net.ipv4.tcp_slow_start_after_idle`).
    pub slow_start_after_idle: bool,
    /// Segments at least of a burst that is pushed as one (`net.ipv4.tcp_min_tso_segs`).
    pub burst_segments: u8,
    /// How often a SYN is repeated before giving up.
    pub syn_retries: u8,
    /// How often data is repeated before giving up.
    pub data_retries: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mss: 1460,
            path_mss: 0,
            rcv_buf_bytes: 256 << 10,
            rcv_buf_bytes_max: 4 << 20,
            snd_buf_bytes: 256 << 10,
            unsent_low: 0,
            time_wait: Nanos::from_secs(60),
            timestamps: true,
            window_scale: true,
            sack: true,
            ecn: Ecn::Accept,
            congestion: Algorithm::Cubic,
            slow_start_after_idle: true,
            burst_segments: 2,
            syn_retries: 6,
            data_retries: 15,
        }
    }
}

/// Facts about a connection, one bit each. The low ones ask for output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub(crate) struct Marks(u32);

bitflags! {
    impl Marks: u32 {
        /// A segment with SYN is to be sent.
        const SYN_DUE = 1;
        /// An acknowledgement is to be sent at once.
        const ACK_NOW = 1 << 1;
        /// The first segment that is lost is to be sent again, whatever the windows say.
        const RETRANSMIT = 1 << 2;
        /// Queued data or a FIN may be sendable.
        const SEND_DUE = 1 << 3;
        /// A window or keepalive probe is to be sent.
        const PROBE_DUE = 1 << 4;
        /// A RST with sequence number `reset_seq` is to be sent.
        const RST_DUE = 1 << 5;
        /// A tail probe is to be sent (RFC 8985 section 7).
        const TAIL_PROBE_DUE = 1 << 29;
        /// Any of these makes `wants_output`.
        const OUTPUT = 0x3f | 1 << 29;

        /// An acknowledgement is owed, by the delayed-ACK deadline at the latest.
        const ACK_PENDING = 1 << 6;
        /// Timestamps are in use.
        const TIMESTAMPS = 1 << 7;
        /// The peer permits SACK.
        const SACK_PERMITTED = 1 << 8;
        /// Windows are scaled; else both shift counts are 0.
        const WINDOW_SCALE = 1 << 9;
        /// TCP_NODELAY.
        const NODELAY = 1 << 10;
        /// TCP_CORK.
        const CORK = 1 << 11;
        /// The last write said that more follows (MSG_MORE).
        const MORE = 1 << 12;
        /// A held-back partial segment has waited long enough.
        const UNCORKED = 1 << 13;
        /// SO_KEEPALIVE.
        const KEEPALIVE = 1 << 14;
        /// The program has ended its direction: a FIN follows the queue.
        const FIN_QUEUED = 1 << 15;
        /// The FIN has been sent at least once.
        const FIN_SENT = 1 << 16;
        /// Our FIN has been acknowledged.
        const FIN_ACKED = 1 << 17;
        /// A FIN was received at `rcv_fin`, perhaps ahead of data.
        const FIN_RECEIVED = 1 << 18;
        /// The program has closed the connection: nobody reads any more.
        const ORPHANED = 1 << 19;
        /// A round-trip sample is being taken up to `rtt.seq`.
        const RTT_TIMED = 1 << 20;
        /// The connection answers: data goes out soon after data comes in, so acknowledgements can wait for it.
        const PINGPONG = 1 << 21;
        /// A write found too little room; tell when there is room again.
        const NO_SPACE = 1 << 22;
        /// The last transmission stopped at the congestion window.
        const CWND_LIMITED = 1 << 23;
        /// The last write said that more follows, and nothing has been acknowledged since.
        const HELD = 1 << 24;
        /// TCP_QUICKACK was asked for.
        const QUICKACK = 1 << 25;
        /// A segment with PSH came since we last acknowledged; a second one.
        const PUSHED = 1 << 27;
        /// See `PUSHED`.
        const PUSHED_TWICE = 1 << 28;
        /// Segments are spread over time.
        const PACED = 1 << 30;
        /// Urgent data of ours is not acknowledged.
        const URGENT = 1 << 31;
        /// Records are kept apart, or somebody wants to know what becomes of bytes.
        const SPECIAL = 1 << 26;
    }
}

/// Facts that few segments ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub(crate) struct Rare(u8);

bitflags! {
    impl Rare: u8 {
        /// Opened passively (RFC 9293 3.10.7.4: decides what a RST in SYN-RECEIVED means).
        const PASSIVE = 1;
        /// The RST that is due has an acknowledgement, `reset_ack`.
        const RST_ACKS = 2;
        /// Acknowledgements of text are told, see [`Tcb::watch_acknowledgements`].
        const WATCHED = 4;
        /// A window that was not used for a while is kept (`net.ipv4.tcp_slow_start_after_idle` is 0).
        const KEEPS_WINDOW = 8;
        /// The last write was not taken as a whole.
        const WRITER_WAITS = 16;
        /// Our FIN went by itself.
        const FIN_ALONE = 32;
    }
}

/// One connection. Zeroed memory is a CLOSED one.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Tcb {
    /// A [`State`].
    pub(crate) state: u8,
    /// A [`Phase`] of loss recovery.
    pub(crate) phase: u8,
    /// Duplicate acknowledgements in a row; with SACK, 1 while anything is amiss in flight.
    pub(crate) dup_acks: u8,
    pub(crate) ecn: EcnBits,
    /// Where the peer's urgent byte is, by `urgent`; 0 where there is none.
    pub(crate) urgent_in: u8,
    /// Timeouts in a row without progress.
    pub(crate) retries: u8,
    /// Keepalive probes sent without an answer.
    pub(crate) keep_probes: u8,
    /// An [`Error`] for SO_ERROR, 0 for none.
    pub(crate) error: u8,
    pub(crate) marks: Marks,

    // Send sequence space (RFC 9293 3.3.1).
    pub(crate) snd_una: Seq,
    /// Highest sequence number ever sent, plus one: what is sent again does not move it.
    pub(crate) snd_nxt: Seq,
    /// A [`Wait`](crate::timer::Wait): what the first deadline is for.
    pub(crate) wait: u8,
    /// Shift count of windows we receive.
    pub(crate) snd_wscale: u8,
    /// Shift count of windows we send.
    pub(crate) rcv_wscale: u8,
    /// Acknowledgements that are still sent at once, at the beginning of a connection.
    pub(crate) quick_acks: u8,
    pub(crate) snd_wnd: u32,
    pub(crate) snd_wl1: Seq,
    pub(crate) snd_wl2: Seq,

    // Receive sequence space.
    pub(crate) rcv_nxt: Seq,
    /// The right edge of the window that we have advertised; never moves back.
    pub(crate) rcv_adv: Seq,
    /// RCV.NXT in the last acknowledgement sent (Last.ACK.sent of RFC 7323).
    pub(crate) rcv_acked: Seq,
    /// TS.Recent (RFC 7323).
    pub(crate) ts_recent: u32,
    pub(crate) ts_offset: u32,
    /// Most payload in a segment that we send, options deducted.
    pub(crate) mss: u16,
    /// Estimate of the payload in the peer's full segments.
    pub(crate) rcv_mss: u16,
    /// End of the last partial segment sent (Minshall's variant of Nagle).
    pub(crate) snd_sml: Seq,

    pub(crate) rcv: RecvQueue,
    pub(crate) snd: SendQueue,
    pub(crate) deadlines: Deadlines,
    pub(crate) rtt: Rtt,
    pub(crate) congestion: Congestion,
    /// SND.NXT when recovery began (RFC 6582).
    pub(crate) recover: Seq,
    /// Without SACK: bytes that must have left the network, by duplicate acknowledgements.
    pub(crate) left_bytes: u32,
    pub(crate) scoreboard: Scoreboard,

    /// When something was last received, and data was last sent.
    pub(crate) last_rx: Nanos,
    pub(crate) last_tx: Nanos,
    /// When data was last received: before there is any, so long ago that nothing answers it.
    pub(crate) last_data_rx: Nanos,
    /// Since when the oldest outstanding data makes no progress.
    pub(crate) stalled_since: Nanos,
    /// When the last rate-limited acknowledgement was sent (RFC 5961 section 10).
    pub(crate) challenged_at: Nanos,
    pub(crate) round: Round,
    /// Where the peer's FIN is in sequence.
    pub(crate) rcv_fin: Seq,
    /// Sequence number of the RST to send.
    pub(crate) reset_seq: Seq,
    /// What it acknowledges, with [`Rare::RST_ACKS`].
    pub(crate) reset_ack: Seq,
    /// The largest window the peer ever offered.
    pub(crate) snd_wnd_max: u32,
    pub(crate) iss: Seq,
    pub(crate) irs: Seq,
    pub(crate) rcv_buf_bytes: u32,
    /// How far it may grow; what the window scale was chosen for.
    pub(crate) rcv_buf_bytes_max: u32,
    pub(crate) snd_buf_bytes: u32,
    /// TCP_NOTSENT_LOWAT; 0 for none.
    pub(crate) unsent_low: u32,
    pub(crate) local_port: u16,
    pub(crate) remote_port: u16,
    /// The MSS we announce.
    pub(crate) adv_mss: u16,
    /// The MSS that the peer announced, 0 if none.
    pub(crate) peer_mss: u16,

    /// Doublings of the timeout.
    pub(crate) backoff: u8,
    /// An [`Error`] that ICMP hinted at; reported if the connection times out.
    pub(crate) soft_error: u8,
    pub(crate) syn_retries: u8,
    pub(crate) data_retries: u8,
    pub(crate) keep_count: u8,
    /// Whether the path's limit is searched for.
    pub(crate) searches: u8,
    pub(crate) keep_idle_s: u16,
    pub(crate) keep_interval_s: u16,
    /// Most payload in a segment, without options, that the path carries; 0 where nothing is known of it.
    pub(crate) path_mss: u16,
    pub(crate) user_timeout_ms: u32,
    pub(crate) time_wait: Nanos,
    pub(crate) blocks: Blocks,
    pub(crate) recovery: Recovery,
    pub(crate) choices: Choices,
    pub(crate) pacing: Pacing,
    /// Chunk + 1 of what BBR knows; 0 for none.
    pub(crate) model: u32,
    pub(crate) urgent: Urgent,
    pub(crate) search: Search,
    pub(crate) opening: Opening,
    /// Whole segments with new data that have left one after another, of so many that make a burst.
    pub(crate) burst: u8,
    pub(crate) burst_max: u8,
    pub(crate) rare: Rare,
    pub(crate) accurate: Accurate,
    /// So many at least, where the window has room for twice as many.
    pub(crate) burst_min: u8,
    pub(crate) _reserved2: u8,
    /// Where the bursts of `burst_max` segments began that left last.
    pub(crate) bursts_from: Seq,
    /// Where the piece of the send queue ends that is being sent, where windows are small; see `pieces`.
    pub(crate) piece_end: Seq,
    pub(crate) limited: Limited,
    pub(crate) counters: Counters,
}

/// A table entry should stay small: an idle connection costs 2 KiB at most, all told.
const _: () = assert!(size_of::<Tcb>() <= 1088);
const _: () = assert!(core::mem::offset_of!(Tcb, rcv) == 64);
const _: () = assert!(core::mem::offset_of!(Tcb, deadlines) == 128);
const _: () = assert!(core::mem::offset_of!(Tcb, scoreboard) == 328);
const _: () = assert!(core::mem::offset_of!(Tcb, last_rx) == 472);

impl Tcb {
    /// A CLOSED connection.
    pub fn new() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }

    /// The state.
    #[inline]
    pub const fn state(&self) -> State {
        State::from_byte(self.state)
    }

    /// Why the connection failed. Taken: the next call returns none, as `SO_ERROR` does.
    pub const fn error(&mut self) -> Option<Error> {
        let error = Error::from_byte(self.error);
        self.error = 0;
        error
    }

    /// Why the connection failed, left in place.
    pub const fn peek_error(&self) -> Option<Error> {
        Error::from_byte(self.error)
    }

    /// The local port it was opened with.
    #[inline]
    pub const fn local_port(&self) -> u16 {
        self.local_port
    }

    /// The peer's port.
    #[inline]
    pub const fn remote_port(&self) -> u16 {
        self.remote_port
    }

    /// Whether the program has closed it.
    #[inline]
    pub const fn is_orphaned(&self) -> bool {
        self.marks.contains(Marks::ORPHANED)
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) may have something.
    #[inline]
    pub const fn wants_output(&self) -> bool {
        self.marks.intersects(Marks::OUTPUT)
    }

    /// Whether the connection is established and nothing is amiss: no recovery, no timeout, no marks of congestion, nothing
    /// urgent, no unanswered probe, no error. All bytes that say so lie together, and are compared at once.
    #[inline]
    pub(crate) const fn is_calm(&self) -> bool {
        const CALM: u64 = u64::from_ne_bytes([
            State::Established as u8,
            Phase::Open as u8,
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        let bytes = [
            self.state,
            self.phase,
            self.dup_acks,
            self.ecn.bits(),
            self.urgent_in,
            self.retries,
            self.keep_probes,
            self.error,
        ];
        u64::from_ne_bytes(bytes) == CALM
    }

    #[inline]
    pub(crate) fn set_state(&mut self, state: State) {
        self.state = state as u8;
    }

    #[inline]
    pub(crate) const fn is(&self, mark: Marks) -> bool {
        self.marks.intersects(mark)
    }

    /// Events for the caller: those given, and OUTPUT where it applies.
    #[inline]
    pub(crate) const fn events(&self, events: Events) -> Events {
        if self.wants_output() {
            events.union(Events::OUTPUT)
        } else {
            events
        }
    }

    /// Bytes and flags that are sent and not acknowledged in sequence.
    #[inline]
    pub(crate) const fn flight_bytes(&self) -> u32 {
        self.snd_nxt.0.wrapping_sub(self.snd_una.0)
    }

    /// Whether something sent is not yet acknowledged.
    #[inline]
    pub(crate) fn is_outstanding(&self) -> bool {
        self.snd_nxt != self.snd_una
    }

    /// Queued bytes that SND.NXT has not passed.
    #[inline]
    pub(crate) const fn unsent_bytes(&self) -> u32 {
        self.snd.len().saturating_sub(self.flight_bytes())
    }

    /// Our timestamp clock (RFC 7323 section 5.4): milliseconds, shifted for each connection.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the clock wraps around")]
    pub(crate) const fn ts_now(&self, now: Nanos) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.ts_offset)
    }
}

impl Default for Tcb {
    fn default() -> Self {
        Self::new()
    }
}

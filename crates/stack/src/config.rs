//! How large the tables of a stack are. Fixed when it is created; memory is taken as it is first touched.

use sidestep_nic::fault::Spec;
use sidestep_tcp::Ecn;

/// What [`Offers::burst_segments`] is where nobody says.
const BURST_SEGMENTS: u8 = 2;

/// What connections offer their peers, and accept of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// Timestamps (RFC 7323).
    pub timestamps: bool,
    /// Window scaling (RFC 7323).
    pub window_scale: bool,
    /// Selective acknowledgements (RFC 2018).
    pub sack: bool,
    /// Explicit congestion notification (RFC 3168).
    pub ecn: Ecn,
    /// Slow start after a pause (`net.ipv4.tcp_slow_start_after_idle`).
    pub slow_start_after_idle: bool,
    /// Segments at least of a burst that is pushed as one (`net.ipv4.tcp_min_tso_segs`).
    pub burst_segments: u8,
    /// Bytes that may wait to be sent where a program does not say (`net.ipv4.tcp_notsent_lowat`); 0 for no limit.
    pub unsent_low: u32,
    /// Bytes that sockets buffer to send from now on, where the administrator says (`net.ipv4.tcp_wmem`); 0 for
    /// [`Config::snd_buf_bytes`].
    pub snd_buf_bytes: u32,
}

impl Default for Offers {
    fn default() -> Self {
        Self::from_bits(0, 0)
    }
}

impl Offers {
    /// As the stack's header keeps them: a bit for what differs from the default.
    pub(crate) fn bits(self) -> u32 {
        u32::from(!self.timestamps)
            | u32::from(!self.window_scale) << 1
            | u32::from(!self.sack) << 2
            | (self.ecn as u32 ^ Ecn::Accept as u32) << 3
            | u32::from(!self.slow_start_after_idle) << 6
            | u32::from(self.burst_segments ^ BURST_SEGMENTS) << 8
    }

    pub(crate) const fn from_bits(bits: u32, unsent_low: u32) -> Self {
        Self {
            timestamps: bits & 1 == 0,
            window_scale: bits & 2 == 0,
            sack: bits & 4 == 0,
            unsent_low,
            snd_buf_bytes: 0,
            ecn: Ecn::from_number(bits >> 3 & 7 ^ Ecn::Accept as u32),
            slow_start_after_idle: bits & 1 << 6 == 0,
            burst_segments: bits.to_le_bytes()[1] ^ BURST_SEGMENTS,
        }
    }
}

/// Capacities and defaults of a new stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What `ps` calls the stack: the program's name, cut to 31 bytes.
    pub name: String,
    /// The stack's identity, random, the same for all its processes.
    pub id: u64,
    /// Inode of the network namespace that its addresses belong to.
    pub netns: u64,
    /// Sockets, listening, connected, closing and in TIME-WAIT together.
    pub sockets_max: usize,
    /// Data buffers of `CHUNK_BYTES`.
    pub chunks_max: usize,
    /// Secret that hashes and initial sequence numbers are made from.
    pub secret: u64,
    /// Bytes that a TCP socket buffers to send.
    pub snd_buf_bytes: u32,
    /// Bytes that a TCP socket buffers for the reader.
    pub rcv_buf_bytes: u32,
    /// Compute and verify checksums even on wires that vouch for their frames.
    pub checksums: bool,
    /// Answer with cookies where the queue of a listening socket is full (`net.ipv4.tcp_syncookies`).
    pub syn_cookies: bool,
    /// What may be opened fast (`net.ipv4.tcp_fastopen`), see [`FastRules`](crate::FastRules).
    pub fast_open: u32,
    /// What is done to frames on their way, for a program that is to see a bad link.
    pub faults: Option<Spec>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: String::new(),
            id: 0,
            netns: 0,
            sockets_max: 65_536,
            chunks_max: 65_536,
            secret: 0,
            snd_buf_bytes: 1 << 20,
            rcv_buf_bytes: 1 << 20,
            checksums: false,
            syn_cookies: false,
            fast_open: 1,
            faults: None,
        }
    }
}

//! `struct tcp_info` of linux/tcp.h, up to `tcpi_total_rto_time`, as far as its fields have a meaning here. What Linux
//! counts in segments is told in full ones.

use sidestep_shm::Nanos;
use sidestep_tcp::{Info, Phase, State};

/// Bytes of the structure, with the counters of AccECN at its end, which are 0 where that is not in use.
pub const TCP_INFO_BYTES: usize = 280;

/// `tcpi_options`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const WINDOW_SCALE: u8 = 4;
const ECN: u8 = 8;
const SYN_DATA: u8 = 32;
/// `TCP_INFINITE_SSTHRESH`.
const NO_SSTHRESH: u32 = 0x7fff_ffff;
/// `TCP_FASTRETRANS_THRESH`.
const REORDERING: u32 = 3;

/// The structure's bytes; `header_bytes` is what IP and TCP headers without options take of a packet.
pub(crate) fn tcp_info(info: &Info, header_bytes: u16, now: Nanos) -> [u8; TCP_INFO_BYTES] {
    let mut out = Writer::new();
    let (rcv_scale, snd_scale) = info.window_scale.unwrap_or((0, 0));
    let bit = |is: bool, bit: u8| if is { bit } else { 0 };
    out.bytes(&[
        state(info.state),
        congestion_state(info),
        info.retransmits,
        info.probes,
        info.backoff,
        bit(info.timestamps, TIMESTAMPS)
            | bit(info.sack, SACK)
            | bit(info.window_scale.is_some(), WINDOW_SCALE)
            | bit(info.ecn, ECN)
            | bit(info.syn_data, SYN_DATA),
        // What the peer scales by, then we.
        rcv_scale & 0xf | snd_scale << 4,
        // Behind a bit for what is not known here.
        info.fast_failure.map_or(0, |why| why as u8) << 1,
    ]);
    segments_and_times(&mut out, info, header_bytes, now);
    sums(&mut out, info);
    out.bytes
}

/// From `tcpi_rto` to `tcpi_total_retrans`.
fn segments_and_times(out: &mut Writer, info: &Info, header_bytes: u16, now: Nanos) {
    let segments = |bytes: u32| bytes.div_ceil(u32::from(info.snd_mss.max(1)));
    let ago = |at: Nanos| milliseconds(now - at);
    out.words(&[
        microseconds(info.rto),
        microseconds(info.ack_timeout),
        u32::from(info.snd_mss),
        u32::from(info.rcv_mss),
        segments(info.unacked_bytes),
        segments(info.sacked_bytes),
        // Linux counts as lost what was sent again for it, until that has arrived.
        segments(info.lost_bytes.saturating_add(match info.phase {
            Phase::Open => 0,
            _ => info.repeated_bytes,
        })),
        segments(info.repeated_bytes),
        0,
        ago(info.last_data_sent),
        0,
        ago(info.last_data_received),
        ago(info.last_received),
        u32::from(info.path_mss) + u32::from(header_bytes),
        info.rcv_wnd_bytes,
        microseconds(info.rtt),
        microseconds(info.rttvar),
        match info.snd_ssthresh_bytes {
            u32::MAX => NO_SSTHRESH,
            bytes => segments(bytes),
        },
        info.snd_cwnd_bytes / u32::from(info.snd_mss.max(1)),
        u32::from(info.adv_mss),
        u32::from(info.reordering).max(REORDERING),
        microseconds(info.rtt),
        info.rcv_space_bytes,
        info.counters.retransmits,
    ]);
}

/// From `tcpi_pacing_rate` on.
fn sums(out: &mut Writer, info: &Info) {
    let counters = &info.counters;
    let segments = |bytes: u32| bytes.div_ceil(u32::from(info.snd_mss.max(1)));
    out.long(info.pacing_rate);
    out.long(info.pacing_rate_max);
    out.long(counters.bytes_acked);
    out.long(counters.bytes_received);
    out.words(&[
        counters.segments_out,
        counters.segments_in,
        info.unsent_bytes,
        match microseconds(info.rtt_min) {
            0 => u32::MAX,
            known => known,
        },
        counters.data_segments_in,
        counters.data_segments_out,
    ]);
    out.long(info.delivery_rate);
    for span in [info.busy, info.limited_by_peer, info.limited_by_buffer] {
        out.long(span.as_micros());
    }
    // All that were sent, less those lost and those on their way; the SYN counts.
    let travels = segments(info.unacked_bytes.saturating_sub(info.sacked_bytes));
    let repeated = counters
        .retransmits
        .saturating_sub(u32::from(info.syn_repeats));
    let once = counters
        .data_segments_out
        .saturating_sub(repeated)
        .saturating_add(counters.repeats_reported);
    out.words(&[
        once.saturating_sub(travels)
            .saturating_add(u32::from(info.syn_delivered)),
        counters.congestion_echoes,
    ]);
    let original = counters.bytes_acked + u64::from(info.unacked_bytes);
    out.long(original + counters.bytes_repeated);
    out.long(counters.bytes_repeated);
    out.words(&[
        counters.repeats_reported,
        counters.reorderings,
        counters.segments_ahead,
        info.snd_wnd_bytes,
        info.rcv_wnd_bytes,
        0,
    ]);
    let timeouts = u16::try_from(counters.timeouts).unwrap_or(u16::MAX);
    out.bytes(&timeouts.to_ne_bytes());
}

/// `enum tcp_ca_state`.
const fn congestion_state(info: &Info) -> u8 {
    match info.phase {
        Phase::Open if info.disturbed => 1,
        Phase::Open => 0,
        Phase::Recovery => 3,
        Phase::Loss => 4,
    }
}

/// The states of linux/tcp_states.h.
const fn state(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Listen => 10,
        State::Closing => 11,
    }
}

fn microseconds(span: Nanos) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}

fn milliseconds(span: Nanos) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// Fills the structure from its start; what is not written is 0.
struct Writer {
    bytes: [u8; TCP_INFO_BYTES],
    at: usize,
}

impl Writer {
    const fn new() -> Self {
        Self {
            bytes: [0; TCP_INFO_BYTES],
            at: 0,
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.bytes(&word.to_ne_bytes());
        }
    }

    fn long(&mut self, long: u64) {
        self.bytes(&long.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use sidestep_tcp::Tcb;

    fn word(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn fields_lie_where_programs_look_for_them() {
        let mut info = Tcb::new().info();
        info.state = State::CloseWait;
        info.phase = Phase::Recovery;
        info.window_scale = Some((7, 9));
        (info.snd_mss, info.rcv_mss, info.adv_mss) = (1448, 1400, 1460);
        info.rtt = Nanos::from_micros(321);
        info.snd_cwnd_bytes = 14_480;
        info.snd_ssthresh_bytes = u32::MAX;
        info.unacked_bytes = 1449;
        info.unsent_bytes = 77;
        info.counters.retransmits = 5;
        info.counters.bytes_received = 1 << 40;
        info.counters.segments_in = 99;
        let bytes = tcp_info(&info, 40, Nanos::ZERO);
        assert_eq!((bytes[0], bytes[1], bytes[6]), (8, 3, 0x97));
        let at = |field: usize| word(&bytes, field);
        assert_eq!(at(offset_of!(libc::tcp_info, tcpi_snd_mss)), 1448);
        assert_eq!(at(offset_of!(libc::tcp_info, tcpi_unacked)), 2);
        assert_eq!(at(offset_of!(libc::tcp_info, tcpi_rtt)), 321);
        assert_eq!(at(offset_of!(libc::tcp_info, tcpi_snd_cwnd)), 10);
        assert_eq!(
            at(offset_of!(libc::tcp_info, tcpi_snd_ssthresh)),
            NO_SSTHRESH
        );
        assert_eq!(at(offset_of!(libc::tcp_info, tcpi_advmss)), 1460);
        assert_eq!(at(offset_of!(libc::tcp_info, tcpi_total_retrans)), 5);
        // Those behind, which the C library's own structure does not have.
        assert_eq!(bytes[128..136], (1_u64 << 40).to_ne_bytes());
        assert_eq!((at(140), at(144)), (99, 77));
    }
}

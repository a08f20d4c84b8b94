//! The congestion control of RFC 5681, counting bytes (RFC 3465).

use super::Congestion;

/// Slow start (3.1), or one segment more for each window that was acknowledged.
#[inline]
pub(super) fn on_ack(state: &mut Congestion, acked_bytes: u32, mss: u32) {
    if state.in_slow_start() {
        state.cwnd = state
            .cwnd
            .saturating_add(acked_bytes)
            .min(state.ssthresh.max(state.cwnd));
        return;
    }
    state.acked_bytes = state.acked_bytes.saturating_add(acked_bytes);
    if state.acked_bytes >= state.cwnd {
        state.acked_bytes -= state.cwnd;
        state.cwnd = state.cwnd.saturating_add(mss);
    }
}

/// Half of what was in flight (equation 4).
pub(super) fn on_loss(state: &mut Congestion, flight_bytes: u32, mss: u32) {
    state.ssthresh = (flight_bytes / 2).max(2 * mss);
    state.acked_bytes = 0;
}

//! The congestion control of RFC 5681, counting bytes (RFC 3465).

use super::{Congestion, Growth};

/// Congestion avoidance: one segment more for each window that was acknowledged.
#[inline]
pub(super) fn on_ack(state: &mut Congestion, ack: &Growth) {
    state.acked_bytes = state.acked_bytes.saturating_add(ack.acked_bytes);
    if state.acked_bytes >= state.cwnd {
        state.acked_bytes -= state.cwnd;
        state.cwnd = state.cwnd.saturating_add(ack.mss);
    }
}

/// Half of what was in flight (equation 4).
pub(super) fn on_loss(state: &mut Congestion, flight_bytes: u32) {
    state.ssthresh = flight_bytes / 2;
}

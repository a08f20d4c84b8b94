//! The smoltcp crate beside us: its own API, no sockets, no preloading.

use crate::lab::Lab;
use crate::model::{Effort, Figures, Problem};
use crate::smoltcp::half_round_trips;

/// The figures of the round-trip cases, for TCP over a shared-memory ring.
#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of far less than a month"
)]
pub(super) fn measure(message_bytes: usize, lab: &Lab, effort: Effort) -> Result<Figures, Problem> {
    let halves = half_round_trips(
        lab.cpus,
        message_bytes,
        effort.warmup_seconds,
        effort.seconds,
    )?;
    let at = |share| halves.value_at_quantile(share) as f64;
    Ok(Figures::from([
        ("p50_ns", at(0.5)),
        ("p99_ns", at(0.99)),
        ("p999_ns", at(0.999)),
        ("max_ns", halves.max() as f64),
    ]))
}

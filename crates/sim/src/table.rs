//! Goodput over loss and delay, for each congestion control.

use crate::scenario::Scenario;
use sidestep_nic::fault::LinkConfig;
use sidestep_shm::Nanos;
use sidestep_tcp::{Algorithm, Counters, Settings};

/// Bits in a second of the path's narrowest link, and what waits before it.
const RATE_BPS: u64 = 100_000_000;
const QUEUE_BYTES: u64 = 500_000;
/// Buffers of each end in bytes: twice what the longest path holds.
const BUFFER_BYTES: u32 = 6 << 20;
/// More than any path carries in its time.
const TOTAL_BYTES: usize = 1 << 40;

/// A path of the table: random loss, and delay each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Loss in parts per million.
    pub loss_ppm: u32,
    /// Delay each way in milliseconds.
    pub delay_ms: u64,
    /// For how long to send.
    pub span: Nanos,
}

/// What a connection made of a path.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// The path.
    pub path: Path,
    /// The congestion control.
    pub algorithm: Algorithm,
    /// Bits that the reader got in a second.
    pub goodput_bps: u64,
    /// What the sender counted.
    pub counters: Counters,
    /// Packets lost on the way.
    pub lost: u64,
}

/// Sends over a path for its span.
///
/// # Errors
/// Says which property did not hold.
pub fn measure(seed: u64, path: Path, algorithm: Algorithm) -> Result<Cell, String> {
    let link = LinkConfig {
        delay: Nanos::from_millis(path.delay_ms),
        loss_ppm: path.loss_ppm,
        rate_bps: RATE_BPS,
        queue_bytes: QUEUE_BYTES,
        ..LinkConfig::CLEAN
    };
    let settings = Settings {
        snd_buf_bytes: BUFFER_BYTES,
        rcv_buf_bytes: BUFFER_BYTES,
        rcv_buf_bytes_max: BUFFER_BYTES,
        congestion: algorithm,
        ..Settings::default()
    };
    let mut scenario = Scenario::bulk(seed, link, TOTAL_BYTES);
    scenario.settings = [settings; 2];
    // Acknowledgements are not lost: the table is about what is sent.
    scenario.links[1].loss_ppm = 0;
    scenario.chunks = 8192;
    let mut world = scenario.world(None);
    world.connect(0)?;
    let end = world.now + path.span;
    while world.now < end && world.step()? {}
    let bits = world.ends[1].read as u64 * 8;
    Ok(Cell {
        path,
        algorithm,
        goodput_bps: bits * 1000 / path.span.as_millis().max(1),
        counters: *world.ends[0].tcb.counters(),
        lost: world.links[0].lost,
    })
}

/// The paths of the table.
pub fn paths() -> Vec<Path> {
    let mut paths = Vec::new();
    for delay_ms in [1, 20, 100] {
        for loss_ppm in [100, 1000, 10_000, 50_000] {
            let span = Nanos::from_secs(if delay_ms == 1 { 10 } else { 60 });
            paths.push(Path {
                loss_ppm,
                delay_ms,
                span,
            });
        }
    }
    paths
}

/// The table, as text.
///
/// # Errors
/// Says which property did not hold.
pub fn table(seed: u64) -> Result<String, String> {
    use std::fmt::Write as _;
    let mut text = String::from(
        "one connection over 100 Mbit/s, Mbit/s of goodput\n\
         delay each way   loss      reno     cubic       bbr   retransmitted (cubic)   timeouts   undone\n",
    );
    for path in paths() {
        let [reno, cubic, bbr] = [Algorithm::Reno, Algorithm::Cubic, Algorithm::Bbr]
            .map(|algorithm| measure(seed, path, algorithm));
        let (reno, cubic, bbr) = (reno?, cubic?, bbr?);
        let counters = cubic.counters;
        let _ = writeln!(
            text,
            "{:>11} ms {:>6.2} % {:>9.2} {:>9.2} {:>9.2} {:>23} {:>10} {:>8}",
            path.delay_ms,
            f64::from(path.loss_ppm) / 1e4,
            megabits(reno.goodput_bps),
            megabits(cubic.goodput_bps),
            megabits(bbr.goodput_bps),
            counters.retransmits,
            counters.timeouts,
            counters.reductions_undone,
        );
    }
    Ok(text)
}

#[expect(clippy::cast_precision_loss, reason = "rates are small")]
fn megabits(bps: u64) -> f64 {
    bps as f64 / 1e6
}

//! Which processors the two sides run on, and how far apart these are at the moment.
//!
//! On a virtual machine the distance between two processors changes within seconds, and with it everything that
//! crosses between them. So a cache line is bounced from core to core before and after each measurement.

use crate::clock::Stopwatch;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

/// A larger change of the cache line than this, as a ratio, means that the placement moved.
pub(crate) const MOVED_RATIO: f64 = 1.3;

/// Hops of the cache line in one batch; the median of the batches counts, so an interrupt spoils one only.
const BATCH_HOPS: u32 = 2_000;
const BATCHES: usize = 9;

/// The processor of the server and that of the client.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cpus {
    /// Where servers run.
    pub(crate) server: usize,
    /// Where clients, and what is timed, run.
    pub(crate) client: usize,
}

impl Cpus {
    /// The first two processors that this process may use; the same one twice where it has no second.
    pub(crate) fn allowed() -> io::Result<Self> {
        let set = sched_getaffinity(None)?;
        let mut allowed = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu));
        let server = allowed
            .next()
            .ok_or_else(|| io::Error::other("no processor is allowed"))?;
        Ok(Self {
            server,
            client: allowed.next().unwrap_or(server),
        })
    }

    /// Whether the two sides have a processor each.
    pub(crate) const fn apart(&self) -> bool {
        self.server != self.client
    }
}

/// Puts the calling thread on one processor.
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Runs `f` with the calling thread on one processor; what it starts inherits that.
pub(crate) fn pinned<T>(cpu: usize, f: impl FnOnce() -> T) -> io::Result<T> {
    let before = sched_getaffinity(None)?;
    pin_thread(cpu)?;
    let result = f();
    sched_setaffinity(None, &before)?;
    Ok(result)
}

/// An atomic with a cache line (and the line that the prefetcher fetches along with it) to itself.
#[repr(align(128))]
struct Alone(AtomicU32);

/// Nanoseconds that a cache line takes from one core to the other; nothing where both sides share one core.
pub(crate) fn cache_line_ns(cpus: Cpus) -> Option<f64> {
    if !cpus.apart() {
        return None;
    }
    let (there, back) = (Alone(AtomicU32::new(0)), Alone(AtomicU32::new(0)));
    let hops = BATCH_HOPS / 2 * u32::try_from(BATCHES).ok()?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _ = pin_thread(cpus.server);
            for hop in 1..=hops {
                while there.0.load(Ordering::Acquire) != hop {}
                back.0.store(hop, Ordering::Release);
            }
        });
        let timed = scope.spawn(|| {
            let _ = pin_thread(cpus.client);
            let mut hop = 0;
            let mut batches = [0.0; BATCHES];
            for batch in &mut batches {
                let watch = Stopwatch::start();
                for _ in 0..BATCH_HOPS / 2 {
                    hop += 1;
                    there.0.store(hop, Ordering::Release);
                    while back.0.load(Ordering::Acquire) != hop {}
                }
                *batch = watch.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH_HOPS);
            }
            batches.sort_by(f64::total_cmp);
            batches[BATCHES / 2]
        });
        timed.join().ok()
    })
}

/// Whether cache lines measured at several times say that the processors were not always equally far apart.
pub(crate) fn moved(lines_ns: impl IntoIterator<Item = f64>) -> bool {
    let (mut least, mut greatest) = (f64::INFINITY, 0.0_f64);
    for ns in lines_ns {
        least = least.min(ns);
        greatest = greatest.max(ns);
    }
    greatest > least * MOVED_RATIO
}

#[cfg(test)]
mod tests;

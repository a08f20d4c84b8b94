//! Raw frames over our own memif driver: two threads, each on a processor and a mapping of its own, as two
//! processes would be.

pub(crate) mod dpdk;

use crate::placement::{Cpus, pin_thread};
use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use sidestep_nic::Port;
use sidestep_nic::memif::{Attachment, Geometry, Memif, Role, State, wire};
use sidestep_shm::{Clock, EventFd, Foreign, Nanos, Region};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Frames taken or sent at a time where the rate is measured; DPDK's programs do the same.
const BURST: usize = 32;
/// Round trips that nobody counts, for caches, branch predictors and the clock to settle.
const WARM_UP: u64 = 20_000;
/// How often one side looks whether the other is still there.
const GIVE_UP_AFTER: u64 = 5_000_000_000;

/// One end of a wire; apart from the other in memory, as it would be in another process.
#[repr(align(128))]
struct End {
    state: State,
    at: Attachment,
}

impl End {
    fn port(&mut self) -> Memif<'_> {
        Memif::new(&mut self.state, &self.at)
    }
}

/// Both ends of a new wire, each with a mapping of its own, polling.
fn wire_ends() -> Result<[End; 2]> {
    let geometry = Geometry::default();
    let region = wire::create(&geometry)?;
    let memfd = region.fd().context("a wire without a descriptor")?;
    let end = |role| -> Result<End> {
        let region = Region::attach(memfd.try_clone_to_owned()?)?;
        let at = Attachment::for_wire(region, &geometry, role, EventFd::new()?)?;
        let mut end = End {
            state: State::new(role, &geometry),
            at,
        };
        end.port().rx_wakeups(false);
        Ok(end)
    };
    Ok([end(Role::Master)?, end(Role::Slave)?])
}

/// Sends a frame of `bytes` of which the first eight are `number`, written in place as DPDK's side does.
#[inline]
pub(crate) fn send(port: &mut impl Port, bytes: usize, number: u64) -> bool {
    port.tx(bytes, |mut room| {
        room.copy_from(&number.to_ne_bytes());
    })
}

/// Takes one frame, copied out as a stack would, if there is one.
#[inline]
fn receive(port: &mut impl Port, frame: &mut [u8]) -> bool {
    port.rx_batch(1, |bytes: Foreign<'_>| {
        bytes.copy_to(frame);
    }) != 0
}

/// Times round trips of `frames` frames of `bytes` (at least 8) between two processors, both polling: nanoseconds for
/// there and back.
pub(crate) fn round_trips(cpus: Cpus, frames: u64, bytes: usize) -> Result<Histogram<u64>> {
    ensure!(cpus.apart(), "two ends that poll need two processors");
    let [mut near, mut far] = wire_ends()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| -> Result<()> {
            pin_thread(cpus.server)?;
            let mut frame = vec![0; bytes];
            let mut port = far.port();
            while !done.load(Ordering::Relaxed) {
                for _ in 0..1000 {
                    if receive(&mut port, &mut frame) {
                        port.tx(bytes, |mut room| {
                            room.copy_from(&frame);
                        });
                        port.tx_flush();
                    }
                }
            }
            Ok(())
        });
        let timed = scope.spawn(|| {
            pin_thread(cpus.client)?;
            time_round_trips(&mut near.port(), frames, bytes)
        });
        let timed = timed
            .join()
            .map_err(|_| anyhow::anyhow!("the timed side panicked"));
        done.store(true, Ordering::Relaxed);
        echo.join()
            .map_err(|_| anyhow::anyhow!("the answering side panicked"))??;
        timed?
    })
}

/// Times round trips of `frames` frames of `bytes` to an end that sends back what it gets.
pub(crate) fn time_round_trips(
    port: &mut impl Port,
    frames: u64,
    bytes: usize,
) -> Result<Histogram<u64>> {
    let clock = Clock::new();
    let mut histogram = Histogram::new_with_bounds(1, GIVE_UP_AFTER, 3)?;
    let mut frame = vec![0; bytes];
    for number in 0..frames + WARM_UP {
        let start = clock.now();
        ensure!(send(port, bytes, number), "no room for a single frame");
        port.tx_flush();
        let mut polls = 0u64;
        while !receive(port, &mut frame) {
            polls += 1;
            ensure!(polls < GIVE_UP_AFTER, "no answer");
        }
        let took = clock.now() - start;
        ensure!(
            frame[..8] == number.to_ne_bytes(),
            "another frame than the one sent"
        );
        if number >= WARM_UP {
            histogram.saturating_record(took.0);
        }
    }
    Ok(histogram)
}

/// Frames of `bytes` (at least 8) that go one way in a second, in batches, none lost.
pub(crate) fn one_way_rate(cpus: Cpus, span: Duration, bytes: usize) -> Result<f64> {
    ensure!(cpus.apart(), "two ends that poll need two processors");
    let [mut to, mut from] = wire_ends()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<()> {
            pin_thread(cpus.server)?;
            let mut port = from.port();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                for _ in 0..BURST {
                    if !send(&mut port, bytes, number) {
                        break;
                    }
                    number += 1;
                }
                port.tx_flush();
            }
            Ok(())
        });
        let counted = scope.spawn(|| count_frames(&mut to, cpus, span, bytes));
        let counted = counted
            .join()
            .map_err(|_| anyhow::anyhow!("the receiving side panicked"));
        done.store(true, Ordering::Relaxed);
        sender
            .join()
            .map_err(|_| anyhow::anyhow!("the sending side panicked"))??;
        counted?
    })
}

fn count_frames(end: &mut End, cpus: Cpus, span: Duration, bytes: usize) -> Result<f64> {
    pin_thread(cpus.client)?;
    let span = Nanos(u64::try_from(span.as_nanos())?);
    let clock = Clock::new();
    let mut frame = vec![0; bytes];
    let mut port = end.port();
    let (mut next, mut in_order) = (0u64, true);
    let (mut start, mut counted_from) = (clock.now(), 0);
    let mut warm = false;
    loop {
        for _ in 0..100 {
            port.rx_batch(BURST, |bytes: Foreign<'_>| {
                bytes.copy_to(&mut frame);
                in_order &= frame[..8] == next.to_ne_bytes();
                next += 1;
            });
        }
        ensure!(in_order, "a frame was lost or came out of order");
        let now = clock.now();
        if !warm && now - start > Nanos::from_millis(100) {
            (warm, start, counted_from) = (true, now, next);
        }
        if warm && now - start >= span {
            ensure!(next > counted_from, "not a single frame came");
            #[expect(
                clippy::cast_precision_loss,
                reason = "a count of frames in some seconds"
            )]
            return Ok((next - counted_from) as f64 * 1e9 / (now - start).0 as f64);
        }
    }
}

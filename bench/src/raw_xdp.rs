//! Raw frames over an AF_XDP socket at each end of a pair of virtual interfaces, in namespaces of their own: our driver,
//! and those of peers on the same work.
//!
//! On such a pair a frame's way through the kernel is done by whoever sends it, up to the receiver's ring. So the rates
//! of one end depend on the other one's; that is always ours, on a processor of its own.

pub(crate) mod peers;

use crate::placement::{Cpus, pin_thread};
use crate::raw_memif::{send, time_round_trips};
use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use peers::{Peer, Peers};
use sidestep_nic::Port;
use sidestep_nic::xdp::{Attachment, Options, Socket, State, Xdp};
use sidestep_shm::{Clock, Foreign, Nanos};
use sidestep_steering::{Mode, Steering, Wanted};
use sidestep_tests::netns::{Cable, Netns};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Frames taken or sent at a time where rates are measured; the peers do the same.
const BURST: usize = 32;
/// What nobody counts, from the first frame on.
const SETTLE: Nanos = Nanos::from_millis(100);
/// No frame for so long: something is wrong.
const PATIENCE: Nanos = Nanos::from_secs(20);

/// What one end of the cable does while the other one is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Takes what ours sends.
    Receive,
    /// Sends to ours.
    Send,
    /// Sends back what ours sends.
    Forward,
}

/// One of our sockets with all frames of its interface; apart from others in memory.
#[repr(align(128))]
struct End {
    state: State,
    at: Attachment,
    _steering: Steering,
}

impl End {
    fn new(netns: &Netns, name: &str) -> Result<Self> {
        let (ifindex, station) = (netns.ifindex(name), netns.station(name));
        netns.inside(|| {
            let mut steering = Steering::attach(ifindex, station, Wanted::Only(Mode::Native))?;
            let (state, at, _) = Socket::create(&Options::default())?.bind(ifindex, 0)?;
            steering.steer_everything(Some(0))?;
            steering.set_socket(0, 0, at.socket_fd())?;
            Ok(Self {
                state,
                at,
                _steering: steering,
            })
        })
    }

    fn port(&mut self) -> Xdp<'_> {
        Xdp::new(&mut self.state, &self.at)
    }
}

/// Times round trips of `frames` frames of `bytes` between two of our ends, both polling.
pub(crate) fn round_trips(cpus: Cpus, frames: u64, bytes: usize) -> Result<Histogram<u64>> {
    ensure!(cpus.apart(), "two ends that poll need two processors");
    let cable = Cable::silent(1, 1500);
    let mut near = End::new(&cable.near, "near0")?;
    let mut far = End::new(&cable.far, "far0")?;
    beside(
        cpus,
        |done| forward(&mut far.port(), 1, done),
        || time_round_trips(&mut near.port(), frames, bytes),
    )
}

/// Frames of `bytes` in a second that one end takes, sends or sends back; a peer, or ours where there is none.
pub(crate) fn rate(
    cpus: Cpus,
    span: Duration,
    bytes: usize,
    work: Work,
    peer: Option<(&Peers, Peer)>,
) -> Result<f64> {
    ensure!(cpus.apart(), "two ends that poll need two processors");
    let cable = Cable::silent(1, 1500);
    let mut far = End::new(&cable.far, "far0")?;
    let span_ns = Nanos(u64::try_from(span.as_nanos())?);
    if let Some((peers, peer)) = peer {
        let words = match work {
            Work::Receive => vec![
                "count".to_owned(),
                bytes.to_string(),
                span.as_millis().to_string(),
            ],
            Work::Send => vec!["send".to_owned(), bytes.to_string()],
            Work::Forward => vec!["echo".to_owned(), bytes.to_string()],
        };
        let mut process = peers.start(peer, &cable.near, "near0", cpus.client, &words)?;
        let swapped = Cpus {
            server: cpus.client,
            client: cpus.server,
        };
        return match work {
            Work::Receive => beside(
                cpus,
                |done| send_until(&mut far.port(), bytes, done),
                || process.figures(span + Duration::from_secs(20)),
            )?
            .first()
            .copied()
            .context("no figure"),
            // Here what is ours is what counts, on its own processor.
            Work::Send => beside(
                swapped,
                |_| Ok(()),
                || count(&mut far.port(), span_ns, None),
            ),
            Work::Forward => beside(
                swapped,
                |_| Ok(()),
                || count(&mut far.port(), span_ns, Some(bytes)),
            ),
        };
    }
    let mut near = End::new(&cable.near, "near0")?;
    match work {
        Work::Receive => beside(
            cpus,
            |done| send_until(&mut far.port(), bytes, done),
            || count(&mut near.port(), span_ns, None),
        ),
        Work::Send => beside(
            Cpus {
                server: cpus.client,
                client: cpus.server,
            },
            |done| send_until(&mut near.port(), bytes, done),
            || count(&mut far.port(), span_ns, None),
        ),
        Work::Forward => beside(
            Cpus {
                server: cpus.client,
                client: cpus.server,
            },
            |done| forward(&mut near.port(), BURST, done),
            || count(&mut far.port(), span_ns, Some(bytes)),
        ),
    }
}

/// Runs `other` on the server's processor for as long as `measured` runs on the client's.
fn beside<T: Send>(
    cpus: Cpus,
    other: impl FnOnce(&AtomicBool) -> Result<()> + Send,
    measured: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin_thread(cpus.server)?;
            other(&done)
        });
        let measured = scope.spawn(|| {
            pin_thread(cpus.client)?;
            measured()
        });
        let measured = measured.join();
        done.store(true, Ordering::Relaxed);
        other
            .join()
            .map_err(|_| anyhow::anyhow!("the other side panicked"))??;
        measured.map_err(|_| anyhow::anyhow!("the measured side panicked"))?
    })
}

/// Sends numbered frames as fast as they go.
fn send_until(port: &mut impl Port, bytes: usize, done: &AtomicBool) -> Result<()> {
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        burst(port, bytes, &mut number);
    }
    Ok(())
}

#[inline]
fn burst(port: &mut impl Port, bytes: usize, number: &mut u64) {
    for _ in 0..BURST {
        if !send(port, bytes, *number) {
            break;
        }
        *number += 1;
    }
    port.tx_flush();
}

/// Sends every frame back, in bursts of up to `most`.
fn forward(port: &mut impl Port, most: usize, done: &AtomicBool) -> Result<()> {
    let mut frames = vec![[0; 2048]; most];
    let mut lengths = vec![0; most];
    while !done.load(Ordering::Relaxed) {
        for _ in 0..1000 {
            let mut next = 0;
            let got = port.rx_batch(most, |frame: Foreign<'_>| {
                lengths[next] = frame.copy_to(&mut frames[next]);
                next += 1;
            });
            if got == 0 {
                continue;
            }
            for (frame, &length) in frames.iter().zip(&lengths).take(got) {
                port.tx(length, |mut room| {
                    room.copy_from(&frame[..length]);
                });
            }
            port.tx_flush();
        }
    }
    Ok(())
}

/// Frames that arrive in a second, from the first on; with frames of `sending` bytes sent meanwhile, if any.
fn count(port: &mut impl Port, span: Nanos, sending: Option<usize>) -> Result<f64> {
    let clock = Clock::new();
    let begin = clock.now();
    let (mut number, mut frames, mut sum) = (0, 0u64, 0u64);
    let mut settled: Option<(Nanos, u64)> = None;
    let mut first = None;
    loop {
        for _ in 0..20 {
            if let Some(bytes) = sending {
                burst(port, bytes, &mut number);
            }
            let got = port.rx_batch(BURST, |frame: Foreign<'_>| {
                let mut head = [0; 8];
                frame.copy_to(&mut head);
                sum ^= u64::from_ne_bytes(head);
            });
            frames += got as u64;
        }
        let now = clock.now();
        ensure!(
            frames > 0 || now - begin < PATIENCE,
            "not a single frame came"
        );
        if frames > 0 {
            let first = *first.get_or_insert(now);
            if settled.is_none() && now - first > SETTLE {
                settled = Some((now, frames));
            }
        }
        if let Some((from, before)) = settled
            && now - from >= span
        {
            std::hint::black_box(sum);
            #[expect(
                clippy::cast_precision_loss,
                reason = "a count of frames in some seconds"
            )]
            return Ok((frames - before) as f64 * 1e9 / (now - from).0 as f64);
        }
    }
}

/// Round trips over a peer's driver: p50, p99, p99.9 and the longest of half, in nanoseconds.
pub(crate) fn peer_round_trips(
    cpus: Cpus,
    frames: u64,
    bytes: usize,
    peers: &Peers,
    peer: Peer,
) -> Result<Vec<f64>> {
    ensure!(cpus.apart(), "two ends that poll need two processors");
    let cable = Cable::silent(1, 1500);
    let bytes = bytes.to_string();
    let echo = ["echo".to_owned(), bytes.clone()];
    let _far = peers.start(peer, &cable.far, "far0", cpus.server, &echo)?;
    let ping = ["ping".to_owned(), bytes, frames.to_string()];
    let mut near = peers.start(peer, &cable.near, "near0", cpus.client, &ping)?;
    near.figures(Duration::from_secs(60))
}

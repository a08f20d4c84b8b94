//! Measurements beside each other, as text.

use crate::kernel::ensure_cubic;
use crate::{Calls, Flow, Tcp, Trial, fairness};
use sidestep_nic::fault::LinkConfig;
use sidestep_shm::Nanos;

/// The narrowest link's rate, and what waits before it.
const RATE_BPS: u64 = 100_000_000;
const QUEUE_BYTES: u64 = 500_000;
/// What this machine moves at once without being late, all flows together.
const LOAD_MAX_BPS: f64 = 2e8;
/// How late packets may be at most by the machine's fault.
const LATE_MAX: Nanos = Nanos::from_millis(20);

/// A link of 100 Mbit/s with that loss there, and that delay each way.
pub fn links(loss_ppm: u32, delay_ms: u64) -> [LinkConfig; 2] {
    let link = LinkConfig {
        delay: Nanos::from_millis(delay_ms),
        rate_bps: RATE_BPS,
        queue_bytes: QUEUE_BYTES,
        loss_ppm,
        ..LinkConfig::PERFECT
    };
    let back = LinkConfig {
        loss_ppm: 0,
        ..link
    };
    [link, back]
}

/// The cells of the table of goodput: delay each way in milliseconds, and loss in parts per million.
pub fn cells() -> Vec<(u64, u32)> {
    let losses = [0, 100, 1000, 10_000, 50_000];
    let delays = [1, 20, 100].into_iter();
    delays
        .flat_map(|delay_ms| losses.map(|loss_ppm| (delay_ms, loss_ppm)))
        .collect()
}

/// How often a cell is to be measured until chance decides little: where much is lost, flows differ widely, and are little
/// work.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 1 to 4"
)]
pub fn repeats(cell: (u64, u32)) -> usize {
    let of = |bps: f64, most: f64| (bps / expected_bps(cell)).clamp(1.0, most) as usize;
    of(1.3e8, 2.0).max(of(5e7, 4.0))
}

/// What Linux and we made of a cell: of each round what Linux did, and what we did at the same time.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// The rounds, each with another seed.
    pub rounds: Vec<[Flow; 2]>,
}

impl Cell {
    /// Sums over all rounds: Linux first.
    pub fn sums(&self) -> [Flow; 2] {
        let sum = |of: usize| {
            let flows = self.rounds.iter().map(|round| round[of]);
            flows.fold(Flow::default(), |sum, flow| sum.with(&flow))
        };
        [sum(0), sum(1)]
    }

    /// Goodput of ours in parts of Linux's, over all rounds.
    pub fn ratio(&self) -> f64 {
        let [linux, ours] = self.sums();
        ours.bps / linux.bps
    }

    /// The same of each round.
    pub fn ratios(&self) -> Vec<f64> {
        let of = |round: &[Flow; 2]| round[1].bps / round[0].bps;
        self.rounds.iter().map(of).collect()
    }
}

/// A round of a cell.
#[derive(Clone, Copy)]
struct Job {
    cell: usize,
    seed: u64,
    again: bool,
}

/// About how many bits a second a flow makes of a cell: only to know how many may run at once.
fn expected_bps((delay_ms, loss_ppm): (u64, u32)) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "they are small")]
    let trouble = (delay_ms * u64::from(loss_ppm)) as f64;
    (2.8e9 / trouble.max(1.0).sqrt()).min(1e8)
}

/// Measures cells, Linux and ours at the same time from the same seeds; as many at once as this machine has time for.
/// Rounds in which it had something else to do are measured once more. Each round of each cell has a seed of its own, from
/// `seed` on.
///
/// # Errors
/// As [`Trial::stream`], and where Linux may not use CUBIC.
pub fn measure(
    cells: &[(u64, u32)],
    span: Nanos,
    rounds: u64,
    seed: u64,
) -> anyhow::Result<Vec<Cell>> {
    ensure_cubic()?;
    let mut found = vec![Cell::default(); cells.len()];
    let all = (0..rounds).flat_map(|_| 0..cells.len()).zip(seed..);
    let mut jobs: Vec<Job> = all
        .map(|(cell, seed)| Job {
            cell,
            seed,
            again: false,
        })
        .collect();
    while !jobs.is_empty() {
        let (mut wave, mut rest, mut load) = (Vec::new(), Vec::new(), 0.0);
        for job in jobs {
            let more = 2.0 * expected_bps(cells[job.cell]);
            if wave.is_empty() || load + more <= LOAD_MAX_BPS {
                load += more;
                wave.push(job);
            } else {
                rest.push(job);
            }
        }
        jobs = rest;
        for (job, flows) in run_wave(cells, &wave, span)? {
            let late = flows[0].late.max(flows[1].late);
            if late > LATE_MAX && !job.again {
                jobs.push(Job { again: true, ..job });
            } else {
                found[job.cell].rounds.push(flows);
            }
        }
    }
    Ok(found)
}

fn ended<T>(thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>) -> anyhow::Result<T> {
    let joined = thread.join();
    joined.unwrap_or_else(|_| Err(anyhow::anyhow!("a trial panicked")))
}

fn run_wave(
    cells: &[(u64, u32)],
    wave: &[Job],
    span: Nanos,
) -> anyhow::Result<Vec<(Job, [Flow; 2])>> {
    let stream = |client, job: &Job| {
        let (delay_ms, loss_ppm) = cells[job.cell];
        let trial = Trial {
            client,
            server: Tcp::Linux,
            links: links(loss_ppm, delay_ms),
            seed: job.seed,
        };
        trial.stream(span)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = wave
            .iter()
            .map(|job| {
                let linux = scope.spawn(move || stream(Tcp::Linux, job));
                (*job, linux, scope.spawn(move || stream(Tcp::Ours, job)))
            })
            .collect();
        let ended = threads
            .into_iter()
            .map(|(job, linux, ours)| Ok((job, [ended(linux)?, ended(ours)?])));
        ended.collect()
    })
}

/// Goodput of ours and of Linux over loss and delay.
///
/// # Errors
/// As [`Trial::stream`].
pub fn goodput(cells: &[(u64, u32)], span: Nanos, rounds: u64) -> anyhow::Result<()> {
    println!(
        "goodput over 100 Mbit/s, {} s, mean of {rounds}; lost on the way, sent again and timeouts in all\n\
         delay each way     loss      Linux       ours  ours/Linux   of each round          lost    sent again    timeouts     late",
        span.as_millis() / 1000
    );
    for ((delay_ms, loss_ppm), cell) in cells.iter().zip(measure(cells, span, rounds, 0)?) {
        let [linux, ours] = cell.sums();
        #[expect(clippy::cast_precision_loss, reason = "they are few")]
        let mean = |flow: &Flow| flow.bps / 1e6 / rounds as f64;
        let mut ratios = cell.ratios();
        ratios.sort_unstable_by(f64::total_cmp);
        let at = |part: usize| ratios[(ratios.len() - 1) * part / 4];
        println!(
            "{delay_ms:>11} ms {:>8.2} % {:>10.2} {:>10.2} {:>11.2}   {:>5.2}({:.2})..{:<5.2} {:>6}/{:<6} {:>6}/{:<6} {:>5}/{:<5} {:>4} ms",
            f64::from(*loss_ppm) / 1e4,
            mean(&linux),
            mean(&ours),
            cell.ratio(),
            at(0),
            at(2),
            at(4),
            linux.lost,
            ours.lost,
            linux.retransmits,
            ours.retransmits,
            linux.timeouts,
            ours.timeouts,
            linux.late.max(ours.late).as_millis(),
        );
    }
    Ok(())
}

/// So many bytes each way at once, on one connection.
pub const fn bulk(bytes: usize) -> Calls {
    Calls {
        connections: 1,
        at_a_time: 1,
        every: Nanos::ZERO,
        rounds: 1,
        ask_bytes: bytes,
        answer_bytes: bytes,
        at_once: true,
    }
}

/// So many questions of 100 bytes one after the other, with answers of 5000.
pub const fn requests_of(rounds: usize) -> Calls {
    Calls {
        connections: 2,
        at_a_time: 2,
        every: Nanos::ZERO,
        rounds,
        ask_bytes: 100,
        answer_bytes: 5000,
        at_once: false,
    }
}

/// So many connections with one small question and answer each.
pub const fn short(connections: usize) -> Calls {
    Calls {
        connections,
        at_a_time: 20,
        every: Nanos::ZERO,
        rounds: 1,
        ask_bytes: 100,
        answer_bytes: 1000,
        at_once: false,
    }
}

/// Ours and Linux against each other over every kind of link, with every byte compared. Returns how many trials failed.
pub fn matrix() -> usize {
    println!(
        "loss     delay each way   reordering   client   server        bulk   requests      short"
    );
    let mut failed = 0;
    for loss_ppm in [0, 1000, 10_000, 50_000, 200_000] {
        for delay_ms in [0, 1, 20, 200] {
            for reorder_ppm in [0, 50_000] {
                for (client, server) in [(Tcp::Ours, Tcp::Linux), (Tcp::Linux, Tcp::Ours)] {
                    let link = LinkConfig {
                        delay: Nanos::from_millis(delay_ms),
                        loss_ppm,
                        reorder_ppm,
                        reorder_by: Nanos::from_millis(1 + delay_ms / 4),
                        ..LinkConfig::PERFECT
                    };
                    print!(
                        "{:>4.1} % {delay_ms:>13} ms {:>10} % {:>8} {:>8}",
                        f64::from(loss_ppm) / 1e4,
                        reorder_ppm / 10_000,
                        client.name(),
                        server.name()
                    );
                    let trial = Trial {
                        client,
                        server,
                        links: [link; 2],
                        seed: u64::from(loss_ppm) + delay_ms,
                    };
                    failed += row(&trial);
                }
            }
        }
    }
    failed
}

/// One row of the matrix, its three programs at the same time; how many failed.
fn row(trial: &Trial) -> usize {
    let bytes = match trial.links[0].loss_ppm {
        0..10_000 => 3_000_000,
        10_000..100_000 => 300_000,
        _ => 50_000,
    };
    let programs = [bulk(bytes), requests_of(20), short(200)];
    let results = std::thread::scope(|scope| {
        programs
            .map(|calls| scope.spawn(move || trial.calls(calls, Nanos::from_secs(300))))
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))
            })
    });
    for result in &results {
        match result.as_ref().map(|took| took.iter().max()) {
            Ok(Some(last)) => print!(" {:>7.0} ms", millis(*last)),
            _ => print!(" {:>10}", "FAILED"),
        }
    }
    println!();
    let failed = results.iter().filter_map(|result| result.as_ref().err());
    failed.inspect(|error| println!("    {error:#}")).count()
}

/// Delays each way at which requests are measured, in milliseconds.
pub const REQUEST_DELAYS_MS: [u64; 3] = [1, 20, 100];
/// Connections are opened so often: what they carry is little work, and the time is no longer than for short ways.
const REQUEST_EVERY: Nanos = Nanos::from_millis(8);

/// How long 100 KB take, asked for on a new connection each, at 1 % loss each way: of Linux, and of ours at the same time
/// with the same packets lost, in the order in which the connections were opened.
///
/// # Errors
/// As [`Trial::calls`].
pub fn measure_requests(
    delay_ms: u64,
    connections: usize,
    seed: u64,
) -> anyhow::Result<[Vec<Nanos>; 2]> {
    ensure_cubic()?;
    let calls = Calls {
        connections,
        at_a_time: connections,
        every: REQUEST_EVERY,
        rounds: 1,
        ask_bytes: 100,
        answer_bytes: 100_000,
        at_once: false,
    };
    let link = LinkConfig {
        delay: Nanos::from_millis(delay_ms),
        loss_ppm: 10_000,
        ..LinkConfig::PERFECT
    };
    let of = |server| {
        let trial = Trial {
            client: Tcp::Linux,
            server,
            links: [link; 2],
            seed,
        };
        trial.calls(calls, Nanos::from_secs(300))
    };
    std::thread::scope(|scope| {
        let [linux, ours] = [Tcp::Linux, Tcp::Ours].map(|tcp| scope.spawn(move || of(tcp)));
        Ok([ended(linux)?, ended(ours)?])
    })
}

/// The shortest time within which so many of a thousand were done.
///
/// # Panics
/// Where there are none.
pub fn within(took: &[Nanos], thousandths: usize) -> Nanos {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() - 1) * thousandths / 1000]
}

/// How long 100 KB take, asked for on a new connection each, at 1 % loss.
///
/// # Errors
/// As [`Trial::calls`].
pub fn requests(connections: usize) -> anyhow::Result<()> {
    println!("{connections} requests of 100 KB at 1 % loss, each on a connection of its own, ms");
    println!(
        "delay each way   server      p50      p90      p95      p97      p99     p995      max"
    );
    for delay_ms in REQUEST_DELAYS_MS {
        let both = measure_requests(delay_ms, connections, 1)?;
        for (server, took) in [Tcp::Linux, Tcp::Ours].into_iter().zip(&both) {
            print!("{delay_ms:>11} ms {:>8}", server.name());
            for thousandths in [500, 900, 950, 970, 990, 995, 1000] {
                print!(" {:>8.1}", millis(within(took, thousandths)));
            }
            println!();
        }
    }
    Ok(())
}

/// Delays each way at which flows share a link, in milliseconds.
pub const SHARE_DELAYS_MS: [u64; 2] = [5, 20];

/// What two of ours make of one link, and one of ours beside one of Linux's: the bits in a second that each got, at each
/// of [`SHARE_DELAYS_MS`].
///
/// # Errors
/// As [`Trial::stream`], and where Linux may not use CUBIC.
pub fn measure_shares(span: Nanos, seed: u64) -> anyhow::Result<Vec<[[f64; 2]; 2]>> {
    ensure_cubic()?;
    let of = |delay_ms| {
        std::thread::scope(|scope| {
            let [ours, linux] = [Tcp::Ours, Tcp::Linux].map(|other| {
                scope.spawn(move || fairness([Tcp::Ours, other], links(0, delay_ms), seed, span))
            });
            Ok([ended(ours)?, ended(linux)?])
        })
    };
    SHARE_DELAYS_MS.into_iter().map(of).collect()
}

/// How fairly two rates divide what they are together (Jain's index): 1 if they are the same, 0.5 if one has all.
pub fn jain([one, other]: [f64; 2]) -> f64 {
    (one + other).powi(2) / (2.0 * (one * one + other * other))
}

/// What two senders make of one link.
///
/// # Errors
/// As [`Trial::stream`].
pub fn shares(span: Nanos, rounds: u64) -> anyhow::Result<()> {
    ensure_cubic()?;
    println!(
        "two flows over 100 Mbit/s, {} s, Mbit/s",
        span.as_millis() / 1000
    );
    for delay_ms in SHARE_DELAYS_MS {
        for senders in [
            [Tcp::Linux, Tcp::Linux],
            [Tcp::Ours, Tcp::Ours],
            [Tcp::Ours, Tcp::Linux],
        ] {
            for seed in 0..rounds {
                let [one, other] = fairness(senders, links(0, delay_ms), seed, span)?;
                println!(
                    "{delay_ms:>3} ms each way: {:>5} {:>6.2}, {:>5} {:>6.2}: Jain {:.3}, first {:.0} %",
                    senders[0].name(),
                    one / 1e6,
                    senders[1].name(),
                    other / 1e6,
                    jain([one, other]),
                    100.0 * one / (one + other)
                );
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "fifteen digits are enough")]
fn millis(span: Nanos) -> f64 {
    span.0 as f64 / 1e6
}

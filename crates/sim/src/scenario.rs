//! All of a run, drawn from its seed; and what came of it.

use crate::capture::Capture;
use crate::end::End;
use crate::program::{Ending, Plan};
use crate::world::World;
use fastrand::Rng;
use sidestep_nic::fault::{Burst, Link, LinkConfig};
use sidestep_shm::Nanos;
use sidestep_tcp::{Algorithm, Counters, Ecn, Error, Events, KeepAlive, Settings};
use sidestep_wire::Seq;

/// Longest run, in events and in virtual time.
const STEPS_MAX: usize = 2_000_000;
const SPAN_MAX: Nanos = Nanos::from_secs(24 * 3600);

/// Keepalive probes before an end gives up.
const KEEP_COUNT: u8 = 5;

/// Everything about a run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where the links' dice come from.
    pub seed: u64,
    /// The direction from each end.
    pub links: [LinkConfig; 2],
    /// How each end is set.
    pub settings: [Settings; 2],
    /// What each program does.
    pub plans: [Plan; 2],
    /// Both open at once.
    pub simultaneous: bool,
    /// Buffers of each end.
    pub chunks: usize,
    /// First sequence numbers.
    pub iss: [u32; 2],
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// How long it took until both connections were gone.
    pub took: Nanos,
    /// When each end had read all that it read.
    pub read_at: [Nanos; 2],
    /// Bytes that each program read.
    pub read: [usize; 2],
    /// How each connection failed, if it did.
    pub errors: [Option<Error>; 2],
    /// What each connection counted.
    pub counters: [Counters; 2],
    /// Packets lost in each direction.
    pub lost: [u64; 2],
}

impl Scenario {
    /// One with no trouble: end 0 sends so much, end 1 nothing.
    pub fn bulk(seed: u64, link: LinkConfig, total_bytes: usize) -> Self {
        Self {
            seed,
            links: [link; 2],
            settings: [Settings::default(); 2],
            plans: [Plan::bulk(total_bytes), Plan::bulk(0)],
            simultaneous: false,
            chunks: 4096,
            iss: [u32::MAX - 30_000, 77_000],
        }
    }

    /// One of all that there are.
    pub fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let dies = rng.u32(..20) == 0;
        let mut links = [random_link(&mut rng), random_link(&mut rng)];
        if dies {
            let at = Nanos::from_secs(1) + Nanos::from_millis(rng.u64(..5000));
            links = links.map(|link| LinkConfig {
                dies_at: at,
                ..link
            });
        }
        Self {
            seed,
            links,
            settings: [random_settings(&mut rng), random_settings(&mut rng)],
            plans: [random_plan(&mut rng, dies), random_plan(&mut rng, dies)],
            simultaneous: rng.u32(..20) == 0,
            chunks: [64, 256, 1024][rng.usize(..3)],
            iss: [rng.u32(..), u32::MAX - rng.u32(..40_000)],
        }
    }

    /// Whether every byte must arrive and both ends part in peace.
    pub fn is_peaceful(&self) -> bool {
        let orderly = |plan: &Plan| plan.ending == Ending::Orderly;
        let lives = |link: &LinkConfig| link.dies_at == Nanos::NEVER;
        self.plans.iter().all(orderly) && self.links.iter().all(lives)
    }

    /// The world at its beginning.
    pub fn world(&self, capture: Option<Capture>) -> World {
        let end = |i: usize| {
            let mut end = End::new(
                self.settings[i],
                self.plans[i],
                self.chunks,
                Seq(self.iss[i]),
            );
            // Who only receives from a peer that has vanished learns of it in no other way.
            let probes = KeepAlive {
                idle_s: 600,
                interval_s: 60,
                count: KEEP_COUNT,
            };
            end.tcb.set_keepalive_parameters(probes, Nanos::ZERO);
            end.tcb.set_keepalive(true, Nanos::ZERO);
            end.listens = i == 1 && !self.simultaneous;
            end
        };
        let links = self.links.map(Link::new);
        World::new([end(0), end(1)], links, Rng::with_seed(self.seed), capture)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// Says which property did not hold.
    pub fn run(&self, capture: Option<Capture>) -> Result<Report, String> {
        let mut world = self.world(capture);
        let begin = world.now;
        world.connect(0)?;
        if self.simultaneous {
            world.connect(1)?;
        }
        for _ in 0..STEPS_MAX {
            if world.is_over() && world.is_quiet() {
                return self.finish(world, begin);
            }
            if !world.step()? {
                return self.finish_stuck(world, begin);
            }
            if world.now > begin + SPAN_MAX {
                return Err(format!("a day has passed: {}", describe(&world)));
            }
        }
        Err(format!("no end in sight: {}", describe(&world)))
    }

    /// Nothing will happen any more: right only where no connection was ever made of the second end.
    fn finish_stuck(&self, world: World, begin: Nanos) -> Result<Report, String> {
        let never_opened = world.ends[1].listens && world.ends[0].is_over();
        if never_opened {
            self.finish(world, begin)
        } else {
            Err(format!("nothing happens any more: {}", describe(&world)))
        }
    }

    fn finish(&self, mut world: World, begin: Nanos) -> Result<Report, String> {
        let report = Report {
            took: world.now - begin,
            read_at: [0, 1].map(|i| world.ends[i].read_at - begin),
            read: [0, 1].map(|i| world.ends[i].read),
            errors: [0, 1].map(|i| world.ends[i].tcb.peek_error()),
            counters: [0, 1].map(|i| *world.ends[i].tcb.counters()),
            lost: [0, 1].map(|i| world.links[i].lost),
        };
        // Who has closed already gives up sooner (`tcp_orphan_retries`), and who only waits after a few probes: a burst
        // of losses, which goes on packet by packet, outlasts both where few packets are sent.
        let abandoned = (0..2).any(|i| {
            let probed = report.counters[i].probes >= u32::from(KEEP_COUNT);
            report.errors[i] == Some(Error::TimedOut) && (world.ends[i].closed_first || probed)
        });
        let peaceful = self.is_peaceful() && !abandoned;
        for i in 0..2 {
            if world.ends[i].read > world.ends[1 - i].written {
                return Err(format!("end {i} read more than was written"));
            }
            if peaceful && report.read[i] != self.plans[1 - i].total_bytes {
                return Err(format!("end {i} did not get all: {}", describe(&world)));
            }
            if peaceful && report.errors[i].is_some() {
                return Err(format!("end {i} failed: {}", describe(&world)));
            }
        }
        for (i, end) in world.ends.iter_mut().enumerate() {
            let left = end.release();
            if left != 0 {
                return Err(format!("end {i}: {left} buffers were not given back"));
            }
        }
        Ok(report)
    }
}

fn describe(world: &World) -> String {
    let [a, b] = &world.ends;
    format!(
        "at {} ms; {} of {} written, {} read, {:?} {:?}; {} of {} written, {} read, {:?} {:?}",
        world.now.as_millis(),
        a.written,
        a.plan.total_bytes,
        a.read,
        a.events & Events::all(),
        a.tcb.info(),
        b.written,
        b.plan.total_bytes,
        b.read,
        b.events,
        b.tcb.info(),
    )
}

fn micros(rng: &mut Rng, below: u64) -> Nanos {
    Nanos::from_micros(rng.u64(..below))
}

fn random_link(rng: &mut Rng) -> LinkConfig {
    let delay = [300, 20_000, 150_000][rng.usize(..3)];
    let burst = Burst {
        begin_ppm: 5000,
        end_ppm: 200_000,
        loss_ppm: 900_000,
    };
    LinkConfig {
        delay: micros(rng, delay),
        jitter: [Nanos::ZERO, micros(rng, 1 + delay / 4)][rng.usize(..2)],
        loss_ppm: [0, 1000, 10_000, 50_000, 150_000][rng.usize(..5)],
        burst: if rng.u32(..4) == 0 {
            burst
        } else {
            Burst::NEVER
        },
        duplicate_ppm: [0, 0, 1000, 100_000][rng.usize(..4)],
        reorder_ppm: [0, 0, 10_000, 200_000][rng.usize(..4)],
        reorder_by: micros(rng, 2 + delay),
        rate_bps: [0, 0, 1_000_000, 20_000_000][rng.usize(..4)],
        queue_bytes: [10_000, 50_000][rng.usize(..2)],
        mark_bytes: [0, 5000][rng.usize(..2)],
        mtu: [0, 0, 0, 1300][rng.usize(..4)],
        ..LinkConfig::CLEAN
    }
}

fn random_settings(rng: &mut Rng) -> Settings {
    Settings {
        mss: [536, 1460, 8960][rng.usize(..3)],
        rcv_buf_bytes: rng.u32(3000..200_000),
        snd_buf_bytes: rng.u32(3000..200_000),
        timestamps: rng.u32(..4) != 0,
        window_scale: rng.u32(..4) != 0,
        sack: rng.u32(..4) != 0,
        ecn: Ecn::from_number(rng.u32(..6)),
        congestion: [Algorithm::Reno, Algorithm::Cubic, Algorithm::Bbr][rng.usize(..3)],
        // One loss in six gives no guarantee within the usual bounds.
        syn_retries: 30,
        data_retries: 30,
        // Longer than any backed-off retransmission of the other end's FIN.
        time_wait: Nanos::from_secs(2000),
        ..Settings::default()
    }
}

fn random_plan(rng: &mut Rng, orderly: bool) -> Plan {
    let total_bytes = [0, rng.usize(..5000), rng.usize(..200_000)][rng.usize(..3)];
    let ending = match rng.u32(..12) {
        0 if !orderly => Ending::Hasty,
        1 if !orderly => Ending::Abort(rng.usize(..=total_bytes)),
        _ => Ending::Orderly,
    };
    Plan {
        total_bytes,
        write_bytes: [1 + rng.usize(..200), 4096, 64 << 10][rng.usize(..3)],
        write_pause: [Nanos::ZERO, micros(rng, 2000)][rng.usize(..2)],
        read_bytes: [1 + rng.usize(..2000), 1 << 20][rng.usize(..2)],
        read_pause: [Nanos::ZERO, Nanos::ZERO, micros(rng, 20_000)][rng.usize(..3)],
        nodelay: rng.bool(),
        more: rng.u32(..4) == 0,
        ending,
    }
}

//! Hosts, the link between them, and time.

use crate::host::{Host, MTU};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sidestep_nic::fault::{Fate, Link, LinkConfig};
use sidestep_shm::{Clock, Nanos};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;

/// Longest sleep: what nobody tells of is looked for so often.
const NAP: Nanos = Nanos::from_millis(5);
/// Packets taken from one host, or given to one, before others have their turn: fewer than a host's rings hold.
const BATCH: usize = 64;
/// Where the destination's number is in an IPv4 packet, and the source's.
const NUMBER_AT: usize = 19;
const FROM_AT: usize = 15;

/// What uses the hosts' sockets.
pub(crate) trait Program {
    /// Does what can be done now.
    fn act(&mut self, hosts: &mut [Box<dyn Host>], now: Nanos) -> anyhow::Result<()>;
    /// Whether there is nothing more to do.
    fn is_over(&self) -> bool;
}

/// A number and a port of each side, the near one first.
type Flow = [(u8, [u8; 2]); 2];

/// Hosts on two sides of a link.
///
/// Chance is each connection's own, so that what becomes of its packets depends on no other: the nth of them from one side
/// is lost or not whoever sent it, which lets connections of two stacks be compared one by one.
pub(crate) struct Lab {
    /// Host `i` has the number `i + 1`.
    pub(crate) hosts: Vec<Box<dyn Host>>,
    /// Hosts below this index are on the near side.
    near: usize,
    /// From the near side, and back.
    links: [Link; 2],
    clock: Clock,
    seed: u64,
    flows: HashMap<Flow, usize>,
    /// One for each flow, and each way.
    chances: Vec<[fastrand::Rng; 2]>,
    flying: BinaryHeap<Reverse<(Nanos, u64, Vec<u8>)>>,
    sent: u64,
    /// Longest that a packet was late, as this machine had something else to do.
    pub(crate) late: Nanos,
}

impl Lab {
    pub(crate) fn new(
        hosts: Vec<Box<dyn Host>>,
        near: usize,
        links: [LinkConfig; 2],
        seed: u64,
    ) -> Self {
        // What else this machine does should not be what is measured; where it is refused, packets come later.
        crate::sys::go_first();
        // Without it sleeps end up to 50 µs late; where it is refused, they do.
        let _ = rustix::thread::set_current_timer_slack(core::num::NonZeroU64::new(1));
        Self {
            hosts,
            near,
            links: links.map(Link::new),
            clock: Clock::new(),
            seed,
            flows: HashMap::new(),
            chances: Vec::new(),
            flying: BinaryHeap::new(),
            sent: 0,
            late: Nanos::ZERO,
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// Runs programs until all are over; the time that took.
    pub(crate) fn run(
        &mut self,
        programs: &mut [&mut dyn Program],
        patience: Nanos,
    ) -> anyhow::Result<Nanos> {
        let begin = self.now();
        loop {
            let now = self.now();
            for program in &mut *programs {
                program.act(&mut self.hosts, now)?;
            }
            if programs.iter().all(|program| program.is_over()) {
                return Ok(now - begin);
            }
            anyhow::ensure!(
                now - begin < patience,
                "no end after {} ms",
                patience.as_millis()
            );
            while !self.turn()? {
                self.sleep()?;
                if self.now() - now > NAP {
                    break;
                }
            }
        }
    }

    /// Moves packets; whether anything arrived or left.
    fn turn(&mut self) -> io::Result<bool> {
        let mut moved = false;
        let mut packet = [0; MTU];
        for index in 0..self.hosts.len() {
            let now = self.now();
            self.hosts[index].poll(now);
            for _ in 0..BATCH {
                let len = self.hosts[index].take(now, &mut packet)?;
                if len == 0 {
                    break;
                }
                moved = true;
                self.launch(now, &packet[..len]);
            }
        }
        let now = self.now();
        for _ in 0..BATCH {
            let Some(Reverse((at, _, _))) = self.flying.peek() else {
                break;
            };
            if *at > now {
                break;
            }
            self.late = self.late.max(now - *at);
            if let Some(Reverse((_, _, packet))) = self.flying.pop()
                && let Some(host) = host_of(&packet)
                && let Some(host) = self.hosts.get_mut(host)
            {
                host.give(&packet)?;
            }
            moved = true;
        }
        Ok(moved)
    }

    fn launch(&mut self, now: Nanos, packet: &[u8]) {
        let Some(to) = host_of(packet).filter(|to| *to < self.hosts.len()) else {
            return;
        };
        let way = usize::from(to < self.near);
        let (seed, next) = (self.seed, self.chances.len());
        let flow = *self.flows.entry(flow_of(packet, way)).or_insert(next);
        if flow == next {
            let of = |way: u64| {
                let mut mixed = fastrand::Rng::with_seed(2 * next as u64 + way);
                fastrand::Rng::with_seed(mixed.u64(..) ^ seed)
            };
            self.chances.push([of(0), of(1)]);
        }
        let rng = &mut self.chances[flow][way];
        let Fate::Arrives {
            at, again, corrupt, ..
        } = self.links[way].send(rng, now, packet.len(), false)
        else {
            return;
        };
        let mut packet = packet.to_vec();
        if corrupt {
            let bit = rng.usize(..packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        for at in again.into_iter().chain([at]) {
            self.sent += 1;
            self.flying.push(Reverse((at, self.sent, packet.clone())));
        }
    }

    /// Sleeps until a host has a packet, one arrives, or a timer is due.
    fn sleep(&self) -> io::Result<()> {
        let now = self.now();
        let arrival = self.flying.peek().map_or(Nanos::NEVER, |next| next.0.0);
        let timers = self.hosts.iter().map(|host| host.next_timer());
        let until = timers.fold(arrival, Nanos::min).min(now + NAP);
        let mut fds: Vec<PollFd<'_>> = self
            .hosts
            .iter()
            .filter_map(|host| host.fd())
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from((until - now).0).unwrap_or(0),
        };
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Packets lost on the way there and back.
    pub(crate) fn lost(&self) -> [u64; 2] {
        [self.links[0].lost, self.links[1].lost]
    }
}

/// The host that an IPv4 packet is for; none for others.
fn host_of(packet: &[u8]) -> Option<usize> {
    let is_v4 = packet.first()? >> 4 == 4;
    let number = usize::from(*packet.get(NUMBER_AT)?);
    number.checked_sub(1).filter(|_| is_v4)
}

/// Whose packet it is that goes this way, 0 from the near side; one flow of all that have no ports.
fn flow_of(packet: &[u8], way: usize) -> Flow {
    let at = usize::from(packet[0] & 15) * 4;
    let port = |at: usize| {
        let port = packet.get(at..at + 2).and_then(|port| port.try_into().ok());
        port.unwrap_or_default()
    };
    let mut flow = [
        (packet[FROM_AT], port(at)),
        (packet[NUMBER_AT], port(at + 2)),
    ];
    if way == 1 {
        flow.reverse();
    }
    flow
}

//! Two ends, a link for each direction, and time that jumps from one event to the next.

use crate::capture::Capture;
use crate::check::{self, Edge};
use crate::end::{End, Segment};
use fastrand::Rng;
use sidestep_nic::fault::{Fate, Link};
use sidestep_shm::Nanos;
use sidestep_tcp::{IcmpError, State};
use sidestep_wire::Seq;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// IP and TCP headers without options.
const HEADERS: u16 = 40;
/// What an IP header has at least.
const IP_HEADER: usize = 20;
/// ECT(0) and CE (RFC 3168 section 5).
const ECT_0: u8 = 2;
/// Ports of the two ends.
const PORTS: [u16; 2] = [10, 20];

/// What is on its way.
enum Packet {
    Segment {
        segment: Segment,
        marked: bool,
    },
    /// News for the sender: a packet that began at this number was too long.
    TooBig {
        mss: u16,
        seq: Seq,
    },
}

/// Ordered by time, and then by when it was sent.
struct Flying {
    key: Reverse<(Nanos, u64)>,
    to: usize,
    packet: Packet,
}

impl PartialEq for Flying {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Flying {}

impl PartialOrd for Flying {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Flying {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Two ends and what lies between them.
pub struct World {
    /// The time.
    pub now: Nanos,
    /// The ends; end 0 opens.
    pub ends: [End; 2],
    /// The direction from each end.
    pub links: [Link; 2],
    edges: [Edge; 2],
    rng: Rng,
    flying: BinaryHeap<Flying>,
    sent: u64,
    capture: Option<Capture>,
}

impl World {
    /// A world in which nothing has happened. `simultaneous`: both ends open.
    pub(crate) fn new(
        ends: [End; 2],
        links: [Link; 2],
        rng: Rng,
        capture: Option<Capture>,
    ) -> Self {
        Self {
            now: Nanos::from_secs(1),
            ends,
            links,
            edges: [Edge::default(); 2],
            rng,
            flying: BinaryHeap::new(),
            sent: 0,
            capture,
        }
    }

    /// End `i` opens.
    ///
    /// # Errors
    /// Says which property does not hold.
    pub fn connect(&mut self, i: usize) -> Result<(), String> {
        self.ends[i].connect(self.now, (PORTS[i], PORTS[1 - i]));
        let opened = self.ends[i].tcb.state();
        self.settle(i, opened)
    }

    /// Goes on to the next event; false if there will be none.
    ///
    /// # Errors
    /// Says which property does not hold.
    pub fn step(&mut self) -> Result<bool, String> {
        let arrival = self.flying.peek().map_or(Nanos::NEVER, |f| f.key.0.0);
        let timers = [0, 1].map(|i| self.ends[i].tcb.next_timeout());
        let acts = [0, 1].map(|i| self.ends[i].next_act());
        let next = timers.into_iter().chain(acts).fold(arrival, Nanos::min);
        if next == Nanos::NEVER {
            return Ok(false);
        }
        self.now = self.now.max(next);
        if arrival <= self.now
            && let Some(flying) = self.flying.pop()
        {
            self.deliver(flying)?;
            return Ok(true);
        }
        for i in 0..2 {
            let before = self.ends[i].tcb.state();
            if timers[i] <= self.now {
                self.ends[i].on_timer(self.now);
            }
            if timers[i] <= self.now || acts[i] <= self.now {
                self.settle(i, before)?;
            }
        }
        Ok(true)
    }

    fn deliver(&mut self, flying: Flying) -> Result<(), String> {
        let to = flying.to;
        let before = self.ends[to].tcb.state();
        match flying.packet {
            Packet::Segment { segment, marked } => {
                let listened = self.ends[to].listens;
                self.ends[to].arrive(self.now, &segment.repr, &segment.payload, marked);
                if listened {
                    let opened = self.ends[to].tcb.state();
                    return self.settle(to, opened);
                }
            }
            Packet::TooBig { mss, seq } => {
                let error = IcmpError::TooBig { mss };
                let events = self.ends[to].with(self.now, |tcb, env| tcb.on_icmp(env, error, seq));
                self.ends[to].events |= events;
            }
        }
        self.settle(to, before)
    }

    /// After anything has happened at an end: its output, its program, its properties.
    fn settle(&mut self, i: usize, before: State) -> Result<(), String> {
        let here = |what: String| format!("end {i}: {what}");
        self.flush(i).map_err(here)?;
        check::end(&mut self.ends[i], before).map_err(here)?;
        let before = self.ends[i].tcb.state();
        self.ends[i].act(self.now).map_err(here)?;
        self.flush(i).map_err(here)?;
        check::end(&mut self.ends[i], before).map_err(here)
    }

    fn flush(&mut self, i: usize) -> Result<(), String> {
        while let Some(segment) = self.ends[i].transmit(self.now) {
            check::segment(&self.ends[i], self.edges[i], &segment)?;
            self.edges[1 - i].offer(&self.ends[i], &segment);
            if let Some(capture) = &mut self.capture {
                let tos = if segment.ect { ECT_0 } else { 0 };
                capture
                    .add(self.now, i, tos, &segment.repr, &segment.payload)
                    .map_err(|error| error.to_string())?;
            }
            self.launch(i, segment);
        }
        Ok(())
    }

    fn launch(&mut self, from: usize, segment: Segment) {
        let link = &mut self.links[from];
        let bytes = IP_HEADER + segment.repr.header_len() + segment.payload.len();
        match link.send(&mut self.rng, self.now, bytes, segment.ect) {
            // Its checksum tells.
            Fate::Lost | Fate::Arrives { corrupt: true, .. } => {}
            Fate::TooBig => {
                let mss = link.config.mtu - HEADERS;
                let (at, seq) = (self.now + link.config.delay, segment.repr.seq);
                self.put(at, from, Packet::TooBig { mss, seq });
            }
            Fate::Arrives {
                at, again, marked, ..
            } => {
                if let Some(again) = again {
                    let segment = segment.clone();
                    self.put(again, 1 - from, Packet::Segment { segment, marked });
                }
                self.put(at, 1 - from, Packet::Segment { segment, marked });
            }
        }
    }

    fn put(&mut self, at: Nanos, to: usize, packet: Packet) {
        self.sent += 1;
        self.flying.push(Flying {
            key: Reverse((at, self.sent)),
            to,
            packet,
        });
    }

    /// Whether both ends are done with.
    pub(crate) fn is_over(&self) -> bool {
        self.ends.iter().all(End::is_over)
    }

    /// Whether something is still on its way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.flying.is_empty()
    }
}

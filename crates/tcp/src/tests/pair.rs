//! Two connections over a link in virtual time that may lose, delay, repeat and reorder, all from one seed.

use super::{Memory, ms, with_env};
use crate::{Events, Settings, State, Tcb, listen};
use sidestep_shm::{Foreign, ForeignMut, Nanos};
use sidestep_wire::Seq;
use sidestep_wire::tcp::Repr;

/// A small generator (xorshift64*), so that a seed is all there is to a run.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// What the link does, in per mille and time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) delay: Nanos,
    pub(super) jitter: Nanos,
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    pub(super) reorder: u64,
}

impl Link {
    pub(super) const CLEAN: Self = Self {
        delay: ms(5),
        jitter: Nanos::ZERO,
        loss: 0,
        duplicate: 0,
        reorder: 0,
    };
}

pub(super) struct End {
    pub(super) tcb: Tcb,
    pub(super) memory: Memory,
    pub(super) events: Events,
    pub(super) received: Vec<u8>,
    /// Segments that this end has sent.
    pub(super) segments: usize,
    open: bool,
}

struct Flying {
    at: Nanos,
    order: u64,
    to: usize,
    repr: Repr,
    payload: Vec<u8>,
}

/// Decides by sender, header and payload length whether a segment is lost.
type Lose = Box<dyn FnMut(usize, &Repr, usize) -> bool>;

pub(super) struct Pair {
    pub(super) ends: [End; 2],
    pub(super) now: Nanos,
    pub(super) link: Link,
    pub(super) settings: [Settings; 2],
    pub(super) lose: Option<Lose>,
    iss: [Seq; 2],
    flying: Vec<Flying>,
    rng: Rng,
    order: u64,
}

impl Pair {
    pub(super) fn new(seed: u64, link: Link, settings: Settings) -> Self {
        let end = || End {
            tcb: Tcb::new(),
            memory: Memory::new(1024),
            events: Events::empty(),
            received: Vec::new(),
            segments: 0,
            open: true,
        };
        Self {
            ends: [end(), end()],
            now: ms(1000),
            link,
            settings: [settings; 2],
            lose: None,
            iss: [Seq(100), Seq(900_000)],
            flying: Vec::new(),
            rng: Rng::new(seed),
            order: 0,
        }
    }

    pub(super) fn with_iss(mut self, a: Seq, b: Seq) -> Self {
        self.iss = [a, b];
        self
    }

    /// End `i` opens actively.
    pub(super) fn connect(&mut self, i: usize) {
        let end = &mut self.ends[i];
        let (local, remote) = if i == 0 { (10, 20) } else { (20, 10) };
        with_env!(end.memory, self.now, |env| end.tcb.connect(
            env,
            &self.settings[i],
            local,
            remote,
            self.iss[i],
            77
        ));
        self.flush(i);
    }

    /// A pair with the handshake done, by end 0.
    pub(super) fn established(seed: u64, link: Link, settings: Settings) -> Self {
        let mut pair = Self::new(seed, link, settings);
        pair.connect(0);
        pair.run_until(|pair| {
            pair.ends
                .iter()
                .all(|e| e.events.contains(Events::CONNECTED))
        });
        pair
    }

    /// Sends what end `i` has.
    pub(super) fn flush(&mut self, i: usize) {
        loop {
            let end = &mut self.ends[i];
            let Some(transmit) = with_env!(end.memory, self.now, |env| end.tcb.poll_transmit(env))
            else {
                break;
            };
            let mut payload = vec![0; transmit.payload_len];
            let pool = end.memory.pool();
            transmit.copy_payload(&pool, &mut ForeignMut::from(&mut payload[..]));
            end.segments += 1;
            self.launch(1 - i, transmit.repr, payload);
        }
    }

    /// Puts a segment on the link to end `to`.
    pub(super) fn launch(&mut self, to: usize, repr: Repr, payload: Vec<u8>) {
        if let Some(lose) = &mut self.lose
            && lose(1 - to, &repr, payload.len())
        {
            return;
        }
        if self.rng.chance(self.link.loss) {
            return;
        }
        let copies = if self.rng.chance(self.link.duplicate) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut at = self.now + self.link.delay;
            if self.link.jitter != Nanos::ZERO {
                at = at + Nanos(self.rng.below(self.link.jitter.0));
            }
            if self.rng.chance(self.link.reorder) {
                at = at + self.link.delay + ms(1);
            }
            self.order += 1;
            let payload = payload.clone();
            self.flying.push(Flying {
                at,
                order: self.order,
                to,
                repr,
                payload,
            });
        }
    }

    /// When something happens next.
    pub(super) fn next_event(&self) -> Nanos {
        let timers = self.ends.iter().map(|end| end.tcb.next_timeout());
        self.flying
            .iter()
            .map(|f| f.at)
            .chain(timers)
            .min()
            .unwrap_or(Nanos::NEVER)
    }

    /// Goes on to the next thing that happens; false if nothing will.
    pub(super) fn step(&mut self) -> bool {
        let next = self.next_event();
        if next == Nanos::NEVER {
            return false;
        }
        self.now = self.now.max(next);
        let arrived = (0..self.flying.len())
            .filter(|i| self.flying[*i].at <= self.now)
            .min_by_key(|i| (self.flying[*i].at, self.flying[*i].order));
        if let Some(index) = arrived {
            let packet = self.flying.swap_remove(index);
            self.deliver(packet.to, &packet.repr, &packet.payload);
        } else {
            for i in 0..2 {
                if self.ends[i].tcb.next_timeout() <= self.now {
                    let end = &mut self.ends[i];
                    end.events |= with_env!(end.memory, self.now, |env| end.tcb.on_timer(env));
                    self.flush(i);
                }
            }
        }
        true
    }

    fn deliver(&mut self, to: usize, repr: &Repr, payload: &[u8]) {
        let end = &mut self.ends[to];
        let settings = &self.settings[to];
        if end.tcb.state() == State::Closed {
            let fresh = end.open && !end.events.contains(Events::CLOSED);
            if fresh && listen::on_segment(repr, payload.len()) == listen::Disposition::Syn {
                let iss = self.iss[to];
                with_env!(end.memory, self.now, |env| end
                    .tcb
                    .accept(env, settings, repr, iss, 55));
            } else if let Some(reset) = crate::reset_for(repr, payload.len()) {
                self.launch(1 - to, reset, Vec::new());
            }
        } else {
            let events = with_env!(end.memory, self.now, |env| end.tcb.on_segment(
                env,
                repr,
                Foreign::from(payload)
            ));
            assert_eq!(events.contains(Events::OUTPUT), end.tcb.wants_output());
            end.events |= events;
        }
        self.flush(to);
    }

    /// Runs until `done`, for at most an hour of virtual time and a bounded number of steps.
    pub(super) fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let limit = self.now + Nanos::from_secs(3600);
        for _ in 0..2_000_000 {
            if done(self) {
                return;
            }
            assert!(self.step(), "nothing happens any more: {:?}", self.states());
            assert!(self.now < limit, "an hour has passed: {:?}", self.states());
        }
        panic!("no end in sight: {:?}", self.states());
    }

    /// Runs for a span of virtual time.
    pub(super) fn run_for(&mut self, span: Nanos) {
        let end = self.now + span;
        while self.next_event() <= end {
            self.step();
        }
        self.now = end;
    }

    pub(super) fn states(&self) -> [State; 2] {
        [self.ends[0].tcb.state(), self.ends[1].tcb.state()]
    }

    pub(super) fn send(&mut self, i: usize, bytes: &[u8]) -> usize {
        let end = &mut self.ends[i];
        let n = with_env!(end.memory, self.now, |env| end.tcb.send(
            env,
            Foreign::from(bytes),
            true
        ));
        self.flush(i);
        n
    }

    /// Reads up to `bytes_max` into what end `i` has received.
    pub(super) fn recv(&mut self, i: usize, bytes_max: usize) -> usize {
        let end = &mut self.ends[i];
        let mut bytes = vec![0; bytes_max.min(end.tcb.recv_len())];
        let n = with_env!(end.memory, self.now, |env| end.tcb.recv(
            env,
            &mut ForeignMut::from(&mut bytes[..]),
            false
        ));
        end.received.extend_from_slice(&bytes[..n]);
        self.flush(i);
        n
    }

    pub(super) fn shutdown(&mut self, i: usize) {
        let end = &mut self.ends[i];
        with_env!(end.memory, self.now, |env| end.tcb.shutdown_write(env));
        self.flush(i);
    }

    pub(super) fn close(&mut self, i: usize) {
        let end = &mut self.ends[i];
        end.events |= with_env!(end.memory, self.now, |env| end.tcb.close(env));
        self.flush(i);
    }

    /// Releases both ends: no buffer may be left in use.
    pub(super) fn finish(mut self) {
        for end in &mut self.ends {
            end.tcb.release(&mut end.memory.pool());
            assert_eq!(end.memory.used(), 0, "chunks leaked");
        }
    }
}

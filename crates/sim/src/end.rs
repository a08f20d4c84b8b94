//! One end: a connection, the memory its bytes lie in, and the program that uses it.

use crate::program::{Ending, Plan};
use sidestep_shm::{CHUNK_BYTES, ChunkMeta, ChunkPool, Foreign, ForeignMut, Nanos, PoolHead};
use sidestep_tcp::{Env, Events, Settings, State, Tcb};
use sidestep_wire::Seq;
use sidestep_wire::tcp::Repr;
use std::sync::OnceLock;
use zerocopy::FromZeros;

/// A stream repeats itself after so many bytes; a prime, so that no buffer or segment size divides it.
const PERIOD: usize = 65_521;
/// Longest piece of a stream that is looked at at once.
const PIECE_MAX: usize = 1 << 20;

/// The bytes of a stream from `at` on, at most [`PIECE_MAX`] of them.
pub(crate) fn stream(at: usize, len: usize) -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = BYTES.get_or_init(|| {
        let mut rng = fastrand::Rng::with_seed(0);
        let mut bytes: Vec<u8> = (0..PERIOD).map(|_| rng.u8(..)).collect();
        while bytes.len() < PERIOD + PIECE_MAX {
            bytes.extend_from_within(..PERIOD);
        }
        bytes
    });
    &bytes[at % PERIOD..][..len.min(PIECE_MAX)]
}

/// Plain memory for a pool of buffers.
struct Memory {
    head: PoolHead,
    meta: Vec<ChunkMeta>,
    data: Vec<[u8; CHUNK_BYTES]>,
}

impl Memory {
    fn new(chunks: usize) -> Self {
        Self {
            head: PoolHead::new_zeroed(),
            meta: vec![ChunkMeta::new_zeroed(); chunks],
            data: vec![[0; CHUNK_BYTES]; chunks],
        }
    }

    fn pool(&mut self) -> ChunkPool<'_> {
        ChunkPool::new(&mut self.head, &mut self.meta, &mut self.data)
    }
}

/// A segment as it goes over the link.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) repr: Repr,
    pub(crate) payload: Vec<u8>,
    /// The sender understands marks on it.
    pub(crate) ect: bool,
}

/// One end of the connection.
pub struct End {
    /// The connection.
    pub tcb: Tcb,
    memory: Memory,
    settings: Settings,
    pub(crate) plan: Plan,
    pub(crate) iss: Seq,
    /// Opens when a SYN comes.
    pub(crate) listens: bool,
    /// All that has happened.
    pub events: Events,
    /// Bytes that the program has written.
    pub written: usize,
    /// Bytes that it has read.
    pub read: usize,
    /// When it read the last of them.
    pub read_at: Nanos,
    next_write: Nanos,
    next_read: Nanos,
    writes: usize,
    /// How long it waits before it writes again, after it could not.
    patience: Nanos,
    shut: bool,
    /// The program has let go of the connection.
    pub(crate) closed: bool,
    /// It did so before the connection had ended.
    pub(crate) closed_first: bool,
    buffer: Vec<u8>,
}

impl End {
    pub(crate) fn new(settings: Settings, plan: Plan, chunks: usize, iss: Seq) -> Self {
        let mut tcb = Tcb::new();
        tcb.set_nodelay(plan.nodelay);
        Self {
            tcb,
            memory: Memory::new(chunks),
            settings,
            plan,
            iss,
            listens: false,
            events: Events::empty(),
            written: 0,
            read: 0,
            read_at: Nanos::ZERO,
            next_write: Nanos::ZERO,
            next_read: Nanos::ZERO,
            writes: 0,
            patience: Nanos::from_millis(1),
            shut: false,
            closed: false,
            closed_first: false,
            buffer: Vec::new(),
        }
    }

    /// Runs `body` on the connection with what it needs of its surroundings.
    pub(crate) fn with<R>(
        &mut self,
        now: Nanos,
        body: impl FnOnce(&mut Tcb, &mut Env<'_, '_>) -> R,
    ) -> R {
        let mut pool = self.memory.pool();
        let mut env = Env {
            now,
            pool: &mut pool,
        };
        body(&mut self.tcb, &mut env)
    }

    /// Buffers in use.
    pub(crate) fn used(&mut self) -> u32 {
        self.memory.pool().used()
    }

    pub(crate) fn connect(&mut self, now: Nanos, ports: (u16, u16)) {
        let (settings, iss) = (self.settings, self.iss);
        self.with(now, |tcb, env| {
            tcb.connect(env, &settings, ports.0, ports.1, iss, 77);
        });
    }

    /// A segment arrives; `marked` if congestion was experienced on its way.
    pub(crate) fn arrive(&mut self, now: Nanos, repr: &Repr, payload: &[u8], marked: bool) {
        let (settings, iss) = (self.settings, self.iss);
        if self.listens {
            use sidestep_tcp::listen::{Disposition, on_segment};
            if on_segment(repr, payload.len()) == Disposition::Syn {
                self.listens = false;
                self.with(now, |tcb, env| tcb.accept(env, &settings, repr, iss, 55));
            }
            return;
        }
        let events = self.with(now, |tcb, env| {
            if marked {
                tcb.on_congestion_experienced(repr.seq);
            }
            tcb.on_segment(env, repr, Foreign::from(payload))
        });
        self.events |= events;
    }

    pub(crate) fn on_timer(&mut self, now: Nanos) {
        let events = self.with(now, Tcb::on_timer);
        self.events |= events;
    }

    /// The next segment that it sends.
    pub(crate) fn transmit(&mut self, now: Nanos) -> Option<Segment> {
        let transmit = self.with(now, Tcb::poll_transmit)?;
        let mut payload = vec![0; transmit.payload_len];
        let pool = self.memory.pool();
        transmit.copy_payload(&pool, &mut ForeignMut::from(&mut payload[..]));
        Some(Segment {
            repr: transmit.repr,
            payload,
            ect: transmit.ect,
        })
    }

    /// When the program acts next of itself.
    pub(crate) fn next_act(&self) -> Nanos {
        let mut at = Nanos::NEVER;
        if self.closed {
            return at;
        }
        if self.wants_write() && self.tcb.send_space() > 0 {
            at = at.min(self.next_write);
        }
        if self.tcb.recv_len() > 0 {
            at = at.min(self.next_read);
        }
        at
    }

    fn wants_write(&self) -> bool {
        self.written < self.plan.total_bytes && self.tcb.can_send()
    }

    /// The program does what it can now.
    ///
    /// # Errors
    /// Where it reads what was not written.
    pub(crate) fn act(&mut self, now: Nanos) -> Result<(), String> {
        if self.closed {
            return Ok(());
        }
        self.write(now);
        self.read(now)?;
        if self.tcb.state() == State::Closed && !self.listens && self.tcb.recv_len() == 0 {
            self.closed |= self.events.contains(Events::CLOSED);
            return Ok(());
        }
        let all_written = self.written == self.plan.total_bytes && self.tcb.can_send();
        match self.plan.ending {
            Ending::Orderly => {
                if all_written && !self.shut {
                    self.shut = true;
                    let events = self.with(now, Tcb::shutdown_write);
                    self.events |= events;
                }
                if self.shut && self.tcb.at_eof() {
                    self.close(now);
                }
            }
            Ending::Hasty if all_written => self.close(now),
            Ending::Abort(after) if self.written >= after && self.tcb.can_send() => {
                self.closed = true;
                let events = self.with(now, Tcb::abort);
                self.events |= events;
            }
            Ending::Hasty | Ending::Abort(_) => {}
        }
        Ok(())
    }

    fn close(&mut self, now: Nanos) {
        self.closed = true;
        self.closed_first = true;
        let events = self.with(now, Tcb::close);
        self.events |= events;
    }

    fn write(&mut self, now: Nanos) {
        while self.wants_write() && now >= self.next_write {
            let left = self.plan.total_bytes - self.written;
            let bytes = stream(self.written, left.min(self.plan.write_bytes));
            let more = self.plan.more && self.writes.is_multiple_of(2) && left > bytes.len();
            let sent = self.with(now, |tcb, env| tcb.send(env, Foreign::from(bytes), !more));
            self.written += sent;
            self.writes += 1;
            self.next_write = now + self.plan.write_pause;
            if sent == 0 {
                // The pool is full. Tries again, less and less often.
                self.patience = Nanos(2 * self.patience.0).min(Nanos::from_secs(10));
                self.next_write = now + self.patience;
            } else {
                self.patience = Nanos::from_millis(1);
            }
            if sent < bytes.len() || self.plan.write_pause != Nanos::ZERO {
                break;
            }
        }
    }

    fn read(&mut self, now: Nanos) -> Result<(), String> {
        while self.tcb.recv_len() > 0 && now >= self.next_read {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(
                self.plan.read_bytes.min(self.tcb.recv_len()).min(PIECE_MAX),
                0,
            );
            let n = self.with(now, |tcb, env| {
                tcb.recv(env, &mut ForeignMut::from(&mut buffer[..]), false)
            });
            if buffer[..n] != *stream(self.read, n) {
                return Err(format!("not what was written, from byte {} on", self.read));
            }
            self.buffer = buffer;
            self.read += n;
            self.read_at = now;
            self.next_read = now + self.plan.read_pause;
            if self.plan.read_pause != Nanos::ZERO {
                break;
            }
        }
        Ok(())
    }

    /// Whether it is over: closed by all, with nothing left to send.
    pub(crate) fn is_over(&self) -> bool {
        self.closed && self.tcb.state() == State::Closed && !self.tcb.wants_output()
    }

    /// Gives all buffers back; returns how many are in use then, which should be none.
    pub(crate) fn release(&mut self) -> u32 {
        let mut pool = self.memory.pool();
        self.tcb.release(&mut pool);
        pool.used()
    }
}

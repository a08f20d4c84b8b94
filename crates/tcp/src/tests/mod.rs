//! Tests of whole connections: `bench` drives one connection by hand, `pair` two over a link in virtual time.

mod bench;
mod pair;

mod ecn;

mod accurate_ecn;
mod bbr;
mod choices;
mod closing;
mod cookies;
mod cutting;
mod fast_open;
mod flow;
mod handshake;
mod loss;
mod records;
mod recovery;
mod scripted;
mod search;
mod spurious;
mod stream;
mod timers;
mod urgent;
mod validation;

use crate::Settings;
use sidestep_shm::{CHUNK_BYTES, ChunkMeta, ChunkPool, Nanos, PoolHead};
use zerocopy::FromZeros;

/// Plain memory for a pool.
pub(crate) struct Memory {
    head: PoolHead,
    meta: Vec<ChunkMeta>,
    data: Vec<[u8; CHUNK_BYTES]>,
}

impl Memory {
    pub(crate) fn new(chunks: usize) -> Self {
        Self {
            head: PoolHead::new_zeroed(),
            meta: vec![ChunkMeta::new_zeroed(); chunks],
            data: vec![[0; CHUNK_BYTES]; chunks],
        }
    }

    pub(crate) fn pool(&mut self) -> ChunkPool<'_> {
        ChunkPool::new(&mut self.head, &mut self.meta, &mut self.data)
    }

    pub(crate) fn used(&mut self) -> u32 {
        self.pool().used()
    }
}

/// Runs `body` with an `Env` over a memory.
macro_rules! with_env {
    ($memory:expr, $now:expr, |$env:ident| $body:expr) => {{
        let mut pool = $memory.pool();
        let $env = &mut crate::Env {
            now: $now,
            pool: &mut pool,
        };
        $body
    }};
}
use with_env;

/// A millisecond.
const MS: Nanos = Nanos::from_millis(1);

const fn ms(n: u64) -> Nanos {
    Nanos::from_millis(n)
}

fn settings() -> Settings {
    Settings {
        mss: 1000,
        rcv_buf_bytes: 60_000,
        snd_buf_bytes: 100_000,
        congestion: crate::Algorithm::Reno,
        ..Settings::default()
    }
}

/// Bytes whose value says where in a stream they are.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len)
        .map(|i| u8::try_from((i * 7 + i / 251) % 256).unwrap())
        .collect()
}

//! The index allocator and the queues of bytes, against simple models.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use sidestep_shm::{
    CHUNK_BYTES, ChunkMeta, ChunkPool, ChunkQueue, Foreign, ForeignMut, FreeList, NONE, PoolHead,
    Use,
};
use std::collections::BTreeSet;
use zerocopy::FromZeros;

/// A free list with the table of links that its user keeps.
struct Table {
    list: FreeList,
    links: Vec<u32>,
}

impl Table {
    fn new(capacity: usize) -> Self {
        let list = FreeList::new_zeroed();
        let links = vec![0; capacity];
        Self { list, links }
    }

    fn take(&mut self) -> Option<u32> {
        let links = &self.links;
        self.list.take(links.len(), |i| links[i as usize])
    }

    fn give(&mut self, index: u32) {
        self.links[index as usize] = self.list.give(index);
    }
}

#[test]
fn the_index_given_back_last_is_taken_first() {
    let mut table = Table::new(4);
    assert_eq!((0..3).map(|_| table.take()).sum::<Option<u32>>(), Some(3));
    assert_eq!(table.list.fresh(), 3);
    table.give(0);
    table.give(2);
    assert_eq!(table.list.used(), 1);
    let taken = [(); 5].map(|()| table.take());
    assert_eq!(taken, [Some(2), Some(0), Some(3), None, None]);
    assert_eq!((table.list.used(), table.list.fresh()), (4, 4));
}

#[test]
fn a_table_without_entries_gives_none() {
    let mut table = Table::new(0);
    assert_eq!(table.take(), None);
    assert_eq!((table.list.used(), table.list.fresh()), (0, 0));
}

proptest! {
    #[test]
    fn no_index_is_taken_twice(capacity in 1usize..9, steps in prop::collection::vec(0u32..12, 0..60)) {
        let mut table = Table::new(capacity);
        let (mut taken, mut given, mut fresh) = (BTreeSet::new(), Vec::new(), 0);
        for step in steps {
            if step < 6 {
                let expected = given.pop().or_else(|| {
                    let lowest = (fresh as usize) < capacity;
                    lowest.then(|| { fresh += 1; fresh - 1 })
                });
                prop_assert_eq!(table.take(), expected);
                if let Some(index) = expected {
                    prop_assert!(taken.insert(index));
                }
            } else if taken.remove(&(step - 6)) {
                table.give(step - 6);
                given.push(step - 6);
            }
            prop_assert_eq!(table.list.used() as usize, taken.len());
            prop_assert_eq!(table.list.fresh(), fresh);
        }
    }
}

/// The tables of a pool.
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

fn content(pool: &ChunkPool<'_>, queue: &ChunkQueue) -> Vec<u8> {
    let mut bytes = vec![0; queue.len() + 1];
    let n = queue.copy_out(pool, 0, &mut ForeignMut::from(&mut bytes[..]));
    bytes.truncate(n);
    bytes
}

#[test]
fn a_queue_spans_chunks_and_gives_them_back() {
    let mut memory = Memory::new(16);
    let mut pool = memory.pool();
    let mut queue = ChunkQueue::EMPTY;
    assert_eq!((queue.head(), queue.tail()), (NONE, NONE));
    let bytes: Vec<u8> = (0..5000u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    let taken = queue.append(&mut pool, Foreign::from(&bytes[..]), Use::Send);
    assert_eq!((taken, queue.len(), queue.chunks()), (5000, 5000, 3));
    assert_eq!(content(&pool, &queue), bytes);

    queue.consume(&mut pool, CHUNK_BYTES - 1);
    assert_eq!((queue.chunks(), pool.used()), (3, 3));
    queue.consume(&mut pool, 1);
    assert_eq!((queue.chunks(), pool.used()), (2, 2));
    assert_eq!(content(&pool, &queue), bytes[CHUNK_BYTES..]);
    queue.consume(&mut pool, usize::MAX);
    assert!(queue.is_empty());
    assert_eq!((queue.head(), queue.tail(), pool.used()), (NONE, NONE, 0));
}

#[test]
fn neither_use_takes_all_chunks_and_an_exhausted_pool_recovers() {
    let mut memory = Memory::new(16);
    let mut pool = memory.pool();
    let mut sent = ChunkQueue::EMPTY;
    let mut received = ChunkQueue::EMPTY;
    let much = vec![7; 20 * CHUNK_BYTES];
    let src = Foreign::from(&much[..]);
    assert_eq!(sent.append(&mut pool, src, Use::Send), 14 * CHUNK_BYTES);
    assert_eq!(pool.exhausted(), 1);
    assert!(!pool.has_room(Use::Send) && pool.has_room(Use::Receive));
    assert_eq!(
        received.append(&mut pool, src, Use::Receive),
        2 * CHUNK_BYTES
    );
    assert_eq!((pool.used(), pool.exhausted()), (16, 2));
    assert_eq!(pool.alloc(Use::Receive), None);

    sent.clear(&mut pool);
    assert!(pool.has_room(Use::Send));
    assert_eq!(
        received.append(&mut pool, src, Use::Receive),
        12 * CHUNK_BYTES
    );
    assert_eq!(content(&pool, &received), vec![7; 14 * CHUNK_BYTES]);
    received.clear(&mut pool);
    assert_eq!(pool.used(), 0);
    assert_eq!(
        sent.append(&mut pool, src.first(1), Use::Send),
        1,
        "the whole pool can be had again"
    );
}

/// What is done to a queue.
#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Consume(usize),
    CopyOut(usize, usize),
    Read(usize),
    Push(usize),
    Pop,
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        4 => (0usize..6000).prop_map(Step::Append),
        3 => (0usize..5000).prop_map(Step::Consume),
        2 => (0usize..9000, 0usize..5000).prop_map(|(at, n)| Step::CopyOut(at, n)),
        3 => (0usize..5000).prop_map(Step::Read),
        1 => (0usize..CHUNK_BYTES + 100).prop_map(Step::Push),
        1 => Just(Step::Pop),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec((any::<bool>(), step), 1..60)
}

/// A queue and what should be in it.
struct Modelled {
    queue: ChunkQueue,
    bytes: Vec<u8>,
    purpose: Use,
    /// The next byte to write: every run of bytes differs from its neighbours.
    next: u8,
}

impl Modelled {
    const fn new(purpose: Use, next: u8) -> Self {
        Self {
            queue: ChunkQueue::EMPTY,
            bytes: Vec::new(),
            purpose,
            next,
        }
    }

    fn fresh(&mut self, n: usize) -> Vec<u8> {
        let from = self.next;
        self.next = self.next.wrapping_add(u8::try_from(n % 256).unwrap());
        (0..n)
            .map(|i| from.wrapping_add(u8::try_from(i % 253).unwrap()))
            .collect()
    }

    fn apply(&mut self, pool: &mut ChunkPool<'_>, step: Step) {
        match step {
            Step::Append(n) => {
                let src = self.fresh(n);
                let taken = self
                    .queue
                    .append(pool, Foreign::from(&src[..]), self.purpose);
                let full = pool.used() as usize == pool.capacity();
                assert!(taken == n || full || !pool.has_room(self.purpose));
                self.bytes.extend_from_slice(&src[..taken]);
            }
            Step::Consume(n) => {
                self.queue.consume(pool, n);
                self.bytes.drain(..n.min(self.bytes.len()));
            }
            Step::CopyOut(at, n) => {
                let mut out = vec![0; n];
                let copied = self.queue.copy_out(pool, at, &mut (&mut out[..]).into());
                let expected = &self.bytes[at.min(self.bytes.len())..];
                assert_eq!(out[..copied], expected[..n.min(expected.len())]);
            }
            Step::Read(n) => {
                let mut out = vec![0; n];
                let copied = self.queue.read(pool, &mut (&mut out[..]).into());
                let expected: Vec<u8> = self.bytes.drain(..n.min(self.bytes.len())).collect();
                assert_eq!(out[..copied], expected);
            }
            Step::Push(n) => {
                let src = self.fresh(n);
                if let Some(id) = pool.alloc(self.purpose) {
                    let filled = pool.fill(id, Foreign::from(&src[..]));
                    assert_eq!(filled, n.min(CHUNK_BYTES));
                    self.queue.push_chunk(pool, id);
                    self.bytes.extend_from_slice(&src[..filled]);
                }
            }
            Step::Pop => {
                if let Some(id) = self.queue.pop_chunk(pool) {
                    let held = pool.bytes(id).to_vec();
                    assert_eq!(self.bytes.drain(..held.len()).collect::<Vec<_>>(), held);
                    pool.free(id);
                } else {
                    assert!(self.bytes.is_empty());
                }
            }
            Step::Clear => {
                self.queue.clear(pool);
                self.bytes.clear();
            }
        }
        assert_eq!(self.queue.len(), self.bytes.len());
        assert_eq!(content(pool, &self.queue), self.bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Two queues of one pool behave as two vectors, and account for every chunk.
    #[test]
    fn queues_hold_what_a_vector_would(chunks in 1usize..12, steps in steps()) {
        let mut memory = Memory::new(chunks);
        let mut queues = [Modelled::new(Use::Send, 0), Modelled::new(Use::Receive, 128)];
        for (which, step) in steps {
            let mut pool = memory.pool();
            queues[usize::from(which)].apply(&mut pool, step);
            let held: u32 = queues.iter().map(|q| q.queue.chunks()).sum();
            prop_assert_eq!(pool.used(), held);
            prop_assert!(held as usize <= chunks);
        }
        let mut pool = memory.pool();
        for q in &mut queues {
            q.queue.clear(&mut pool);
        }
        prop_assert_eq!(pool.used(), 0);
    }
}

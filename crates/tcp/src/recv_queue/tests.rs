use super::*;
use sidestep_shm::{ChunkMeta, PoolHead};
use zerocopy::FromZeros;

fn with_pool(chunks: usize, body: impl FnOnce(&mut ChunkPool<'_>)) {
    let mut head = PoolHead::new_zeroed();
    let mut meta = vec![ChunkMeta::new_zeroed(); chunks];
    let mut data = vec![[0; CHUNK_BYTES]; chunks];
    let mut pool = ChunkPool::new(&mut head, &mut meta, &mut data);
    body(&mut pool);
    assert_eq!(pool.used(), 0, "chunks leaked");
}

fn insert(queue: &mut RecvQueue, pool: &mut ChunkPool<'_>, at: u32, bytes: &[u8]) {
    queue.insert_ahead(pool, Seq(at), Foreign::from(bytes), 100);
}

fn blocks(queue: &RecvQueue, pool: &ChunkPool<'_>) -> Vec<(u32, u32)> {
    queue
        .blocks_ahead(pool)
        .iter()
        .map(|(start, end)| (start.0, end.0))
        .collect()
}

#[test]
fn neighbours_share_chunks() {
    with_pool(10, |pool| {
        let mut queue = RecvQueue::EMPTY;
        for at in 0..100 {
            insert(&mut queue, pool, 1000 + at, b"x");
        }
        assert_eq!(queue.ahead_chunks, 1);
        assert_eq!(blocks(&queue, pool), [(1000, 1100)]);
        queue.clear(pool);
    });
}

#[test]
fn what_is_known_is_kept_and_only_gaps_are_filled() {
    with_pool(10, |pool| {
        let mut queue = RecvQueue::EMPTY;
        insert(&mut queue, pool, 120, b"BBBBBBBBBB");
        insert(&mut queue, pool, 140, b"CCCCCCCCCC");
        assert_eq!(blocks(&queue, pool), [(120, 130), (140, 150)]);
        insert(&mut queue, pool, 115, &[b'-'; 40]);
        assert_eq!(blocks(&queue, pool), [(115, 155)]);
        assert_eq!(queue.ahead_bytes(), 40);
        assert_eq!(queue.append(pool, Foreign::from(&b"AAAAA"[..])), 5);
        assert_eq!(queue.advance(pool, Seq(115)), Seq(155));
        let mut bytes = [0; 64];
        let n = queue.read(pool, &mut ForeignMut::from(&mut bytes[..]), false);
        assert_eq!(
            &bytes[..n],
            b"AAAAA-----BBBBBBBBBB----------CCCCCCCCCC-----"
        );
        assert!(queue.is_contiguous());
        queue.clear(pool);
    });
}

#[test]
fn advance_cuts_what_came_in_order_meanwhile() {
    with_pool(10, |pool| {
        let mut queue = RecvQueue::EMPTY;
        insert(&mut queue, pool, 100, b"0123456789");
        insert(&mut queue, pool, 120, b"later");
        assert_eq!(queue.advance(pool, Seq(99)), Seq(99));
        assert_eq!(queue.advance(pool, Seq(104)), Seq(110));
        assert_eq!(queue.len(), 6);
        // The second is passed as a whole.
        assert_eq!(queue.advance(pool, Seq(130)), Seq(130));
        assert_eq!((queue.len(), queue.ahead_bytes()), (6, 0));
        queue.clear(pool);
    });
}

#[test]
fn the_bound_on_chunks_and_an_empty_pool_stop_insertion() {
    with_pool(3, |pool| {
        let mut queue = RecvQueue::EMPTY;
        for at in [10, 20, 30, 40] {
            queue.insert_ahead(pool, Seq(at), Foreign::from(&b"x"[..]), 2);
        }
        assert_eq!(blocks(&queue, pool), [(10, 11), (20, 21)]);
        insert(&mut queue, pool, 30, &[0; 3 * CHUNK_BYTES]);
        let end = 30 + u32::try_from(CHUNK_BYTES).unwrap();
        assert_eq!(blocks(&queue, pool), [(10, 11), (20, 21), (30, end)]);
        queue.clear(pool);
    });
}

#[test]
fn more_blocks_than_an_option_holds() {
    with_pool(10, |pool| {
        let mut queue = RecvQueue::EMPTY;
        for at in [50, 40, 30, 20, 10, 60] {
            insert(&mut queue, pool, at, b"xy");
        }
        let expected = [(10, 12), (20, 22), (30, 32), (40, 42)];
        assert_eq!(blocks(&queue, pool), expected);
        queue.clear(pool);
    });
}

use super::*;
use sidestep_shm::{CHUNK_BYTES, ChunkMeta, PoolHead};
use zerocopy::FromZeros;

fn byte(i: usize) -> u8 {
    (i % 251).to_le_bytes()[0]
}

/// Whatever is appended, acknowledged and located, a place yields the bytes that belong there.
#[test]
fn the_cursor_is_never_wrong() {
    let mut head = PoolHead::new_zeroed();
    let mut meta = vec![ChunkMeta::new_zeroed(); 64];
    let mut data = vec![[0; CHUNK_BYTES]; 64];
    let mut pool = ChunkPool::new(&mut head, &mut meta, &mut data);
    let mut queue = SendQueue::EMPTY;
    // Near the wrap-around.
    let base = Seq(u32::MAX - 20_000);
    let (mut una, mut end) = (0_usize, 0_usize);
    let mut random = 1_u64;
    let mut below = |n: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(random >> 33).unwrap() % n.max(1)
    };
    let seq = |at: usize| base + u32::try_from(at).unwrap();
    for _ in 0..20_000 {
        match below(3) {
            0 => {
                let bytes: Vec<u8> = (end..end + below(3000)).map(byte).collect();
                end += queue.append(&mut pool, Foreign::from(&bytes[..]));
            }
            1 => {
                let acked = below(end - una + 1);
                una += acked;
                queue.consume(&mut pool, u32::try_from(acked).unwrap(), seq(una));
            }
            _ => {
                let at = una + below(end - una + 1);
                let len = below(4000).min(end - at);
                let place = queue.locate(&pool, seq(una), seq(at));
                let mut bytes = vec![0; len];
                let n = SendQueue::copy_from(&pool, place, &mut ForeignMut::from(&mut bytes[..]));
                assert_eq!(n, len);
                assert!(bytes.iter().enumerate().all(|(i, b)| *b == byte(at + i)));
            }
        }
        assert_eq!(queue.len() as usize, end - una);
    }
    assert!(end > 1_000_000, "the queue has moved");
    queue.clear(&mut pool);
    assert_eq!(pool.used(), 0);
}

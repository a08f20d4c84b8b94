use super::*;
use crate::tests::Memory;

const BASE: Seq = Seq(u32::MAX - 5000);

fn at(offset: u32) -> Seq {
    BASE + offset
}

/// A byte's fate, kept the simple way.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Sent,
    Sacked,
    Lost,
}

/// Whatever is sent, SACKED, lost and sent again: sums and first holes are those of a map of single bytes.
fn compare_with_a_map_of_bytes(chunks: usize, steps: usize, piece: usize) {
    let mut memory = Memory::new(chunks);
    let mut board = Scoreboard::EMPTY;
    let mut bytes: Vec<Fate> = Vec::new();
    let (mut una, mut now) = (0_u32, 7_u32);
    let mut random = 1_u64;
    let mut below = |n: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(random >> 33).unwrap() % n.max(1)
    };
    let n = |value: usize| u32::try_from(value).unwrap();
    let mut most = 0;
    for _ in 0..steps {
        let pool = &mut memory.pool();
        now += n(below(3));
        let (len, first) = (bytes.len(), below(bytes.len() + 1));
        let behind = first + below(len - first + 1).min(piece);
        match below(6) {
            0 | 1 if len < 3000 => {
                let more = 1 + below(piece);
                bytes.resize(len + more, Fate::Sent);
                board.push(pool, at(una + n(len + more)), now, 1);
            }
            2 | 3 => {
                board.mark_sacked(pool, at(una), (at(una + n(first)), at(una + n(behind))));
                bytes[first..behind].fill(Fate::Sacked);
            }
            4 => {
                board.mark_first_lost(pool, at(una), at(una + n(behind)));
                // What was sent again stays, of which the map knows nothing: believe the board.
                let mut start = at(una);
                for run in board.runs(pool) {
                    for i in (start - at(una))..(run.end() - at(una)) {
                        let byte = &mut bytes[usize::try_from(i).unwrap()];
                        if run.is_lost() {
                            assert_ne!(*byte, Fate::Sacked);
                            *byte = Fate::Lost;
                        }
                    }
                    start = run.end();
                }
            }
            5 => {
                if let Some((start, end)) = board.first_lost(pool, at(una)) {
                    let from = usize::try_from(start - at(una)).unwrap();
                    let to = usize::try_from(end - at(una)).unwrap();
                    assert_eq!(bytes.iter().position(|b| *b == Fate::Lost), Some(from));
                    let to = from + (to - from).min(1 + piece / 2);
                    board.note_repeated(pool, at(una), (start, at(una + n(to))), now);
                    bytes[from..to].fill(Fate::Sent);
                }
            }
            _ => {
                let delivered = board.advance(pool, at(una), at(una + n(first)));
                let new = bytes[..first].iter().filter(|b| **b != Fate::Sacked);
                assert_eq!(delivered.bytes, n(new.count()));
                bytes.drain(..first);
                una += n(first);
            }
        }
        let count = |fate| n(bytes.iter().filter(|byte| **byte == fate).count());
        assert_eq!(board.sacked_bytes(), count(Fate::Sacked));
        assert_eq!(board.lost_bytes(), count(Fate::Lost));
        let end = board.runs(pool).last().map(Run::end);
        assert_eq!(end.unwrap_or(at(una)), at(una + n(bytes.len())));
        most = most.max(pool.used());
    }
    assert!(most >= n(chunks / 4), "{most}");
    board.clear(&mut memory.pool());
    assert_eq!(memory.used(), 0);
}

#[test]
fn runs_say_what_a_map_of_bytes_says() {
    compare_with_a_map_of_bytes(4, 20_000, 100);
}

#[test]
fn so_do_many_runs() {
    compare_with_a_map_of_bytes(32, 10_000, 5);
}

/// Every other segment of a long window is lost, as where slow start overruns a queue.
#[test]
fn there_is_room_for_a_thousand_holes() {
    let mut memory = Memory::new(64);
    let pool = &mut memory.pool();
    let mut board = Scoreboard::EMPTY;
    board.push(pool, at(200_000), 0, 1);
    for hole in 0..1000 {
        // Near ones and far ones by turns.
        let start = at(200 * (hole * 617 % 1000) + 100);
        board.mark_sacked(pool, at(0), (start, start + 100));
    }
    assert_eq!(board.runs(pool).count(), 2000);
    assert_eq!(board.sacked_bytes(), 100_000);
    assert!(pool.used() <= 16, "{}", pool.used());
    assert_eq!(board.mark_lost(pool, at(0), |_, _| true), 100_000);
    // As holes are mended from the first on, chunks are given back.
    for mended in 1..1000 {
        let (start, end) = board.first_lost(pool, at(0)).unwrap();
        board.note_repeated(pool, at(0), (start, end), 5);
        board.mark_sacked(pool, at(0), (start, end));
        assert_eq!(board.sacked_bytes(), 100_000 + 100 * mended);
        assert!(pool.used() <= 1 + (2000 - 2 * mended) / 60, "{mended}");
    }
    assert_eq!((board.runs(pool).count(), pool.used()), (3, 0));
}

#[test]
fn what_is_sent_together_is_one_run() {
    let mut memory = Memory::new(1);
    let pool = &mut memory.pool();
    let mut board = Scoreboard::EMPTY;
    for (end, now) in [(100, 0), (200, 10), (300, 11), (400, 40)] {
        board.push(pool, at(end), now, 15);
    }
    assert_eq!(board.runs(pool).count(), 2);
    let sent = board.advance_undisturbed(pool, at(0), (at(150), at(400)));
    assert_eq!((sent, board.runs(pool).count()), (Some(0), 2));
    board.advance_undisturbed(pool, at(150), (at(300), at(400)));
    assert_eq!(board.runs(pool).count(), 1);
    board.advance_undisturbed(pool, at(300), (at(400), at(400)));
    assert!(board.is_empty());
}

#[test]
fn many_holes_move_to_a_chunk_and_back() {
    let mut memory = Memory::new(8);
    let pool = &mut memory.pool();
    let mut board = Scoreboard::EMPTY;
    board.push(pool, at(10_000), 0, 1);
    for hole in 0..50 {
        let start = at(200 * hole + 100);
        board.mark_sacked(pool, at(0), (start, start + 100));
    }
    assert_eq!((board.runs(pool).count(), pool.used()), (100, 1));
    assert_eq!(board.sacked_bytes(), 5000);
    board.advance(pool, at(0), at(9800));
    assert_eq!((board.runs(pool).count(), pool.used()), (2, 0));
}

#[test]
fn without_room_nothing_is_believed_and_nothing_breaks() {
    let mut memory = Memory::new(0);
    let pool = &mut memory.pool();
    let mut board = Scoreboard::EMPTY;
    board.push(pool, at(10_000), 0, 1);
    for hole in 0..50 {
        let start = at(200 * hole + 100);
        board.mark_sacked(pool, at(0), (start, start + 100));
    }
    assert!(board.runs(pool).count() <= INLINE);
    assert!(board.sacked_bytes() >= 400);
    board.mark_lost(pool, at(0), |_, _| true);
    assert_eq!(board.absent_bytes(), 10_000);
}

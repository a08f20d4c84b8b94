//! Segments that are put together for a link that cuts them apart.

use super::bench::{Bench, OURS};
use super::pattern;
use sidestep_wire::tcp::Flags;

/// The maximum segment size of the bench.
const MSS: usize = 1000;

#[test]
fn segments_of_a_burst_make_one_long_one() {
    let mut bench = Bench::established();
    let text = pattern(0, 3 * MSS + 77);
    assert_eq!(bench.send(&text), text.len());
    let mut long = bench.poll().unwrap();
    assert!(bench.tcb.has_whole_unsent(MSS));
    for _ in 0..3 {
        let next = bench.poll().unwrap();
        assert!(long.absorb(&next, MSS));
    }
    assert!(bench.poll().is_none());
    let sent = bench.sent(&long);
    assert_eq!((sent.repr.seq, sent.payload), (OURS, text));
    assert_eq!(sent.repr.flags, Flags::ACK | Flags::PSH);
    assert!(!bench.tcb.has_whole_unsent(MSS));
}

#[test]
fn what_is_pushed_or_short_ends_a_long_segment() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 2 * MSS));
    let mut pushed = bench.poll().unwrap();
    let last = bench.poll().unwrap();
    assert!(pushed.absorb(&last, MSS));
    bench.send(&pattern(0, 2 * MSS));
    let behind = bench.poll().unwrap();
    assert!(!pushed.absorb(&behind, MSS), "behind a push");
    assert_eq!(pushed.payload_len, 2 * MSS);
}

#[test]
fn what_does_not_go_on_stays_alone() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 4 * MSS));
    let first = bench.poll().unwrap();
    let second = bench.poll().unwrap();
    let third = bench.poll().unwrap();
    assert!(!{ first }.absorb(&third, MSS), "a hole");
    assert!(!{ third }.absorb(&second, MSS), "backwards");
    let mut other_ack = second;
    other_ack.repr.ack += 1;
    assert!(
        !{ first }.absorb(&other_ack, MSS),
        "another acknowledgement"
    );
    let mut marked = second;
    marked.ect = !marked.ect;
    assert!(!{ first }.absorb(&marked, MSS), "marked otherwise");
    // A card repeats some bits and not others.
    for flags in [Flags::FIN, Flags::CWR, Flags::AE, Flags::ECE, Flags::URG] {
        let (mut one, mut two) = (first, second);
        one.repr.flags |= flags;
        two.repr.flags |= flags;
        assert!(!one.absorb(&two, MSS), "{flags:?}");
        assert!(!{ first }.absorb(&two, MSS), "{flags:?} on the last");
    }
}

//! What scripts of packetdrill have shown to matter to peers and programs: pushes, needless acknowledgements, overtaken
//! news, options in resets.

use super::bench::{Bench, OURS, PEERS, Sent};
use super::{ms, pattern, settings};
use crate::{Events, Settings};
use sidestep_shm::Nanos;
use sidestep_wire::tcp::Flags;

fn plain() -> Settings {
    Settings {
        timestamps: false,
        window_scale: false,
        ..settings()
    }
}

/// Which of them are pushed, by place.
fn pushed(sent: &[Sent]) -> Vec<usize> {
    let places = sent.iter().enumerate();
    places
        .filter(|(_, one)| one.repr.flags.contains(Flags::PSH))
        .map(|(place, _)| place)
        .collect()
}

#[test]
fn bursts_are_pushed_in_pairs_where_round_trips_are_long() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 40_000));
    // Ten leave; in a millisecond of the twenty that a round trip takes, one would.
    assert_eq!(pushed(&bench.out()), [1, 3, 5, 7, 9]);
    bench.now = bench.now + ms(20);
    // Limited transmit: segments that leave alone.
    bench.sack(0, &[(1000, 2000)]);
    assert!(pushed(&bench.out()).is_empty());
    bench.now = bench.now + ms(1);
    bench.sack(0, &[(1000, 3000)]);
    assert!(pushed(&bench.out()).is_empty());
    // It had only been overtaken. What left for the others is not counted once more.
    bench.now = bench.now + ms(1);
    bench.sack(3000, &[]);
    let more = bench.out();
    assert_eq!((more.len(), pushed(&more)), (2, vec![1]));
    bench.finish();
}

#[test]
fn bursts_are_pushed_at_half_the_window_where_round_trips_are_short() {
    let mut bench = Bench::established_with(&plain());
    bench.ack(PEERS, OURS, &[]);
    bench.tcb.set_nodelay(true);
    bench.send(b"x");
    bench.out();
    bench.now = bench.now + Nanos::from_micros(100);
    for _ in 0..40 {
        bench.ack(PEERS, bench.tcb.snd_nxt, &[]);
        bench.send(b"x");
        bench.out();
        bench.now = bench.now + Nanos::from_micros(100);
    }
    bench.ack(PEERS, bench.tcb.snd_nxt, &[]);
    bench.send(&pattern(0, 40_000));
    assert_eq!(pushed(&bench.out()), [4, 9]);
    bench.finish();
}

#[test]
fn what_more_follows_is_not_pushed() {
    let mut bench = Bench::established();
    bench.tcb.set_nodelay(true);
    bench.send_more(&pattern(0, 1000), false);
    assert!(pushed(&bench.out()).is_empty());
    // Held for a while in vain: then the peer had better have it.
    bench.send_more(b"held", false);
    bench.silent();
    assert_eq!(pushed(&bench.wait(ms(210))), [0]);
    bench.finish();
}

#[test]
fn nodelay_sends_what_a_cork_holds() {
    let mut bench = Bench::established();
    bench.tcb.set_cork(true);
    bench.send(b"held");
    bench.silent();
    bench.tcb.set_nodelay(true);
    assert_eq!(bench.one().payload, b"held");
    bench.send(b"again");
    bench.silent();
    bench.finish();
}

#[test]
fn a_window_that_cannot_be_told_is_no_news() {
    let mut bench = Bench::established_with(&Settings {
        rcv_buf_bytes: 1 << 20,
        ..plain()
    });
    // All that the header can say is open: reading opens no more of it.
    for i in 0..8 {
        bench.ack(PEERS + 1000 * i, OURS, &[0; 1000]);
        assert!(bench.one().is_pure_ack());
        assert_eq!(bench.recv(1000).len(), 1000);
        bench.silent();
    }
    bench.finish();
}

#[test]
fn a_reset_in_sequence_has_timestamps() {
    let mut bench = Bench::established_with(&settings());
    bench.abort();
    let reset = bench.one().repr;
    assert_eq!(reset.flags, Flags::RST | Flags::ACK);
    assert_eq!(reset.options.timestamps.unwrap().echo, 7000);
    bench.finish();
}

#[test]
fn a_segment_without_timestamps_is_taken() {
    let mut bench = Bench::established_with(&settings());
    bench.peer_ts = None;
    assert!(bench.ack(PEERS, OURS, b"none").contains(Events::READABLE));
    assert_eq!(bench.recv(10), b"none");
    bench.finish();
}

#[test]
fn an_overtaken_acknowledgement_still_tells_of_holes() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 10_000));
    assert_eq!(bench.out().len(), 10);
    bench.now = bench.now + ms(20);
    bench.sack(2000, &[]);
    // Sent before that one: four of what is behind the hole are there.
    bench.sack(1000, &[(3000, 7000)]);
    let again = bench.out();
    assert_eq!(again[0].repr.seq, OURS + 2000);
    bench.finish();
}

#[test]
fn text_for_nobody_is_reset_where_the_peer_is() {
    let mut bench = Bench::established();
    bench.close();
    assert!(bench.one().repr.flags.contains(Flags::FIN));
    // The peer has not had the FIN: a reset behind it would not be believed.
    bench.ack(PEERS, OURS, b"late");
    let reset = bench.one().repr;
    assert_eq!((reset.flags, reset.seq), (Flags::RST, OURS));
    bench.finish();
}

#[test]
fn how_far_segments_overtake_each_other_is_told() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 10_000));
    bench.out();
    bench.now = bench.now + ms(20);
    bench.sack(0, &[(7000, 8000)]);
    assert_eq!(bench.tcb.info().reordering, 0);
    bench.sack(0, &[(3000, 4000), (7000, 8000)]);
    assert_eq!(bench.tcb.info().reordering, 5);
    bench.finish();
}

#[test]
fn what_goes_again_together_is_pushed_where_it_was() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 10_000));
    assert_eq!(pushed(&bench.out()), [1, 3, 5, 7, 9]);
    bench.now = bench.now + ms(20);
    // Missing are the second of one pair, the first of the next, and a whole one.
    bench.sack(1000, &[(3000, 4000), (6000, 10_000)]);
    let again = bench.out();
    let ends = again.iter().map(|one| one.repr.seq - OURS);
    assert_eq!(ends.collect::<Vec<_>>(), [1000, 2000, 4000, 5000]);
    assert_eq!(pushed(&again), [3]);
    bench.finish();
}

#[test]
fn less_than_a_segment_has_not_arrived() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 4000));
    bench.out();
    bench.now = bench.now + ms(20);
    bench.sack(0, &[(3999, 4000)]);
    bench.sack(0, &[(1500, 1600), (3999, 4000)]);
    assert_eq!(bench.tcb.info().sacked_bytes, 0);
    bench.sack(0, &[(1000, 2000)]);
    assert_eq!(bench.tcb.info().sacked_bytes, 1000);
    bench.finish();
    // Of segments that are shorter themselves, one of that length may be there.
    let mut bench = Bench::established_sacking(&plain());
    bench.tcb.set_nodelay(true);
    for i in 0..4 {
        bench.send(&pattern(100 * i, 100));
        bench.out();
    }
    bench.now = bench.now + ms(20);
    bench.sack(0, &[(100, 200)]);
    assert_eq!(bench.tcb.info().sacked_bytes, 100);
    bench.finish();
}

#[test]
fn pieces_of_half_the_window_are_pushed() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 90_000));
    let mut acked = 0;
    let mut pushes = Vec::new();
    for _ in 0..3 {
        let sent = bench.out();
        acked += u32::try_from(1000 * sent.len()).unwrap();
        pushes.push(pushed(&sent));
        bench.now = bench.now + ms(1);
        bench.ack(PEERS, OURS + acked, &[]);
    }
    // Halves of the congestion window, but for where the piece ends that began behind the first ten.
    assert_eq!(pushes, [vec![4, 9], vec![9, 19], vec![11, 31, 39]]);
    bench.finish();
}

#[test]
fn small_buffers_grow_as_segments_are_charged() {
    let mut bench = Bench::established_with(&Settings {
        snd_buf_bytes: 50_000,
        ..plain()
    });
    bench.peer_window = 33_000;
    let data = pattern(0, 200_000);
    let written = bench.send(&data);
    assert_eq!(written, 10_000 + 2 * 32_000);
    bench.out();
    // All of it gone: as much as twice the window may be queued, each segment charged with 2304 bytes.
    bench.ack(PEERS, OURS + 10_000, &[]);
    assert_eq!(bench.tcb.snd_buf(), 50_000, "the window is full again");
    bench.out();
    bench.ack(PEERS, OURS + 25_000, &[]);
    assert_eq!(bench.tcb.snd_buf(), 2 * 35 * 2304);
    bench.finish();
}

#[test]
fn a_piece_goes_on_where_what_leaves_has_left_it() {
    let mut bench = Bench::established_with(&Settings {
        snd_buf_bytes: 20_000,
        ..plain()
    });
    bench.tcb.set_snd_buf(20_000);
    let data = pattern(0, 200_000);
    // Less than the buffer leaves at once; the piece that is begun then is as long as any other.
    assert_eq!(bench.send(&data), 10_000 + 32_000);
    bench.out();
    bench.ack(PEERS, OURS + 10_000, &[]);
    bench.out();
    assert_eq!(bench.tcb.unsent_len(), 12_000);
    bench.ack(PEERS, OURS + 30_000, &[]);
    bench.out();
    // What is in flight fills less than the buffer: again what may leave beside it, and a piece.
    assert_eq!(bench.send(&data), 28_000 + 32_000);
    bench.finish();
}

#[test]
fn who_finds_a_buffer_full_of_small_pieces_is_called_when_there_is_room() {
    let mut bench = Bench::new();
    bench.peer_window = 2000;
    bench.connect(&plain(), OURS - 1);
    bench.out();
    let mut syn_ack = bench.repr(PEERS - 1, OURS, Flags::SYN | Flags::ACK);
    syn_ack.options.mss = Some(1000);
    bench.feed(&syn_ack, &[]);
    bench.out();
    let block = pattern(0, 120_000);
    let queued = bench.send(&block);
    // Two segments leave; each of the others is charged with more than it has bytes.
    assert_eq!(queued, 44_000);
    assert!(!bench.tcb.writable(), "though more than half is free");
    assert_eq!(bench.send(&block), 0);
    bench.out();
    let events = bench.ack(PEERS, OURS + 2000, &[]);
    assert!(events.contains(Events::WRITABLE) && bench.tcb.writable());
    assert!(bench.send(&block) > 0);
    bench.finish();
}

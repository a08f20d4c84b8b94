//! SACK in both directions, and how losses are found and mended by it: RACK, the tail probe, PRR.

use super::bench::{Bench, OURS, PEERS, Sent};
use super::{ms, pattern, settings};
use crate::{Algorithm, Phase, Settings};
use sidestep_wire::Seq;
use sidestep_wire::tcp::Flags;

fn plain() -> Settings {
    Settings {
        timestamps: false,
        window_scale: false,
        ..settings()
    }
}

/// Sequence numbers by offset from our first byte.
fn offsets(sent: &[Sent]) -> Vec<u32> {
    let offset = |one: &Sent| u32::try_from(one.repr.seq - OURS).unwrap();
    sent.iter().map(offset).collect()
}

fn told(sent: &Sent) -> Vec<(Seq, Seq)> {
    sent.repr.options.sack.iter().collect()
}

/// Ten segments of a thousand bytes in flight, and as many queued; a round trip is 20 ms.
fn in_flight(settings: &Settings) -> Bench {
    let mut bench = Bench::established_sacking(settings);
    bench.send(&pattern(0, 20_000));
    assert_eq!(bench.out().len(), 10);
    bench.now = bench.now + ms(20);
    bench
}

#[test]
fn holes_are_told_newest_block_first() {
    let mut bench = Bench::established_sacking(&plain());
    let text = [7; 100];
    bench.ack(PEERS + 100, OURS, &text);
    assert_eq!(told(&bench.one()), [(PEERS + 100, PEERS + 200)]);
    bench.ack(PEERS + 300, OURS, &text);
    let expected = [(PEERS + 300, PEERS + 400), (PEERS + 100, PEERS + 200)];
    assert_eq!(told(&bench.one()), expected);
    bench.ack(PEERS + 200, OURS, &text);
    assert_eq!(told(&bench.one()), [(PEERS + 100, PEERS + 400)]);
    bench.ack(PEERS, OURS, &text);
    let last = bench.one();
    assert_eq!((told(&last), last.repr.ack), (vec![], PEERS + 400));
    bench.recv(1000);
    bench.finish();
}

#[test]
fn what_comes_twice_is_told_once() {
    let mut bench = Bench::established_sacking(&plain());
    let text = [7; 100];
    bench.ack(PEERS, OURS, &text);
    bench.out();
    bench.ack(PEERS, OURS, &text);
    assert_eq!(told(&bench.one()), [(PEERS, PEERS + 100)], "below");
    bench.ack(PEERS + 300, OURS, &text);
    bench.out();
    bench.ack(PEERS + 320, OURS, &text[..50]);
    let within = [(PEERS + 320, PEERS + 370), (PEERS + 300, PEERS + 400)];
    assert_eq!(told(&bench.one()), within, "ahead");
    bench.recv(1000);
    bench.finish();
}

#[test]
fn a_fin_ahead_of_text_is_told_as_text_is() {
    let mut bench = Bench::established_sacking(&plain());
    let text = [7; 100];
    let fin = Flags::FIN | Flags::ACK;
    // The request was lost, and all that has come after it is the end.
    bench.segment(PEERS + 100, OURS, fin, &[]);
    assert_eq!(told(&bench.one()), [(PEERS + 100, PEERS + 101)]);
    bench.segment(PEERS + 100, OURS, fin, &[]);
    let twice = [(PEERS + 100, PEERS + 101); 2];
    assert_eq!(told(&bench.one()), twice, "a probe that was not needed");
    bench.segment(PEERS + 50, OURS, fin, &text[..50]);
    let (end, all) = ((PEERS + 100, PEERS + 101), (PEERS + 50, PEERS + 101));
    assert_eq!(told(&bench.one()), [end, all], "of which a part had come");
    bench.segment(PEERS + 50, OURS, fin, &text[..50]);
    assert_eq!(told(&bench.one()), [all; 2]);
    bench.ack(PEERS, OURS, &text[..50]);
    let last = bench.one();
    assert_eq!((told(&last), last.repr.ack), (vec![], PEERS + 101));
    assert_eq!(bench.recv(1000), text);
    assert!(bench.tcb.at_eof());
    bench.finish();
}

#[test]
fn blocks_go_before_text_in_a_segment_of_their_own() {
    let mut bench = Bench::established_sacking(&plain());
    bench.ack(PEERS + 100, OURS, &[7; 100]);
    bench.send(&[1; 1000]);
    let sent = bench.out();
    assert!(sent[0].is_pure_ack() && !told(&sent[0]).is_empty());
    assert_eq!((sent[1].payload.len(), told(&sent[1]).len()), (1000, 0));
    bench.finish();
}

#[test]
fn a_peer_without_sack_is_told_nothing() {
    let mut bench = Bench::established_with(&plain());
    bench.ack(PEERS + 100, OURS, &[7; 100]);
    assert!(told(&bench.one()).is_empty());
    bench.finish();
}

#[test]
fn three_sacked_segments_mean_that_the_hole_is_lost() {
    let mut bench = in_flight(&plain());
    bench.sack(0, &[(1000, 2000)]);
    assert_eq!(offsets(&bench.out()), [10_000], "limited transmit");
    bench.sack(0, &[(1000, 3000)]);
    assert_eq!(offsets(&bench.out()), [11_000]);
    bench.sack(0, &[(1000, 4000)]);
    assert_eq!(offsets(&bench.out()), [0]);
    let info = bench.tcb.info();
    assert_eq!(info.phase, Phase::Recovery);
    assert_eq!((info.sacked_bytes, info.lost_bytes), (3000, 0));
    assert_eq!(info.snd_ssthresh_bytes, 5000, "half of the window");
    bench.finish();
}

#[test]
fn only_holes_are_sent_again() {
    let mut bench = in_flight(&plain());
    bench.sack(0, &[(5000, 10_000), (2000, 4000)]);
    let mut again = offsets(&bench.out());
    bench.now = bench.now + ms(20);
    bench.sack(1000, &[(5000, 10_000), (2000, 4000)]);
    again.extend(offsets(&bench.out()));
    bench.now = bench.now + ms(20);
    bench.sack(4000, &[(5000, 10_000)]);
    again.extend(offsets(&bench.out()));
    again.retain(|at| *at < 10_000);
    assert_eq!(again, [0, 1000, 4000]);
    assert_eq!(bench.tcb.info().counters.timeouts, 0);
    bench.finish();
}

#[test]
fn the_window_goes_down_in_proportion() {
    let settings = Settings {
        congestion: Algorithm::Cubic,
        ..plain()
    };
    let mut bench = in_flight(&settings);
    bench.sack(0, &[(1000, 4000)]);
    let mut sent = bench.out().len();
    // Six more are acknowledged one by one: for ten delivered, seven are sent.
    for end in 5..=10 {
        bench.sack(0, &[(1000, end * 1000)]);
        sent += bench.out().len();
    }
    assert!((6..=8).contains(&sent), "{sent}");
    bench.now = bench.now + ms(20);
    bench.sack(10_000, &[]);
    bench.out();
    assert_eq!(bench.tcb.info().phase, Phase::Open);
    assert_eq!(bench.tcb.info().snd_cwnd_bytes, 7000);
    bench.finish();
}

#[test]
fn a_single_overtaken_segment_is_waited_for() {
    let mut bench = in_flight(&plain());
    bench.sack(0, &[(1000, 2000)]);
    bench.out();
    // A quarter of the round trip, less a little: nothing.
    assert!(bench.wait(ms(4)).is_empty());
    bench.sack(2000, &[]);
    let info = bench.tcb.info();
    assert_eq!((info.phase, info.counters.retransmits), (Phase::Open, 0));
    assert!(info.snd_cwnd_bytes >= 10_000);
    bench.finish();
}

#[test]
fn what_does_not_come_within_the_reordering_window_is_lost() {
    let mut bench = in_flight(&plain());
    bench.sack(0, &[(1000, 2000)]);
    bench.out();
    let again = bench.wait(ms(7));
    assert_eq!(offsets(&again)[..1], [0]);
    assert_eq!(bench.tcb.info().counters.timeouts, 0);
    bench.finish();
}

#[test]
fn reordering_once_seen_makes_patient() {
    let mut bench = in_flight(&plain());
    bench.sack(0, &[(1000, 2000)]);
    bench.out();
    bench.now = bench.now + ms(2);
    bench.sack(2000, &[]);
    bench.out();
    // Three segments overtake one: no loss at once any more.
    bench.sack(2000, &[(3000, 7000)]);
    assert!(offsets(&bench.out()).iter().all(|at| *at >= 10_000));
    assert_eq!(bench.tcb.info().phase, Phase::Open);
    bench.finish();
}

#[test]
fn a_lost_retransmission_is_found_without_a_timeout() {
    let mut bench = in_flight(&plain());
    bench.sack(0, &[(1000, 6000)]);
    let first = offsets(&bench.out());
    assert_eq!(first[0], 0);
    bench.now = bench.now + ms(10);
    bench.sack(0, &[(1000, 10_000)]);
    let new = offsets(&bench.out());
    assert!(new.iter().any(|at| *at >= 10_000), "{new:?}");
    bench.now = bench.now + ms(20);
    let last = new.iter().max().unwrap() + 1000;
    bench.sack(0, &[(1000, last)]);
    assert_eq!(offsets(&bench.out())[..1], [0], "again");
    assert_eq!(bench.tcb.info().counters.timeouts, 0);
    bench.finish();
}

#[test]
fn the_tail_is_probed_two_milliseconds_after_two_round_trips() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 5000));
    assert_eq!(bench.out().len(), 5);
    assert!(bench.wait(ms(41)).is_empty());
    assert_eq!(offsets(&bench.wait(ms(2))), [4000], "the last once more");
    assert_eq!(bench.tcb.info().counters.tail_probes, 1);
    // It arrives: so the others are lost, and mended without a timeout.
    bench.now = bench.now + ms(20);
    bench.sack(0, &[(4000, 5000)]);
    let again = [bench.out(), bench.wait(ms(10))].concat();
    assert_eq!(offsets(&again)[0], 0);
    assert_eq!(bench.tcb.info().counters.timeouts, 0);
    bench.finish();
}

#[test]
fn a_probe_that_was_not_needed_costs_nothing() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 5000));
    bench.out();
    bench.wait(ms(43));
    bench.sack(5000, &[]);
    bench.sack(5000, &[(4000, 5000)]);
    let info = bench.tcb.info();
    assert_eq!(
        (info.phase, info.snd_cwnd_bytes >= 10_000),
        (Phase::Open, true)
    );
    bench.send(&pattern(0, 1000));
    assert_eq!(offsets(&bench.out()), [5000]);
    bench.finish();
}

#[test]
fn a_loss_that_a_probe_has_mended_counts_as_one() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 5000));
    bench.out();
    bench.wait(ms(43));
    // The probe filled the only hole: more is acknowledged at once, and nothing is said to have come twice.
    bench.send(&pattern(0, 1000));
    bench.out();
    bench.sack(6000, &[]);
    assert!(bench.tcb.info().snd_cwnd_bytes <= 5000);
    bench.finish();
}

#[test]
fn a_peer_may_throw_away_what_it_had_acknowledged() {
    let mut bench = in_flight(&plain());
    bench.sack(0, &[(1000, 10_000)]);
    bench.out();
    // The hole is filled and yet nothing beyond it acknowledged.
    bench.sack(1000, &[]);
    bench.out();
    let again = bench.wait(ms(300));
    assert!(offsets(&again).contains(&1000), "{:?}", offsets(&again));
    bench.finish();
}

#[test]
fn false_blocks_do_no_harm() {
    let mut bench = in_flight(&plain());
    for blocks in [
        [(0, 0), (5000, 5000)],
        [(9000, 1000), (20_000, 30_000)],
        [(9000, 10_001), (10_000, 12_000)],
    ] {
        bench.sack(0, &blocks);
    }
    assert_eq!(bench.tcb.info().sacked_bytes, 0);
    assert_eq!(bench.tcb.info().counters.retransmits, 0);
    bench.finish();
}

#[test]
fn the_fin_is_sent_again_with_the_last_text() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 3000));
    bench.shutdown();
    let sent = bench.out();
    assert!(sent.last().unwrap().repr.flags.contains(Flags::FIN));
    let again = bench.wait(ms(43));
    assert_eq!(offsets(&again), [2001], "the FIN counts");
    assert!(again[0].repr.flags.contains(Flags::FIN));
    assert_eq!(again[0].payload.len(), 999);
    bench.finish();
}

#[test]
fn a_fin_that_went_by_itself_is_probed_for_by_itself_after_its_own_time() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 3000));
    assert_eq!(bench.out().len(), 3);
    bench.now = bench.now + ms(10);
    bench.shutdown();
    assert_eq!(offsets(&bench.out()), [3000]);
    assert!(bench.wait(ms(41)).is_empty(), "not those of the text");
    let again = bench.wait(ms(2));
    assert_eq!(offsets(&again), [3000]);
    assert!(again[0].repr.flags.contains(Flags::FIN) && again[0].payload.is_empty());
    bench.finish();
}

#[test]
fn the_last_text_with_the_fin_is_probed_for_as_more_than_one_segment_is() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 2000));
    bench.out();
    bench.now = bench.now + ms(20);
    bench.sack(2000, &[]);
    bench.send(b"the end");
    bench.shutdown();
    assert!(bench.one().repr.flags.contains(Flags::FIN));
    // Who gets a FIN does not wait with the acknowledgement, so a delayed one is not waited for.
    assert!(bench.wait(ms(41)).is_empty());
    let again = bench.wait(ms(2));
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].payload, b"the end");
    assert_eq!(bench.tcb.info().counters.tail_probes, 1);
    bench.finish();
}

/// A batch of acknowledgements, the last of which tell of a loss, reduces the window by as much as they do one by one,
/// and what they make room for goes out then.
#[test]
fn acknowledgements_that_come_together_say_what_they_say_one_by_one() {
    let after = |together: bool| {
        let mut bench = Bench::established_sacking(&plain());
        bench.tcb.set_snd_buf(200_000);
        bench.send(&pattern(0, 100_000));
        assert_eq!(bench.out().len(), 10);
        bench.now = bench.now + ms(20);
        let mut sent = Vec::new();
        for acked in 1..=6 {
            bench.sack(1000 * acked, &[]);
            if !together {
                sent.extend(bench.out());
            }
        }
        for behind in 8..=10 {
            bench.sack(6000, &[(7000, 1000 * behind)]);
            if !together {
                sent.extend(bench.out());
            }
        }
        sent.extend(bench.out());
        let info = bench.tcb.info();
        assert_eq!(info.phase, Phase::Recovery);
        assert!(offsets(&sent).contains(&6000), "{:?}", offsets(&sent));
        bench.finish();
        (info.snd_ssthresh_bytes, sent.len(), info.unacked_bytes)
    };
    let (one_by_one, together) = (after(false), after(true));
    assert_eq!(one_by_one.0, together.0);
    assert_eq!(one_by_one, together);
}

#[test]
fn what_is_as_old_as_a_late_original_has_as_much_time() {
    let mut bench = Bench::established_sacking(&plain());
    bench.send(&pattern(0, 10_000));
    assert_eq!(bench.out().len(), 10);
    bench.now = bench.now + ms(20);
    // 0 is lost, 3000..8000 seem so, and 9000..10000 may be on its way.
    bench.sack(0, &[(1000, 2000)]);
    bench.sack(0, &[(1000, 3000)]);
    bench.out();
    bench.sack(0, &[(1000, 3000), (8000, 9000)]);
    assert_eq!(offsets(&bench.out()), [0]);
    bench.now = bench.now + ms(22);
    // 3000..4000 was late only: what was sent together with it is not lost because 0 arrived when sent again.
    bench.sack(4000, &[(8000, 9000)]);
    assert_eq!(offsets(&bench.out()), [4000, 5000, 6000]);
    bench.finish();
}

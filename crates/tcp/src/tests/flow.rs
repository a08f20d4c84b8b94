//! Flow: windows, Nagle, cork, delayed acknowledgements, silly windows, zero-window probes.

use super::bench::{Bench, OURS, PEERS};
use super::pair::{Link, Pair};
use super::{MS, Memory, ms, pattern, settings};
use crate::{Events, Settings, State};
use sidestep_shm::Nanos;
use sidestep_wire::tcp::Flags;

const PSH_ACK: Flags = Flags::PSH.union(Flags::ACK);

fn n(len: usize) -> u32 {
    u32::try_from(len).unwrap()
}

#[test]
fn request_and_response_take_two_segments() {
    let mut bench = Bench::established_delaying();
    for i in 0..100_u32 {
        bench.ack(PEERS + 32 * i, OURS + 32 * i, &[1; 32]);
        bench.silent();
        assert_eq!(bench.recv(100).len(), 32);
        bench.send(&[2; 32]);
        let response = bench.one();
        assert_eq!(response.repr.ack, PEERS + 32 * (i + 1));
        assert_eq!(response.repr.flags, PSH_ACK);
        bench.now = bench.now + MS;
    }
    assert_eq!(
        bench.memory.used(),
        1,
        "one chunk, of the response in flight"
    );
    bench.finish();
}

#[test]
fn a_connection_that_answers_leaves_quick_acknowledgements() {
    let mut bench = Bench::established();
    bench.ack(PEERS, OURS, &[1; 32]);
    assert!(bench.one().is_pure_ack(), "the first one is quick");
    bench.send(&[2; 32]);
    bench.out();
    bench.now = bench.now + MS;
    bench.ack(PEERS + 32, OURS + 32, &[1; 32]);
    bench.silent();
    bench.send(&[2; 32]);
    assert_eq!(bench.one().repr.ack, PEERS + 64);
    bench.finish();
}

#[test]
fn quick_acknowledgements_end() {
    let mut bench = Bench::established();
    let quick = (0..40).filter(|i| {
        bench.ack(PEERS + 10 * i, OURS, &[0; 10]);
        !bench.out().is_empty()
    });
    assert_eq!(quick.count(), 15, "sixteen with the one of the handshake");
    bench.finish();
}

#[test]
fn every_second_full_segment_is_acknowledged() {
    let mut bench = Bench::established_delaying();
    let mut acks = 0;
    for i in 0..20 {
        bench.ack(PEERS + 1000 * i, OURS, &[0; 1000]);
        acks += bench.out().len();
        bench.recv(1000);
        assert!(bench.out().is_empty());
    }
    assert_eq!(acks, 10);
    bench.finish();
}

#[test]
fn a_single_segment_is_acknowledged_after_40_ms() {
    let mut bench = Bench::established_delaying();
    bench.ack(PEERS, OURS, b"x");
    assert!(bench.wait(ms(39)).is_empty());
    let acks = bench.wait(ms(2));
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].repr.ack, PEERS + 1);
    assert!(bench.wait(Nanos::from_secs(10)).is_empty());
    bench.finish();
}

#[test]
fn a_push_is_acknowledged_when_it_was_read_and_no_answer_comes() {
    // A one-way stream: else the sender's Nagle would wait for our 40 ms.
    let mut bench = Bench::established();
    bench.ack(PEERS, OURS, &[0; 10]);
    bench.out();
    bench.tcb.set_quickack(false);
    bench.segment(PEERS + 10, OURS, PSH_ACK, &[0; 10]);
    bench.recv(100);
    bench.silent();
    bench.segment(PEERS + 20, OURS, PSH_ACK, &[0; 10]);
    bench.recv(9);
    bench.silent();
    bench.recv(100);
    assert_eq!(bench.one().repr.ack, PEERS + 30);
    // The delay has passed without an answer: this is no dialogue.
    bench.segment(PEERS + 30, OURS, PSH_ACK, &[0; 10]);
    bench.recv(100);
    assert_eq!(bench.wait(ms(41)).len(), 1);
    for i in 0..20 {
        bench.segment(PEERS + 40 + 10 * i, OURS, PSH_ACK, &[0; 10]);
        bench.out();
    }
    bench.recv(1000);
    bench.out();
    bench.segment(PEERS + 240, OURS, PSH_ACK, &[0; 10]);
    bench.silent();
    bench.recv(100);
    assert_eq!(bench.one().repr.ack, PEERS + 250);
    bench.finish();
}

#[test]
fn room_is_told_to_one_who_waits_without_a_failed_write() {
    let mut bench = Bench::established();
    bench.send(&pattern(0, 90_000));
    assert!(!bench.tcb.writable());
    let mut told = false;
    for i in 1..=90 {
        bench.out();
        told |= bench
            .ack(PEERS, OURS + 1000 * i, &[])
            .contains(Events::WRITABLE);
    }
    assert!(told);
    bench.finish();
}

#[test]
fn what_is_full_for_much_is_full_for_little() {
    let mut bench = Bench::established_with(&Settings {
        timestamps: false,
        window_scale: false,
        snd_buf_bytes: 1_000_000,
        ..settings()
    });
    let block = pattern(0, 65_536);
    while bench.send(&block) > 0 {
        bench.out();
    }
    assert!(bench.tcb.send_len() < 1_000_000, "what pieces cost counts");
    assert_eq!(bench.send(&[1]), 0);
    bench.finish();
}

#[test]
fn options_of_a_closed_connection_ask_for_no_output() {
    let mut bench = Bench::new();
    bench.tcb.set_cork(true);
    bench.tcb.set_cork(false);
    bench.tcb.set_nodelay(true);
    bench.tcb.set_quickack(true);
    assert!(!bench.tcb.wants_output());
    bench.finish();
}

#[test]
fn out_of_order_and_fin_are_acknowledged_at_once() {
    let mut bench = Bench::established_delaying();
    bench.ack(PEERS + 10, OURS, b"ahead");
    assert_eq!(bench.one().repr.ack, PEERS);
    bench.ack(PEERS, OURS, b"0123456789");
    assert_eq!(bench.one().repr.ack, PEERS + 15);
    bench.segment(PEERS + 15, OURS, Flags::FIN | Flags::ACK, &[]);
    assert_eq!(bench.one().repr.ack, PEERS + 16);
    bench.finish();
}

#[test]
fn nagle_holds_the_second_small_segment() {
    let mut bench = Bench::established();
    bench.send(b"a");
    assert_eq!(bench.one().payload, b"a");
    bench.send(b"b");
    bench.silent();
    bench.send(b"c");
    bench.silent();
    bench.ack(PEERS, OURS + 1, &[]);
    assert_eq!(bench.one().payload, b"bc");
    // A full segment goes, and by Minshall's rule so does the small one behind it, if none is outstanding.
    bench.ack(PEERS, OURS + 3, &[]);
    bench.send(&pattern(0, 1500));
    let lens: Vec<_> = bench.out().iter().map(|s| s.payload.len()).collect();
    assert_eq!(lens, [1000, 500]);
    bench.send(&pattern(0, 1500));
    let lens: Vec<_> = bench.out().iter().map(|s| s.payload.len()).collect();
    assert_eq!(lens, [1000]);
    bench.tcb.set_nodelay(true);
    assert_eq!(bench.one().payload.len(), 500);
    bench.send(b"now");
    assert_eq!(bench.one().payload, b"now");
    bench.finish();
}

#[test]
fn fin_does_not_wait_for_nagle_or_cork() {
    let mut bench = Bench::established();
    bench.tcb.set_cork(true);
    bench.send(b"a");
    bench.silent();
    bench.close();
    let last = bench.one();
    assert_eq!(last.payload, b"a");
    assert!(last.repr.flags.contains(Flags::FIN));
    bench.finish();
}

#[test]
fn cork_holds_partial_segments_for_200_ms() {
    let mut bench = Bench::established();
    bench.tcb.set_nodelay(true);
    bench.tcb.set_cork(true);
    bench.send(&pattern(0, 600));
    bench.silent();
    bench.send(&pattern(600, 600));
    assert_eq!(bench.one().payload, pattern(0, 1000));
    bench.ack(PEERS, OURS + 1000, &[]);
    assert!(bench.wait(ms(198)).is_empty());
    let rest = bench.wait(ms(3));
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].payload, pattern(1000, 200));
    bench.ack(PEERS, OURS + 1200, &[]);
    bench.send(b"held");
    bench.silent();
    bench.tcb.set_cork(false);
    assert_eq!(bench.one().payload, b"held");
    bench.finish();
}

#[test]
fn msg_more_holds_until_the_next_write() {
    let mut bench = Bench::established();
    bench.send_more(b"head ", false);
    bench.silent();
    bench.send(b"and tail");
    assert_eq!(bench.one().payload, b"head and tail");
    bench.ack(PEERS, OURS + 13, &[]);
    bench.send_more(b"forgotten", false);
    bench.silent();
    assert_eq!(bench.wait(ms(201)).len(), 1);
    bench.finish();
}

#[test]
fn the_peers_window_is_kept() {
    let mut bench = Bench::established();
    bench.peer_window = 2500;
    bench.ack(PEERS, OURS, &[]);
    bench.send(&pattern(0, 10_000));
    // The last 500 bytes of window would make a silly segment.
    let lens: Vec<_> = bench.out().iter().map(|s| s.payload.len()).collect();
    assert_eq!(lens, [1000, 1000]);
    bench.ack(PEERS, OURS + 2000, &[]);
    assert_eq!(bench.out().len(), 2);
    bench.finish();
}

#[test]
fn a_small_window_is_used_when_it_is_all_there_ever_was() {
    let mut bench = Bench::syn_sent(&Settings {
        timestamps: false,
        ..settings()
    });
    bench.peer_window = 100;
    bench.segment(PEERS - 1, OURS, Flags::SYN | Flags::ACK, &[]);
    bench.out();
    bench.send(&pattern(0, 250));
    assert_eq!(bench.one().payload, pattern(0, 100));
    bench.ack(PEERS, OURS + 100, &[]);
    assert_eq!(bench.one().payload, pattern(100, 100));
    bench.finish();
}

#[test]
fn zero_window_is_probed_with_backoff_for_as_long_as_the_peer_answers() {
    let mut bench = Bench::established();
    bench.peer_window = 0;
    bench.ack(PEERS, OURS, &[]);
    bench.send(b"waiting");
    bench.silent();
    let mut gaps = Vec::new();
    for _ in 0..20 {
        let before = bench.now;
        bench.now = bench.tcb.next_timeout();
        bench.fire();
        let probe = bench.one();
        assert_eq!(probe.repr.seq, OURS - 1);
        assert!(probe.payload.is_empty());
        gaps.push((bench.now - before).as_millis());
        bench.ack(PEERS, OURS, &[]);
        bench.silent();
    }
    assert!(gaps.windows(2).all(|g| g[1] >= g[0]), "{gaps:?}");
    assert_eq!(*gaps.last().unwrap(), 120_000);
    assert_eq!(bench.state(), State::Established);
    bench.peer_window = 1000;
    bench.ack(PEERS, OURS, &[]);
    assert_eq!(bench.one().payload, b"waiting");
    bench.ack(PEERS, OURS + 7, &[]);
    assert_eq!(bench.tcb.next_timeout(), Nanos::NEVER);
    bench.finish();
}

#[test]
fn zero_window_is_probed_for_an_orphan_until_probes_are_two_minutes_apart() {
    for user_timeout_ms in [0, 86_400_000] {
        let mut bench = Bench::established();
        bench.tcb.set_user_timeout(user_timeout_ms);
        bench.peer_window = 0;
        bench.ack(PEERS, OURS, &[]);
        bench.send(b"waiting");
        bench.close();
        bench.silent();
        let start = bench.now;
        while bench.state() != State::Closed {
            bench.now = bench.tcb.next_timeout();
            bench.fire();
            for probe in bench.out() {
                assert_eq!(probe.repr.seq, OURS - 1);
                // A window that holds next to nothing for a moment is no progress.
                for window in [1, 0] {
                    bench.peer_window = window;
                    bench.ack(PEERS, OURS, &[]);
                    bench.silent();
                }
            }
            assert!(bench.now - start < Nanos::from_secs(3600), "lives for ever");
        }
        let lived = bench.now - start;
        assert!(
            lived > Nanos::from_secs(300) && lived < Nanos::from_secs(360),
            "{lived:?}"
        );
        assert!(bench.events.contains(Events::TIMED_OUT));
        bench.finish();
    }
}

#[test]
fn an_orphan_whose_peer_reads_on_is_waited_for_anew() {
    let mut bench = Bench::established();
    bench.peer_window = 0;
    bench.ack(PEERS, OURS, &[]);
    bench.send(&pattern(0, 20_000));
    bench.close();
    bench.silent();
    for done in 0..19 {
        for _ in 0..8 {
            bench.now = bench.tcb.next_timeout();
            bench.fire();
            bench.one();
            bench.ack(PEERS, OURS + 1000 * done, &[]);
            bench.silent();
        }
        bench.peer_window = 1000;
        bench.ack(PEERS, OURS + 1000 * done, &[]);
        assert_eq!(bench.one().payload.len(), 1000);
        bench.peer_window = 0;
        bench.now = bench.now + ms(1);
        bench.ack(PEERS, OURS + 1000 * (done + 1), &[]);
        bench.out();
    }
    assert_eq!(bench.state(), State::FinWait1);
    bench.finish();
}

#[test]
fn every_second_byte_and_then_the_others_take_no_more_than_their_room() {
    let mut bench = Bench::established();
    let text = pattern(0, 50_000);
    for (round, part) in text.chunks(100).enumerate() {
        let at = PEERS + 100 * u32::try_from(round).unwrap();
        for byte in (1..100).step_by(2).chain((0..100).step_by(2)) {
            bench.ack(at + u32::try_from(byte).unwrap(), OURS, &part[byte..=byte]);
            bench.out();
        }
    }
    assert_eq!(bench.tcb.recv_len(), text.len());
    let chunks = usize::try_from(bench.memory.used()).unwrap();
    assert!(chunks <= text.len() / 1024 + 1, "{chunks} chunks");
    assert_eq!(bench.recv(text.len()), text);
    bench.finish();
}

#[test]
fn zero_window_of_a_silent_peer_ends_the_connection() {
    let mut bench = Bench::established();
    bench.peer_window = 0;
    bench.ack(PEERS, OURS, &[]);
    bench.send(b"waiting");
    let probes = bench.wait(Nanos::from_secs(2000));
    assert_eq!(probes.len(), 15);
    assert!(bench.events.contains(Events::TIMED_OUT));
    bench.finish();
}

#[test]
fn the_persist_timer_overrides_a_silly_window() {
    let mut bench = Bench::established();
    bench.peer_window = 200;
    bench.ack(PEERS, OURS, &[]);
    bench.send(&pattern(0, 1500));
    bench.silent();
    let sent = bench.wait(ms(300));
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].payload, pattern(0, 200));
    bench.finish();
}

#[test]
fn a_fin_waits_for_an_open_window() {
    let mut bench = Bench::established();
    bench.peer_window = 0;
    bench.ack(PEERS, OURS, &[]);
    bench.close();
    bench.silent();
    assert_eq!(bench.wait(ms(250))[0].repr.seq, OURS - 1);
    bench.peer_window = 10;
    bench.ack(PEERS, OURS, &[]);
    assert!(bench.one().repr.flags.contains(Flags::FIN));
    bench.finish();
}

#[test]
fn the_window_closes_without_shrinking_and_opens_in_large_steps() {
    let mut bench = Bench::established();
    let mut edge = PEERS;
    let mut next = PEERS;
    while next != PEERS + 60_000 {
        bench.ack(next, OURS, &[0; 600]);
        next += 600;
        for sent in bench.out() {
            let now = sent.repr.ack + u32::from(sent.repr.window);
            assert!(now.ge(edge));
            edge = now;
        }
    }
    assert_eq!(edge, PEERS + 60_000);
    // Less than a segment of room is not announced, more is.
    bench.recv(999);
    bench.silent();
    bench.recv(1);
    let update = bench.one();
    assert_eq!(
        (update.repr.ack, update.repr.window),
        (PEERS + 60_000, 1000)
    );
    // Then only when it doubles.
    bench.recv(900);
    bench.silent();
    bench.recv(100);
    assert_eq!(bench.one().repr.window, 2000);
    bench.finish();
}

#[test]
fn a_smaller_receive_buffer_does_not_take_back_the_window() {
    let mut bench = Bench::established();
    bench.tcb.set_rcv_buf(5000);
    bench.ack(PEERS, OURS, &[0; 1000]);
    let ack = bench.one();
    assert_eq!(u32::from(ack.repr.window), 59_000);
    bench.finish();
}

#[test]
fn writes_are_bounded_by_the_buffer_and_room_is_told() {
    let mut bench = Bench::established();
    let data = pattern(0, 150_000);
    // What leaves at once, and whole pieces of half the window: the last is begun where there is room.
    assert_eq!(bench.send(&data), 10_000 + 3 * 32_000);
    assert!(!bench.tcb.writable());
    assert_eq!(bench.send(b"x"), 0);
    let mut acked = 0;
    let mut told_at = None;
    while acked < 106_000 {
        acked += bench.out().iter().map(|s| s.payload.len()).sum::<usize>();
        let events = bench.ack(PEERS, OURS + n(acked), &[]);
        if events.contains(Events::WRITABLE) {
            assert!(told_at.is_none(), "told once");
            told_at = Some(acked);
        }
    }
    assert!(
        told_at.is_some_and(|at| (33_000..=70_000).contains(&at)),
        "{told_at:?}"
    );
    assert!(bench.tcb.writable());
    bench.finish();
}

#[test]
fn an_exhausted_pool_drops_text_unacknowledged() {
    let mut bench = Bench::established();
    bench.memory = Memory::new(2);
    bench.ack(PEERS, OURS, &[1; 1000]);
    bench.ack(PEERS + 2000, OURS, &[3; 1000]);
    // What waits behind the hole makes room.
    bench.ack(PEERS + 1000, OURS, &[2; 1500]);
    bench.out();
    bench.ack(PEERS + 2500, OURS, &[3; 3000]);
    bench.ack(PEERS + 4096, OURS, &[3; 10]);
    assert_eq!(bench.tcb.recv_len(), 4096);
    assert_eq!(bench.tcb.info().counters.dropped_no_buffer, 2);
    assert_eq!(bench.send(b"no room either"), 0);
    let all = bench.recv(9000);
    assert_eq!((all[999], all[1000], all[2499], all[2500]), (1, 2, 2, 3));
    bench.ack(PEERS + 4096, OURS, &[4; 10]);
    assert_eq!(bench.recv(100), [4; 10]);
    bench.finish();
}

#[test]
fn large_segments_on_a_local_wire() {
    let big = Settings {
        mss: 60_000,
        rcv_buf_bytes: 1 << 20,
        snd_buf_bytes: 1 << 20,
        ..Settings::default()
    };
    let mut pair = Pair::established(
        1,
        Link {
            delay: Nanos(1000),
            ..Link::CLEAN
        },
        big,
    );
    let data = pattern(0, 900_000);
    assert_eq!(pair.send(0, &data), data.len());
    while pair.ends[1].received.len() < data.len() {
        assert!(pair.step());
        pair.recv(1, 1 << 20);
    }
    assert_eq!(pair.ends[1].received, data);
    assert!(pair.ends[0].segments <= 20, "{}", pair.ends[0].segments);
    assert!(pair.ends[1].segments <= 20, "{}", pair.ends[1].segments);
    pair.finish();
}

#[test]
fn the_window_of_text_that_a_newer_window_overtook_does_not_count() {
    let mut bench = Bench::established();
    bench.peer_window = 500;
    bench.ack(PEERS + 4, OURS, &[]);
    bench.peer_window = 0;
    bench.ack(PEERS, OURS, b"late");
    assert_eq!(bench.recv(10), b"late");
    bench.out();
    assert_eq!(bench.send(b"answer"), 6);
    assert_eq!(bench.one().payload, b"answer");
    bench.abort();
    bench.out();
    bench.finish();
}

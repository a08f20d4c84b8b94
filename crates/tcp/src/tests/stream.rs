//! The property that matters: over any link, each end reads what the other wrote, in order, once, and the connection
//! ends with every buffer given back.

use super::pair::{Link, Pair, Rng};
use super::{ms, pattern};
use crate::{Events, Settings, State};
use sidestep_shm::Nanos;
use sidestep_wire::Seq;

fn link(rng: &mut Rng) -> Link {
    Link {
        delay: Nanos::from_micros(rng.below(50_000)),
        jitter: Nanos::from_micros(rng.below(10_000)),
        loss: [0, 10, 50, 200][usize::try_from(rng.below(4)).unwrap()],
        duplicate: rng.below(2) * rng.below(200),
        reorder: rng.below(2) * rng.below(300),
    }
}

fn random_settings(rng: &mut Rng) -> Settings {
    Settings {
        mss: u16::try_from(100 + rng.below(9000)).unwrap(),
        rcv_buf_bytes: u32::try_from(2000 + rng.below(150_000)).unwrap(),
        snd_buf_bytes: u32::try_from(1000 + rng.below(150_000)).unwrap(),
        timestamps: rng.chance(500),
        window_scale: rng.chance(500),
        // Loss of one in five gives no guarantee within the usual bounds.
        data_retries: 100,
        syn_retries: 100,
        // Longer than any backed-off retransmission of the other end's FIN.
        time_wait: Nanos::from_secs(2000),
        ..Settings::default()
    }
}

/// Writes, reads and closes at random until both ends have closed.
fn exchange(seed: u64) {
    let mut rng = Rng::new(seed);
    let link = link(&mut rng);
    let settings = [random_settings(&mut rng), random_settings(&mut rng)];
    let iss = (
        Seq(u32::try_from(rng.below(1 << 32)).unwrap()),
        Seq(u32::MAX - 3000),
    );
    let mut pair = Pair::new(seed, link, settings[0]).with_iss(iss.0, iss.1);
    pair.settings[1] = settings[1];
    let totals = [rng.below(60_000), rng.below(60_000)].map(|n| usize::try_from(n).unwrap());
    let streams = totals.map(|total| pattern(0, total));
    let mut written = [0, 0];
    let mut closed = [false, false];
    for end in &mut pair.ends {
        end.tcb.set_nodelay(rng.chance(500));
    }
    pair.connect(0);
    if rng.chance(100) {
        pair.connect(1);
    }
    for _ in 0..300_000 {
        for i in 0..2 {
            if rng.chance(300) {
                let len = usize::try_from(1 + rng.below(20_000)).unwrap();
                let end = (written[i] + len).min(totals[i]);
                if pair.ends[i].tcb.can_send() {
                    written[i] += pair.send(i, &streams[i][written[i]..end]);
                }
            }
            if rng.chance(300) {
                let len = usize::try_from(1 + rng.below(30_000)).unwrap();
                pair.recv(i, len);
            }
            let established = pair.ends[i].tcb.can_send();
            if !closed[i] && established && written[i] == totals[i] {
                pair.shutdown(i);
                closed[i] = true;
            }
        }
        let over = |i: usize| pair.ends[i].events.contains(Events::CLOSED);
        if over(0) && over(1) {
            break;
        }
        if !pair.step() {
            let ends = &pair.ends;
            let stuck = !ends
                .iter()
                .any(|end| end.tcb.recv_len() > 0 || end.tcb.can_send());
            assert!(
                !stuck,
                "seed {seed}: {:?} {:?}",
                ends[0].tcb.info(),
                ends[1].tcb.info()
            );
            pair.now = pair.now + ms(1);
        }
    }
    check(seed, pair, &streams);
}

/// Both ends have closed in order, with all that the other wrote.
fn check(seed: u64, mut pair: Pair, streams: &[Vec<u8>; 2]) {
    for i in 0..2 {
        pair.recv(i, 1 << 20);
        assert_eq!(
            pair.ends[i].tcb.state(),
            State::Closed,
            "seed {seed}, end {i}"
        );
        assert_eq!(pair.ends[i].tcb.error(), None, "seed {seed}, end {i}");
        assert!(pair.ends[i].tcb.at_eof(), "seed {seed}, end {i}");
        let counters = pair.ends[i].tcb.counters();
        assert_eq!(counters.bytes_received, streams[1 - i].len() as u64);
        assert_eq!(counters.bytes_acked, streams[i].len() as u64);
        assert!(
            pair.ends[i].received == streams[1 - i],
            "seed {seed}: not what was written"
        );
    }
    pair.finish();
}

#[test]
fn streams_arrive_whole_over_bad_links() {
    for seed in 0..300 {
        exchange(seed);
    }
}

/// Garbage in every field never panics, and the connection's buffers stay accounted for.
#[test]
fn arbitrary_segments_do_no_harm() {
    use super::bench::{Bench, OURS, PEERS};
    use sidestep_wire::tcp::{Flags, Timestamps};
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mut bench = Bench::established_with(&Settings {
            timestamps: rng.chance(300),
            ..super::settings()
        });
        for _ in 0..200 {
            let near = |rng: &mut Rng, base: Seq| match rng.below(4) {
                0 => Seq(u32::try_from(rng.below(1 << 32)).unwrap()),
                1 => base - u32::try_from(rng.below(2000)).unwrap(),
                _ => base + u32::try_from(rng.below(3000)).unwrap(),
            };
            let (seq, ack) = (near(&mut rng, PEERS), near(&mut rng, OURS));
            let flags = if rng.chance(900) {
                Flags::ACK
                    | (Flags::PSH
                        & Flags::from_bits_truncate(u16::from(rng.next().to_le_bytes()[0])))
            } else {
                Flags::from_bits_truncate(u16::from(rng.next().to_le_bytes()[0]))
            };
            let mut repr = bench.repr(seq, ack, flags);
            repr.window = rng.next().to_le_bytes()[0].into();
            if rng.chance(500) {
                let value = u32::try_from(rng.below(20_000)).unwrap();
                repr.options.timestamps = Some(Timestamps { value, echo: value });
            }
            let len = usize::try_from(rng.below(4000)).unwrap();
            let payload = vec![9; if rng.chance(500) { len } else { 0 }];
            bench.feed(&repr, &payload);
            match rng.below(12) {
                0 => drop(bench.recv(len)),
                1 => drop(bench.send(&payload)),
                2 => bench.shutdown(),
                3 if rng.chance(100) => drop(bench.close()),
                4 => {
                    bench.now = bench.tcb.next_timeout().min(bench.now + ms(len as u64));
                    bench.fire();
                }
                _ => {}
            }
            bench.out();
        }
        bench.finish();
    }
}

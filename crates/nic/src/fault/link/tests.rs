use super::*;

fn send_many(config: LinkConfig, count: usize) -> (Link, Vec<Fate>) {
    let mut rng = Rng::with_seed(1);
    let mut link = Link::new(config);
    let fates = (0..count)
        .map(|_| link.send(&mut rng, Nanos::ZERO, 1000, true))
        .collect();
    (link, fates)
}

#[test]
fn loss_is_as_likely_as_it_says() {
    let config = LinkConfig {
        loss_ppm: 100_000,
        ..LinkConfig::CLEAN
    };
    let (link, _) = send_many(config, 10_000);
    assert!((900..1100).contains(&link.lost), "{}", link.lost);
}

#[test]
fn bursts_lose_packets_in_a_row() {
    let config = LinkConfig {
        burst: Burst {
            begin_ppm: 10_000,
            end_ppm: 100_000,
            loss_ppm: 1_000_000,
        },
        ..LinkConfig::CLEAN
    };
    let (link, fates) = send_many(config, 10_000);
    let runs = fates
        .windows(2)
        .filter(|pair| pair[0] != Fate::Lost && pair[1] == Fate::Lost)
        .count();
    assert!(link.lost > 300, "{}", link.lost);
    assert!(link.lost > 5 * runs as u64, "{} in {runs}", link.lost);
}

#[test]
fn a_rate_spaces_packets_and_its_queue_overflows() {
    let config = LinkConfig {
        rate_bps: 8_000_000,
        queue_bytes: 3000,
        mark_bytes: 1500,
        ..LinkConfig::CLEAN
    };
    let (_, fates) = send_many(config, 5);
    let ms = Nanos::from_millis;
    let arrives = |at, marked| Fate::Arrives {
        at: ms(at),
        again: None,
        marked,
        corrupt: false,
    };
    assert_eq!(
        fates,
        [
            arrives(6, false),
            arrives(7, false),
            arrives(8, true),
            Fate::Lost,
            Fate::Lost
        ]
    );
}

#[test]
fn jitter_keeps_the_order_and_reordering_does_not() {
    let jitter = LinkConfig {
        jitter: Nanos::from_millis(20),
        ..LinkConfig::CLEAN
    };
    let reordering = LinkConfig {
        reorder_ppm: 300_000,
        reorder_by: Nanos::from_millis(20),
        ..LinkConfig::CLEAN
    };
    let in_order = |config| {
        let (_, fates) = send_many(config, 100);
        let times: Vec<Nanos> = fates
            .iter()
            .map(|fate| match fate {
                Fate::Arrives { at, .. } => *at,
                _ => panic!("nothing is lost here"),
            })
            .collect();
        times.is_sorted()
    };
    assert!(in_order(jitter));
    assert!(!in_order(reordering));
}

#[test]
fn what_is_too_long_is_told_or_not() {
    let config = LinkConfig {
        mtu: 999,
        ..LinkConfig::CLEAN
    };
    assert_eq!(send_many(config, 1).1, [Fate::TooBig]);
    let silent = LinkConfig {
        mtu: 0,
        black_hole: 999,
        ..config
    };
    assert_eq!(send_many(silent, 1).1, [Fate::Lost]);
}

#[test]
fn damage_is_told_beside_the_arrival() {
    let config = LinkConfig {
        corrupt_ppm: 100_000,
        ..LinkConfig::CLEAN
    };
    let (link, fates) = send_many(config, 10_000);
    let is_damaged = |fate: &&Fate| matches!(fate, Fate::Arrives { corrupt: true, .. });
    let damaged = fates.iter().filter(is_damaged).count();
    assert!((900..1100).contains(&damaged), "{damaged}");
    assert_eq!(link.lost, 0);
}

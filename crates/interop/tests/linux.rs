//! Our TCP against Linux's, over links with all kinds of trouble. Every byte is compared; `cargo xtask interop matrix`
//! tries more.

use sidestep_interop::{Calls, Tcp, Trial, table};
use sidestep_nic::fault::{Burst, LinkConfig};
use sidestep_shm::Nanos;

const PATIENCE: Nanos = Nanos::from_secs(60);

/// Each end as client and as server, with the same trouble both ways.
fn both_ways(name: &str, link: LinkConfig, calls: Calls) {
    std::thread::scope(|scope| {
        for (client, server) in [(Tcp::Ours, Tcp::Linux), (Tcp::Linux, Tcp::Ours)] {
            scope.spawn(move || {
                let trial = Trial {
                    client,
                    server,
                    links: [link; 2],
                    seed: 1,
                };
                let took = trial.calls(calls, PATIENCE);
                let took = took.unwrap_or_else(|error| panic!("{name}, {client:?}: {error:#}"));
                assert_eq!(took.len(), calls.connections);
            });
        }
    });
}

fn lossy(loss_ppm: u32, delay_ms: u64) -> LinkConfig {
    LinkConfig {
        delay: Nanos::from_millis(delay_ms),
        loss_ppm,
        ..LinkConfig::PERFECT
    }
}

#[test]
#[ignore = "needs root"]
fn bulk_both_ways_at_once() {
    let messy = LinkConfig {
        jitter: Nanos::from_millis(1),
        burst: Burst {
            begin_ppm: 1000,
            end_ppm: 300_000,
            loss_ppm: 900_000,
        },
        corrupt_ppm: 2000,
        duplicate_ppm: 10_000,
        reorder_ppm: 20_000,
        reorder_by: Nanos::from_millis(3),
        ..lossy(1000, 2)
    };
    both_ways("bulk", messy, table::bulk(2_000_000));
}

#[test]
#[ignore = "needs root"]
fn requests_over_a_long_way() {
    both_ways("requests", lossy(10_000, 20), table::requests_of(20));
}

#[test]
#[ignore = "needs root"]
fn many_short_connections() {
    both_ways("short", lossy(10_000, 5), table::short(200));
}

#[test]
#[ignore = "needs root"]
fn one_in_five_is_lost() {
    both_ways("one in five", lossy(200_000, 1), table::bulk(30_000));
}

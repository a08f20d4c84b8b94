use super::*;

const SAID: &str = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"16500.25\",\"0.05\"\n\"GET\",\"17000.00\",\"0.05\"\n";

#[test]
fn rates_are_found_by_test() {
    let figures = parse(SAID).unwrap();
    assert_eq!(
        (figures["set_per_second"], figures["get_per_second"]),
        (16500.25, 17000.0)
    );
}

#[test]
fn a_missing_test_is_a_failure() {
    assert!(matches!(
        parse(&SAID.replace("GET", "PING")),
        Err(Problem::Failed(_))
    ));
    assert!(matches!(parse(""), Err(Problem::Failed(_))));
}

#[test]
fn the_faster_get_more_requests_to_fill_the_time() {
    let mut redis = Redis::new(Place::Host, 50);
    assert_eq!(redis.requests(Contender::Kernel, Effort::FULL), 10_000);
    redis.per_second.insert(Contender::Sidestep, 300_000.0);
    assert_eq!(redis.requests(Contender::Sidestep, Effort::FULL), 300_000);
}

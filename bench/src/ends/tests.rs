use super::*;
use serde_json::json;

/// What an end's stack moved, and its kernel.
fn end(frames: u64, by_kernel: Option<u64>) -> (Traffic, Option<u64>) {
    let stack = json!({"id": "a", "status": "ok", "counters": {"rx_frames": frames}});
    (
        Traffic::of(&json!({ "stacks": [stack] })).unwrap(),
        by_kernel,
    )
}

fn proof(ends: Vec<(Traffic, Option<u64>)>) -> Proof {
    Proof { ends }
}

#[test]
fn where_nothing_is_accelerated_there_is_nothing_to_prove() {
    assert_eq!(proof(Vec::new()).at_least(1000, 0), Ok(()));
}

#[test]
fn the_end_that_stays_shows_all_the_work() {
    assert_eq!(
        proof(vec![end(1000, Some(20)), end(0, Some(0))]).at_least(1000, 0),
        Ok(())
    );
    let short = proof(vec![end(999, Some(0)), end(1000, Some(0))]);
    assert!(matches!(short.at_least(1000, 0), Err(Problem::Invalid(_))));
}

#[test]
fn work_that_the_kernel_of_an_accelerated_end_did_is_invalid() {
    for ends in [
        vec![end(1000, Some(21))],
        vec![end(1000, Some(0)), end(1, Some(21))],
    ] {
        assert!(matches!(
            proof(ends).at_least(1000, 0),
            Err(Problem::Invalid(_))
        ));
    }
}

#[test]
fn a_free_port_is_free() {
    let port = free_port(Ipv4Addr::LOCALHOST).unwrap();
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
}

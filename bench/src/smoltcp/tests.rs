use super::*;

#[test]
fn messages_come_back() {
    let cpus = Cpus::allowed().unwrap();
    if !cpus.apart() {
        // Two spinning threads on one processor would exchange a message in each time slice only: still correct.
        assert!(half_round_trips(cpus, 32, 0.0, 0.01).is_ok());
        return;
    }
    let halves = half_round_trips(cpus, 32, 0.01, 0.05).unwrap();
    assert!(halves.len() > 10, "{} round trips", halves.len());
    assert!(halves.value_at_quantile(0.5) > 10, "faster than any cache");
}

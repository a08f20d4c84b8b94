use super::*;

#[test]
fn messages_come_back() {
    let cpus = Cpus::allowed().unwrap();
    if !cpus.apart() {
        // Two spinning threads on one processor would exchange a message in each time slice only: still correct.
        assert!(half_round_trips(cpus, 32, 0.0, 0.01).is_ok());
        return;
    }
    // Where others use the processors too, both ends may never run at the same time for as long as this.
    let mut attempts = (0..20).map(|_| half_round_trips(cpus, 32, 0.01, 0.05).unwrap());
    let halves = attempts.find(|halves| halves.len() > 10);
    let halves = halves.expect("more than ten round trips");
    assert!(halves.value_at_quantile(0.5) > 10, "faster than any cache");
}

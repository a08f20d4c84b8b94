use super::*;

#[test]
fn first_sample_and_smoothing_follow_rfc_6298() {
    let mut rtt = Rtt::UNKNOWN;
    assert_eq!(rtt.rto(0), Nanos::from_secs(1));
    rtt.sample(Nanos::from_millis(800));
    assert_eq!(rtt.srtt_ns, 800_000_000);
    assert_eq!(rtt.rttvar_ns, 400_000_000);
    assert_eq!(rtt.rto(0), Nanos::from_millis(2400));
    rtt.sample(Nanos::from_millis(1600));
    assert_eq!(rtt.srtt_ns, 900_000_000);
    assert_eq!(rtt.rttvar_ns, 500_000_000);
    assert_eq!(rtt.rto(0), Nanos::from_millis(2900));
    assert_eq!(rtt.min_ns, 800_000_000);
}

#[test]
fn the_timeout_has_bounds() {
    let mut rtt = Rtt::UNKNOWN;
    for _ in 0..100 {
        rtt.sample(Nanos(300));
    }
    assert_eq!(rtt.rto(0), Nanos(200_000_000 + rtt.srtt_ns));
    assert_eq!(rtt.rto(3).0, 8 * rtt.rto(0).0);
    assert_eq!(rtt.rto(200), Nanos::from_secs(120));
    rtt.sample(Nanos::ZERO);
    assert!(rtt.srtt_ns > 0, "zero stands for unknown");
}

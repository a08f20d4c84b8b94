//! Time: spans of it, and the clock against the kernel's.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use rustix::time::{ClockId, clock_gettime};
use sidestep_shm::{Clock, Nanos};

fn kernel() -> Nanos {
    let t = clock_gettime(ClockId::Monotonic);
    let seconds = Nanos::from_secs(u64::try_from(t.tv_sec).unwrap());
    seconds + Nanos(u64::try_from(t.tv_nsec).unwrap())
}

#[test]
fn spans_saturate() {
    assert_eq!(Nanos::from_secs(2), Nanos::from_millis(2_000));
    assert_eq!(Nanos::from_millis(3), Nanos::from_micros(3_000));
    assert_eq!(Nanos(5_999_999).as_millis(), 5);
    assert_eq!(Nanos(5_999_999).as_micros(), 5_999);
    assert_eq!(Nanos::NEVER + Nanos(1), Nanos::NEVER);
    assert_eq!(Nanos(1) - Nanos(2), Nanos::ZERO);
}

#[test]
fn the_clock_agrees_with_the_kernel_and_goes_on() {
    const TOLERANCE: Nanos = Nanos::from_millis(1);
    // A new calibration may set the clock back by a little; its users take care of that.
    const STEP: Nanos = Nanos::from_micros(50);
    let clock = Clock::new();
    let (begin, mut last) = (kernel(), Nanos::ZERO);
    let mut readings = 0;
    // Three times as long as it takes to be calibrated, and a second time after the calibration is no longer believed.
    for pause_ms in [0, 1_050] {
        std::thread::sleep(std::time::Duration::from_millis(pause_ms));
        let from = kernel();
        while kernel() - from < Nanos::from_millis(60) {
            let before = kernel();
            let now = clock.now();
            let after = kernel();
            assert!(now + TOLERANCE >= before, "{now:?} is before {before:?}");
            assert!(now <= after + TOLERANCE, "{now:?} is after {after:?}");
            assert!(now + STEP >= last, "{now:?} is before {last:?}");
            last = now;
            readings += 1;
        }
    }
    assert!(readings > 100 && last > begin);
}

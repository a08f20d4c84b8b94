use super::*;
use crate::process::process;

#[test]
fn who_yields_to_somebody_who_computes_sleeps_for_a_while() {
    let (process, mut thread) = (process(), ThreadState::NEW);
    let at = |ms| Nanos::from_secs(1) + Nanos::from_millis(ms);
    let budget = |thread: &mut ThreadState, ms| thread.begin_wait(process, Kind::Many, at(ms)).1;
    let full = process.config().spin;
    assert!(full > SPIN_LEAST, "nothing was set");
    assert_eq!(budget(&mut thread, 0), full);
    assert!(!thread.was_away(process, Nanos::from_micros(20), at(0)));
    assert_eq!(budget(&mut thread, 0), full, "a peer had it");
    assert!(thread.was_away(process, Nanos::from_millis(4), at(4)));
    assert_eq!(budget(&mut thread, 5), SPIN_LEAST);
    // A wait that was short says nothing of the processor.
    thread.end_wait(process, Kind::Many, Nanos::from_micros(2));
    assert_eq!(budget(&mut thread, 53), SPIN_LEAST);
    assert_eq!(budget(&mut thread, 54), full);
}

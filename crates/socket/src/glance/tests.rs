use super::*;

const START: Nanos = Nanos::from_secs(1);

#[test]
fn a_descriptor_is_looked_at_now_and_then() {
    let glances = Glances::new();
    assert!(glances.due(5, START));
    assert!(!glances.due(5, START + Nanos::from_micros(5)));
    assert!(glances.due(6, START + Nanos::from_micros(5)));
    assert!(glances.due(5, START + Nanos::from_micros(12)));
    assert!(!glances.due(5, START + Nanos::from_micros(13)));
    glances.all_due();
    assert!(glances.due(5, START + Nanos::from_micros(13)));
}

#[test]
fn descriptors_of_one_place_do_not_starve_each_other() {
    let glances = Glances::new();
    for turn in 0..100 {
        let now = START + Nanos::from_micros(turn);
        assert!(glances.due(5, now));
        assert!(glances.due(5 + 256, now));
    }
}

#[test]
fn sides_take_turns_and_what_was_peeked_at_is_taken_next() {
    let glances = Glances::new();
    let turns: Vec<bool> = (0..4).map(|_| glances.takes_turn(5)).collect();
    assert_eq!(turns, [true, false, true, false]);
    glances.keep_turn(5);
    assert!(!glances.takes_turn(5));
    assert!(glances.takes_turn(5));
}

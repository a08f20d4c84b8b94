use super::*;

#[test]
fn no_samples_have_no_summary() {
    assert_eq!(Summary::of([]), None);
    assert_eq!(Summary::of([f64::NAN, f64::INFINITY]), None);
}

#[test]
fn one_sample_is_its_own_summary() {
    let s = Summary::of([7.0]).unwrap();
    assert_eq!(
        (s.min, s.q1, s.median, s.q3, s.max, s.count),
        (7.0, 7.0, 7.0, 7.0, 7.0, 1)
    );
}

#[test]
fn order_does_not_matter_and_quartiles_interpolate() {
    let s = Summary::of([4.0, 1.0, 3.0, 2.0]).unwrap();
    assert_eq!(
        (s.min, s.q1, s.median, s.q3, s.max),
        (1.0, 1.75, 2.5, 3.25, 4.0)
    );
}

#[test]
fn odd_counts_have_a_middle() {
    let s = Summary::of([9.0, 5.0, 1.0]).unwrap();
    assert_eq!((s.q1, s.median, s.q3), (3.0, 5.0, 7.0));
}

#[test]
fn samples_that_are_no_number_are_left_out() {
    let s = Summary::of([2.0, f64::NAN, 4.0]).unwrap();
    assert_eq!((s.median, s.count), (3.0, 2));
}

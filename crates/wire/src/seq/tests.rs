use super::Seq;

#[test]
fn order_is_modular() {
    let (before, after) = (Seq(u32::MAX - 9), Seq(10));
    assert!(before.lt(after) && before.le(after) && after.gt(before) && after.ge(before));
    assert!(!after.lt(before) && !after.le(before) && !before.gt(after) && !before.ge(after));
    assert!(after.le(after) && after.ge(after) && !after.lt(after) && !after.gt(after));
    assert_eq!(before.min(after), before);
    assert_eq!(after.min(before), before);
    assert_eq!(before.max(after), after);
    assert_eq!(after.max(before), after);
}

#[test]
fn arithmetic_wraps() {
    let start = Seq(u32::MAX);
    assert_eq!(start + 1, Seq(0));
    assert_eq!(Seq(0) - 1, start);
    assert_eq!(Seq(5) - start, 6);
    assert_eq!(start - Seq(5), -6);
    let mut seq = start;
    seq += 3;
    assert_eq!(seq, Seq(2));
}

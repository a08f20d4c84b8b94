use super::*;

fn group(stacks: &[u8]) -> Group {
    let mut group = Group::default();
    for &stack in stacks {
        group.add(stack).unwrap();
    }
    group
}

#[test]
fn a_stack_is_in_once() {
    let mut twice = group(&[3, 0, 63]);
    twice.add(0).unwrap();
    assert_eq!(twice.value()[..5], [3, 3, 0, 63, 0]);
    assert_eq!(Group::of(twice.value()), twice);
}

#[test]
fn the_last_takes_the_place_of_who_goes() {
    let mut group = group(&[5, 6, 7]);
    assert!(group.remove(5));
    assert!(!group.remove(5));
    assert_eq!(group.value()[..4], [2, 7, 6, 0]);
    assert!(group.remove(6));
    assert!(!group.is_empty());
    assert!(group.remove(7));
    assert!(group.is_empty());
    assert_eq!(group.value(), [0; 17]);
    assert!(!group.remove(0), "an empty place is no stack");
}

#[test]
fn there_are_sixteen_places() {
    let mut full = group(&(0..16).collect::<Vec<_>>());
    assert!(matches!(full.add(16), Err(SteeringError::Full)));
    full.add(15).unwrap();
    assert!(full.remove(3));
    full.add(16).unwrap();
    assert_eq!(full.value()[0], 16);
}

#[test]
fn nonsense_in_the_table_is_cut() {
    let mut group = Group::of([200; 17]);
    assert!(group.remove(200));
    assert_eq!(group.value()[0], 15);
}

use super::*;
use crate::targets;

#[test]
fn names_are_unlike() {
    let mut names: Vec<_> = all().iter().map(|c| c.name()).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn every_target_names_a_figure_that_some_case_yields() {
    let cases = all();
    for target in targets::all() {
        for source in std::iter::once(target.subject).chain(target.reference) {
            let case = cases.iter().find(|c| c.name() == source.case);
            let case = case.unwrap_or_else(|| panic!("{}: no case {}", target.what, source.case));
            assert!(
                case.contenders().contains(&source.contender),
                "{}",
                target.what
            );
            assert!(
                case.metrics().iter().any(|m| m.name == source.metric),
                "{}",
                target.what
            );
        }
    }
}

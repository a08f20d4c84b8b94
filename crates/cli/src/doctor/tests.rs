//! What the checks make of what they find.

use super::*;
use rustix::io::Errno;

#[test]
fn old_kernels_are_told() {
    assert_eq!(checks::kernel("6.1.0-30-amd64").verdict, Verdict::Ok);
    assert_eq!(checks::kernel("5.3.0").verdict, Verdict::Ok);
    assert_eq!(checks::kernel("5.2.21").verdict, Verdict::Missing);
    assert_eq!(checks::kernel("4.19").verdict, Verdict::Missing);
    assert_eq!(checks::kernel("strange").verdict, Verdict::Missing);
}

#[test]
fn af_xdp_for_root_only_is_no_lack() {
    assert_eq!(cards::af_xdp(Ok(())).verdict, Verdict::Ok);
    assert_eq!(cards::af_xdp(Err(Errno::PERM)).verdict, Verdict::Limited);
    assert_eq!(
        cards::af_xdp(Err(Errno::AFNOSUPPORT)).verdict,
        Verdict::Limited
    );
}

#[test]
fn only_local_lacks_decide() {
    let missing = || Check::missing("it", "not there", "get it");
    let limited = || Check::limited("it", "small", "enlarge it");
    assert!(Findings::new(vec![limited()], vec![missing()]).local_works);
    assert!(!Findings::new(vec![missing(), limited()], vec![]).local_works);
}

#[test]
fn every_lack_says_how_to_change_it() {
    let findings = Findings::new(vec![Check::missing("it", "not there", "get it")], vec![]);
    let text = findings.text();
    assert!(
        text.contains("missing  it                 not there\n"),
        "{text}"
    );
    assert!(text.contains("-> get it\n"), "{text}");
    assert!(
        text.ends_with("see the lines marked 'missing'.\n"),
        "{text}"
    );
}

#[test]
fn this_machine_has_names_and_findings_for_all() {
    for check in checks::machine().iter().chain(&cards::all()) {
        assert!(
            !check.name.is_empty() && !check.found.is_empty(),
            "{check:?}"
        );
        assert_eq!(
            check.change.is_some(),
            check.verdict != Verdict::Ok,
            "{check:?}"
        );
    }
}

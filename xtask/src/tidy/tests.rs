//! Each rule finds what it is for.

use super::*;

#[track_caller]
fn finds(path: &str, text: &str, what: &str) {
    let complaints = complaints_of(path, text);
    assert!(
        complaints.iter().any(|complaint| complaint.contains(what)),
        "{complaints:?}"
    );
}

#[test]
fn tidy_code_passes() {
    assert_eq!(
        complaints_of("crates/tcp/src/a.rs", "//! Owns a.\nfn a() {}\n"),
        Vec::<String>::new()
    );
}

#[test]
fn untidy_code_is_found() {
    finds("a.rs", "//! A.\n// TODO later\n", "a.rs:2: TODO");
    finds("a.rs", "fn a() {}\n", "begins without");
    finds(
        "a.rs",
        &("//! A.\n".to_owned() + &"\n".repeat(LINES_MAX)),
        "801 lines",
    );
    finds("a.rs", "//! A.\nfn get_a() {}\n", "fn get_");
    finds("crates/a/src/utils.rs", "//! A.\n", "name it for");
    finds("docs/a.md", "in /home/somebody\n", "paths of one machine");
    finds(
        "Cargo.lock",
        "source = \"https://index.crates.io/\"\n",
        "registries",
    );
    finds(
        "crates/tcp/src/a.rs",
        "//! A.\nInstant::now();\n",
        "the core is given the time",
    );
}

#[test]
fn unsafe_code_has_its_places() {
    let text = "//! A.\n#![expect(unsafe_code, reason = \"maps\")]\n";
    finds("crates/tcp/src/a.rs", text, "unsafe code belongs");
    assert_eq!(
        complaints_of("crates/shm/src/a.rs", text),
        Vec::<String>::new()
    );
    assert_eq!(
        complaints_of("crates/nic/src/memif/sys.rs", text),
        Vec::<String>::new()
    );
}

//! Who may own the directory, and with which mode.

use super::*;
use std::os::unix::fs::PermissionsExt;

fn temporary(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("sidestep-dir-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn is_made_private() {
    let path = temporary("made");
    let dir = RuntimeDir::open(&path).unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(dir.socket(), path.join("agent.sock"));
    assert!(RuntimeDir::open(&path).is_ok());
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn is_refused_when_others_may_write_or_enter() {
    let path = temporary("open");
    std::fs::create_dir(&path).unwrap();
    // Only root's own may be entered by others: that of the agent of a host, which programs do not start.
    let of_root = rustix::process::geteuid().is_root();
    for (mode, trusted) in [(0o755, of_root), (0o775, false), (0o702, false)] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        match RuntimeDir::open(&path) {
            Ok(dir) => assert!(trusted && !dir.may_start(), "{mode:o}"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert!(!trusted, "{mode:o}: {error}");
            }
        }
    }
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn of_a_host_serves_root_and_those_who_are_named() {
    let path = temporary("users");
    let dir = RuntimeDir::open(&path).unwrap();
    assert!(dir.serves(0) && !dir.serves(1000));
    dir.set_users([1000, 1001]).unwrap();
    assert!(dir.serves(0) && dir.serves(1001) && !dir.serves(100) && !dir.serves(1002));
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn is_refused_when_it_is_a_link() {
    let (path, target) = (temporary("link"), temporary("target"));
    let _ = std::fs::remove_file(&path);
    RuntimeDir::open(&target).unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(RuntimeDir::open(&path).is_err());
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_dir_all(&target).unwrap();
}

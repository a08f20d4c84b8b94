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
fn is_refused_when_others_may_enter() {
    let path = temporary("open");
    std::fs::create_dir(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let refused = RuntimeDir::open(&path).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
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

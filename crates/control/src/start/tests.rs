//! A detached process leaves no trace in its parent.

use super::*;

#[test]
fn the_new_process_is_no_child_and_holds_no_descriptor() {
    let out = std::env::temp_dir().join(format!("sidestep-detached-{}", std::process::id()));
    let _ = std::fs::remove_file(&out);
    let script = format!(
        "(ls /proc/$$/fd; echo ppid $PPID; echo $WHO) > {0}.new; mv {0}.new {0}",
        out.display()
    );
    let script = CString::new(script).unwrap();
    let environment = [c"PATH=/usr/bin:/bin".into(), c"WHO=agent".into()];
    sys::spawn_detached(c"/bin/sh", &[c"sh", c"-c", &script], &environment).unwrap();
    let text = (0..1000)
        .find_map(|_| {
            sleep(Duration::from_millis(5));
            std::fs::read_to_string(&out).ok()
        })
        .expect("the process ran");
    std::fs::remove_file(&out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    // Descriptor 1 is the file; the shell itself may keep a copy of what it redirected at 10 or above.
    let descriptors: Vec<u32> = lines.iter().map_while(|line| line.parse().ok()).collect();
    assert!(descriptors.iter().all(|fd| *fd < 3 || *fd >= 10), "{text}");
    assert!(lines.contains(&"agent"), "{text}");
    assert!(
        !lines.contains(&format!("ppid {}", std::process::id()).as_str()),
        "{text}"
    );
    let waited = rustix::process::wait(rustix::process::WaitOptions::NOHANG);
    assert_eq!(waited.err(), Some(rustix::io::Errno::CHILD));
}

#[test]
fn a_missing_executable_is_no_agent() {
    let path = std::env::temp_dir().join(format!("sidestep-start-{}", std::process::id()));
    let dir = RuntimeDir::open(&path).unwrap();
    let failed = ensure_running_in(&dir, Path::new("/nonexistent/sidestep"), "test", 0);
    assert_eq!(failed.err(), Some(ClientError::NoAgent));
    std::fs::remove_dir_all(&path).unwrap();
}

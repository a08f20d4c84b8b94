//! What `run` decides before it executes anything.

use super::*;
use std::os::unix::fs::PermissionsExt as _;

/// A directory of this test alone, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sidestep-run-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A 64-bit ELF with one program header of a kind and content.
fn elf(kind: u32, content: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 120];
    image[..5].copy_from_slice(b"\x7fELF\x02");
    image[32..40].copy_from_slice(&64_u64.to_le_bytes());
    image[54..56].copy_from_slice(&56_u16.to_le_bytes());
    image[56..58].copy_from_slice(&1_u16.to_le_bytes());
    image[64..68].copy_from_slice(&kind.to_le_bytes());
    image[72..80].copy_from_slice(&120_u64.to_le_bytes());
    image[96..104].copy_from_slice(&(content.len() as u64).to_le_bytes());
    image.extend_from_slice(content);
    image
}

fn obstacles(path: &Path) -> Vec<Obstacle> {
    Program::find(path.as_os_str())
        .unwrap()
        .obstacles()
        .to_vec()
}

#[test]
fn library_goes_in_front_and_only_once() {
    let library = Path::new("/opt/libsidestep.so");
    let joined = |existing: Option<&str>| {
        with_preload(library, existing.map(OsString::from))
            .unwrap()
            .into_string()
            .unwrap()
    };
    assert_eq!(joined(None), "/opt/libsidestep.so");
    assert_eq!(joined(Some("/a.so")), "/opt/libsidestep.so:/a.so");
    assert_eq!(
        joined(Some("/a.so /opt/libsidestep.so:/b.so")),
        "/opt/libsidestep.so:/a.so:/b.so"
    );
    assert!(with_preload(Path::new("/my files/libsidestep.so"), None).is_err());
}

#[test]
fn kinds_of_executables_are_told() {
    let scratch = Scratch::new("kinds");
    let dynamic = elf(3, b"/lib64/ld-linux-x86-64.so.2\0");
    let file = |name, content: &[u8]| obstacles(&scratch.file(name, content, 0o755));
    assert_eq!(file("dynamic", &dynamic), []);
    assert_eq!(file("static", &elf(1, b"")), [Obstacle::Static]);
    assert_eq!(
        file("musl", &elf(3, b"/lib/ld-musl-x86_64.so.1\0")),
        [Obstacle::OtherLibc]
    );
    assert_eq!(file("small", b"\x7fELF\x01"), [Obstacle::OtherClass]);
    assert_eq!(file("cut", b"\x7fELF\x02"), []);
    let script = format!("#! {} -x\n", scratch.0.join("static").display());
    assert_eq!(file("script", script.as_bytes()), [Obstacle::Static]);
    let itself = format!("#!{}\n", scratch.0.join("itself").display());
    assert_eq!(file("itself", itself.as_bytes()), []);
    assert_eq!(obstacles(Path::new("/bin/sh")), []);
}

#[test]
fn missing_and_forbidden_programs_have_their_own_status() {
    let scratch = Scratch::new("missing");
    let status = |name: &OsStr| {
        let error = Program::find(name).unwrap_err();
        status_of(&NotStarted::new(name, &error).into())
    };
    assert_eq!(status(OsStr::new("sidestep-no-such-program")), NOT_FOUND);
    assert_eq!(status(scratch.0.join("nothing").as_os_str()), NOT_FOUND);
    assert_eq!(
        status(scratch.file("plain", b"text", 0o644).as_os_str()),
        NOT_EXECUTABLE
    );
    assert_eq!(status(scratch.0.as_os_str()), NOT_EXECUTABLE);
    assert_eq!(status_of(&anyhow::anyhow!("other")), FAILED);
}

#[test]
fn explanation_is_retold_and_counted() {
    let lines = br#"{"pid":7,"fd":3,"kind":"tcp","event":"connect","local":"127.0.0.1:1","remote":"127.0.0.1:2","verdict":"accelerated"}
{"pid":8,"fd":4,"kind":"udp","event":"bind","local":"0.0.0.0:53","verdict":"kernel","reason":"multicast"}
{"pid":8,"fd":5,"kind":"udp","event":"bind","verdict":"kernel","reason":"multicast"}
nonsense
{"pid":9,"#;
    let (told, summary) = explain::retell(lines);
    assert_eq!(
        told,
        "sidestep: [7] fd 3 tcp connect 127.0.0.1:1 -> 127.0.0.1:2: accelerated\n\
         sidestep: [8] fd 4 udp bind 0.0.0.0:53: kernel, multicast\n\
         sidestep: [8] fd 5 udp bind: kernel, multicast\n"
    );
    assert_eq!(
        summary,
        "sidestep: 1 accelerated, 2 left to the kernel, in 2 processes\n\
         sidestep: left to the kernel, 2: multicast\n\
         sidestep: lines not understood: 1\n"
    );
}

#[test]
fn profiles_differ_in_spinning() {
    assert!(Profile::Default.settings().is_empty());
    assert_eq!(Profile::Polite.settings(), [("SIDESTEP_SPIN_US", "0")]);
}

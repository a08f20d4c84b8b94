//! Directories that go away with the test, and data to send.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Seed;

/// A directory of one test; removed with everything in it, unless the test is failing.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new directory that other users can read and enter, since servers give up root and still read their files.
    ///
    /// Its path is short, because socket paths have room for 107 bytes.
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sst-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("own directory");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("kept for a look: {}", self.0.display());
        } else {
            // A program that is still being torn down may add a file; what is left is litter in /tmp, not a failure.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// So many bytes that do not repeat in a way that would hide a lost, doubled or moved piece.
pub fn pattern(seed: u64, bytes: usize) -> Vec<u8> {
    let mut seed = Seed::fixed(seed);
    let mut data = Vec::with_capacity(bytes + 8);
    while data.len() < bytes {
        data.extend_from_slice(&seed.draw().to_le_bytes());
    }
    data.truncate(bytes);
    data
}

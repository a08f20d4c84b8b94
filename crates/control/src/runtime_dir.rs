//! The private directory in which a user's agent listens.

use rustix::fs::{CWD, FileType, Mode, OFlags};
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A directory that is this user's and nobody else's.
///
/// `$SIDESTEP_RUNTIME_DIR` where it is set, else `$XDG_RUNTIME_DIR/sidestep`, else `/tmp/sidestep-UID`.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    dir: OwnedFd,
}

impl RuntimeDir {
    /// The directory that the environment names, made if it is missing.
    ///
    /// # Errors
    /// Where it cannot be made, is not a directory, belongs to another user or is open to others.
    pub fn from_env() -> io::Result<Self> {
        if let Some(path) = non_empty("SIDESTEP_RUNTIME_DIR") {
            return Self::open(&path);
        }
        if let Some(base) = non_empty("XDG_RUNTIME_DIR") {
            // After `su` it may still name another user's.
            if let Ok(dir) = Self::open(&base.join("sidestep")) {
                return Ok(dir);
            }
        }
        let uid = rustix::process::geteuid().as_raw();
        Self::open(Path::new(&format!("/tmp/sidestep-{uid}")))
    }

    /// The directory at `path`, made if it is missing.
    ///
    /// # Errors
    /// As [`RuntimeDir::from_env`].
    pub fn open(path: &Path) -> io::Result<Self> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&dir)?;
        let owned = stat.st_uid == rustix::process::geteuid().as_raw();
        let private = stat.st_mode & 0o077 == 0;
        if !owned || !private || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let text = format!(
                "{} is not a directory of mode 0700 of this user",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self {
            path: path.to_path_buf(),
            dir,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket that the agent listens on.
    pub fn socket(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// The file that the one agent of this directory has locked.
    pub fn lock(&self) -> PathBuf {
        self.path.join("agent.lock")
    }

    /// The agent's log.
    pub fn log(&self) -> PathBuf {
        self.path.join("agent.log")
    }

    /// Its path for a system call.
    pub(crate) fn c_path(&self) -> io::Result<CString> {
        Ok(CString::new(OsString::from(&self.path).into_vec())?)
    }
}

impl AsFd for RuntimeDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn non_empty(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests;

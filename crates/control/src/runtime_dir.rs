//! The private directory in which a user's agent listens.

use crate::namespace;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::thread::CapabilitySet;
use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Where the agent of the whole host lives, which root runs and which serves its interfaces.
const OF_HOST: &str = "/run/sidestep";
const SOCKET: &str = "agent.sock";

/// A directory in which an agent listens: this user's and nobody else's, or root's, where only root can write.
///
/// `$SIDESTEP_RUNTIME_DIR` where it is set; else `/run/sidestep` where an agent of the whole host serves this user; else
/// `$XDG_RUNTIME_DIR/sidestep`, else `/tmp/sidestep-UID`.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    dir: OwnedFd,
    private: bool,
    owned: bool,
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
        if let Ok(dir) = Self::open_existing(Path::new(OF_HOST))
            && dir.socket().exists()
            && dir.serves(rustix::process::geteuid().as_raw())
        {
            return Ok(dir);
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

    /// The directory for an agent of the whole host: that which the environment names, else `/run/sidestep`, made if
    /// it is missing and readable for all.
    ///
    /// # Errors
    /// As [`RuntimeDir::from_env`].
    pub fn of_host() -> io::Result<Self> {
        let path = non_empty("SIDESTEP_RUNTIME_DIR").unwrap_or_else(|| OF_HOST.into());
        let dir = Self::open(&path)?;
        rustix::fs::chmod(&path, Mode::from_raw_mode(0o755))?;
        Ok(dir)
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
        Self::open_existing(path)
    }

    fn open_existing(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&dir)?;
        let owned = stat.st_uid == rustix::process::geteuid().as_raw();
        let private = stat.st_mode & 0o077 == 0;
        let of_root = stat.st_uid == 0 && stat.st_mode & 0o022 == 0;
        let trusted = owned && private || of_root;
        if !trusted || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            let text = format!(
                "{} is neither a directory of mode 0700 of this user nor one of root's that only root can write in",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        Ok(Self {
            path: path.to_path_buf(),
            dir,
            private: owned && private,
            owned,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether programs may start an agent in it: that of a host is for its administrator to start, who says with which
    /// interfaces. Where that one was killed, a program that could have started it may start it again.
    pub fn may_start(&self) -> bool {
        let can_serve = || {
            rustix::thread::capabilities(None)
                .is_ok_and(|has| has.effective.contains(CapabilitySet::NET_ADMIN))
        };
        self.private || (self.owned && can_serve() && !self.links().is_empty())
    }

    /// Writes down what the agent was told of interfaces, for the agent after it if it is killed.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn remember_links<'l>(&self, links: impl IntoIterator<Item = &'l str>) -> io::Result<()> {
        let mut text = format!("{}\n", namespace::network()?);
        for link in links {
            text.push_str(link);
            text.push('\n');
        }
        let new = self.path.join("agent.links.new");
        std::fs::write(&new, text)?;
        std::fs::rename(&new, self.remembered())
    }

    /// The agent ends in good order: the next one serves what it is told.
    pub fn forget_links(&self) {
        let _ = std::fs::remove_file(self.remembered());
    }

    /// What an agent that was killed served in this network namespace; nothing where none was.
    pub fn links(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.remembered()).unwrap_or_default();
        let mut lines = text.lines();
        let of = lines.next().and_then(|line| line.parse::<u64>().ok());
        match (of, namespace::network()) {
            (Some(of), Ok(here)) if of == here => lines.map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    }

    fn remembered(&self) -> PathBuf {
        self.path.join("agent.links")
    }

    /// Writes down which users the agent of the host serves, beside root.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn set_users(&self, users: impl IntoIterator<Item = u32>) -> io::Result<()> {
        let text: String = users.into_iter().map(|user| format!("{user}\n")).collect();
        std::fs::write(self.users(), text)
    }

    /// Which users the agent of the host serves beside root, as it wrote down.
    pub fn users_served(&self) -> BTreeSet<u32> {
        let listed = std::fs::read_to_string(self.users()).unwrap_or_default();
        listed
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect()
    }

    fn serves(&self, user: u32) -> bool {
        user == 0 || self.users_served().contains(&user)
    }

    fn users(&self) -> PathBuf {
        self.path.join("agent.users")
    }

    /// The socket that the agent listens on.
    pub fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
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

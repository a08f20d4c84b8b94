//! What kind of program it is, and what keeps it from being accelerated.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A script's interpreter may be a script; so deep the kernel follows.
const INTERPRETERS_MAX: usize = 4;
/// Program headers are read up to this many.
const PROGRAM_HEADERS_MAX: usize = 64;

const EI_CLASS: usize = 4;
const ELFCLASS64: u8 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;

/// Why the library will not see a program's sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// No dynamic loader, so nothing loads the library.
    Static,
    /// The loader ignores LD_PRELOAD for programs that gain privileges.
    Privileged,
    /// Not of this machine's class.
    OtherClass,
    /// Another C library, into which ours cannot be loaded.
    OtherLibc,
    /// Go programs make system calls themselves.
    Go,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Static => {
                "not accelerated: statically linked, so no library can be loaded into it; \
                 use a dynamically linked build"
            }
            Self::Privileged => {
                "not accelerated: setuid, setgid or with file capabilities, for which the loader ignores \
                 LD_PRELOAD; run it as the user that it becomes"
            }
            Self::OtherClass => "not accelerated: not a 64-bit program",
            Self::OtherLibc => "not accelerated: linked to another C library than glibc",
            Self::Go => {
                "probably not accelerated: a Go program, which makes its system calls without the C library"
            }
        })
    }
}

/// A program as it would be executed.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    obstacles: Vec<Obstacle>,
}

impl Program {
    /// Finds it as execvp would.
    ///
    /// # Errors
    /// `NotFound` where there is none, `PermissionDenied` where it cannot be executed.
    pub(super) fn find(name: &OsStr) -> io::Result<Self> {
        let path = search(name)?;
        let mut obstacles = Vec::new();
        // What cannot be read is executed all the same; then nothing is known of it.
        let _ = inspect(&path, INTERPRETERS_MAX, &mut obstacles);
        Ok(Self { path, obstacles })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What keeps it from being accelerated.
    pub(super) fn obstacles(&self) -> &[Obstacle] {
        &self.obstacles
    }
}

fn search(name: &OsStr) -> io::Result<PathBuf> {
    if name.is_empty() {
        return Err(ErrorKind::NotFound.into());
    }
    if name.as_bytes().contains(&b'/') {
        return executable(PathBuf::from(name));
    }
    let mut denied = None;
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    for directory in std::env::split_paths(&path) {
        match executable(directory.join(name)) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => denied = Some(error),
            Err(_) => {}
        }
    }
    Err(denied.unwrap_or_else(|| ErrorKind::NotFound.into()))
}

fn executable(path: PathBuf) -> io::Result<PathBuf> {
    if std::fs::metadata(&path)?.is_dir() {
        return Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "is a directory",
        ));
    }
    rustix::fs::access(&path, rustix::fs::Access::EXEC_OK)?;
    Ok(path)
}

fn inspect(path: &Path, deeper: usize, obstacles: &mut Vec<Obstacle>) -> io::Result<()> {
    let file = File::open(path)?;
    let mut head = Vec::new();
    (&file).take(4096).read_to_end(&mut head)?;
    if let Some(line) = head.strip_prefix(b"#!") {
        // A script's setuid bit means nothing; its interpreter is what runs.
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty());
        let Some(interpreter) = words.next() else {
            return Ok(());
        };
        let interpreter = Path::new(OsStr::from_bytes(interpreter));
        if deeper == 0 {
            return Ok(());
        }
        let by_env = interpreter.file_name() == Some(OsStr::new("env"));
        return match words.find(|word| !word.starts_with(b"-")) {
            Some(word) if by_env => {
                inspect(&search(OsStr::from_bytes(word))?, deeper - 1, obstacles)
            }
            _ => inspect(interpreter, deeper - 1, obstacles),
        };
    }
    if gains_privileges(path, &file)? {
        obstacles.push(Obstacle::Privileged);
    }
    if head.starts_with(b"\x7fELF") {
        obstacles.extend(elf_obstacle(&file, &head));
    }
    Ok(())
}

fn gains_privileges(path: &Path, file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let user = rustix::process::geteuid();
    let setuid = metadata.mode() & S_ISUID != 0 && metadata.uid() != user.as_raw();
    let setgid =
        metadata.mode() & S_ISGID != 0 && metadata.gid() != rustix::process::getegid().as_raw();
    let mut value = [0_u8; 64];
    let capable = rustix::fs::getxattr(path, "security.capability", &mut value).is_ok();
    Ok(setuid || setgid || capable && !user.is_root())
}

/// What an executable's headers say. Malformed ones say nothing; the kernel will.
fn elf_obstacle(file: &File, head: &[u8]) -> Option<Obstacle> {
    if *head.get(EI_CLASS)? != ELFCLASS64 {
        return Some(Obstacle::OtherClass);
    }
    let u16_at = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let (table, entry_bytes, count) = (u64_at(head, 32)?, u16_at(54)?, u16_at(56)?);
    if entry_bytes != 56 {
        return None;
    }
    let mut headers = vec![0; usize::from(count).min(PROGRAM_HEADERS_MAX) * 56];
    file.read_exact_at(&mut headers, table).ok()?;
    let (mut interpreter, mut go) = (None, false);
    for header in headers.chunks_exact(56) {
        let kind = u32::from_le_bytes(header.get(..4)?.try_into().ok()?);
        let mut content = vec![0; usize::try_from(u64_at(header, 32)?).ok()?.min(4096)];
        match kind {
            PT_INTERP if file.read_exact_at(&mut content, u64_at(header, 8)?).is_ok() => {
                interpreter = Some(content);
            }
            PT_NOTE if file.read_exact_at(&mut content, u64_at(header, 8)?).is_ok() => {
                // A note's name follows its three words of lengths and type.
                go |= content.get(12..16) == Some(b"Go\0\0");
            }
            _ => {}
        }
    }
    match interpreter {
        None => Some(Obstacle::Static),
        Some(path) if path.windows(4).any(|word| word == b"musl") => Some(Obstacle::OtherLibc),
        Some(_) if go => Some(Obstacle::Go),
        Some(_) => None,
    }
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

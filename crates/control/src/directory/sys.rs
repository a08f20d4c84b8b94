//! The directory's memory as words that both sides may touch at any time.
#![expect(unsafe_code, reason = "views a mapping as atomic words")]

use rustix::fs::{MemfdFlags, SealFlags};
use sidestep_shm::Region;
use sidestep_shm::atomic::AtomicU64;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A mapping of whole words. Every access is atomic, so no value can be torn or cause undefined behaviour.
pub(super) struct Words {
    region: Region,
    count: usize,
}

impl Words {
    /// New zeroed words that only this mapping can write: whoever gets the descriptor can but read.
    pub(super) fn create(name: &str, count: usize) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, (count * size_of::<u64>()) as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW)?;
        let region = Region::attach(fd.try_clone()?)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?;
        Self::over(region)
    }

    /// The words of a descriptor that [`Words::create`] made elsewhere, to read.
    pub(super) fn attach(fd: OwnedFd) -> io::Result<Self> {
        Self::over(Region::attach_read_only(fd)?)
    }

    fn over(region: Region) -> io::Result<Self> {
        let count = region.bytes() / size_of::<u64>();
        if !region.base().cast::<AtomicU64>().is_aligned() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a mapping off its words",
            ));
        }
        Ok(Self { region, count })
    }

    /// All words.
    #[inline]
    pub(super) const fn all(&self) -> &[AtomicU64] {
        // SAFETY: the region is mapped, aligned and `count` words long (checked in `over`) while self lives; it is
        // only ever accessed as atomic words, by loads where the mapping is read-only (Directory never stores).
        unsafe {
            core::slice::from_raw_parts(self.region.base().cast::<AtomicU64>().as_ptr(), self.count)
        }
    }

    /// A descriptor of this memory to hand on.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        let fd = self
            .region
            .fd()
            .ok_or_else(|| io::Error::other("private memory"))?;
        fd.as_fd().try_clone_to_owned()
    }
}

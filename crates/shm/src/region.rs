//! A mapped piece of memory: a sealed memfd that can be handed to other processes, or private memory for tests.
#![expect(unsafe_code, reason = "maps and unmaps memory")]

use crate::{Fd, Foreign, ForeignMut};
use core::ptr::NonNull;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes in a huge page.
const HUGE_BYTES: usize = 2 << 20;

/// A mapping of fixed length, unmapped when dropped.
///
/// A shared one is sealed against shrinking, so that no other holder of the descriptor can make our accesses fault.
pub struct Region {
    fd: Option<Fd>,
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a Region is an address range; what may be accessed in it, and by whom, is the business of its users.
unsafe impl Send for Region {}
// SAFETY: as for Send: no method of a shared Region touches the memory itself.
unsafe impl Sync for Region {}

impl Region {
    /// New zeroed memory of `bytes`, as a memfd of that name; pages are taken when first touched.
    pub fn create(name: &str, bytes: usize) -> io::Result<Self> {
        let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&fd, bytes as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Self::map(fd, bytes, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Like [`create`](Self::create), in huge pages of 2 MiB, `bytes` rounded up to whole ones. Fails where not enough of
    /// them are free; all are set aside at once, so touching them later cannot.
    pub fn create_huge(name: &str, bytes: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let flags = flags | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        let fd = rustix::fs::memfd_create(name, flags)?;
        let bytes = bytes.next_multiple_of(HUGE_BYTES);
        rustix::fs::ftruncate(&fd, bytes as u64)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // Without NORESERVE: the mapping fails where pages lack, not the first access.
        Self::map_as(
            fd,
            bytes,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
        )
    }

    /// Maps what another process made. Refuses a descriptor that could shrink under us.
    pub fn attach(fd: OwnedFd) -> io::Result<Self> {
        let bytes = Self::sealed_bytes(fd.as_fd())?;
        Self::map(fd, bytes, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Like [`attach`](Self::attach), for reading only.
    pub fn attach_read_only(fd: OwnedFd) -> io::Result<Self> {
        let bytes = Self::sealed_bytes(fd.as_fd())?;
        Self::map(fd, bytes, ProtFlags::READ)
    }

    /// Like [`attach`](Self::attach), but accepts memory that is not sealed, from a peer whose protocol does not
    /// ask for seals. A peer that shrinks it makes us fault; only for peers that the operator named.
    pub fn attach_unsealed(fd: OwnedFd) -> io::Result<Self> {
        let bytes = usize::try_from(rustix::fs::fstat(&fd)?.st_size).unwrap_or(0);
        Self::map(fd, bytes, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps the first `bytes` of what the kernel shares by a descriptor that has no length: a socket's rings.
    pub fn attach_rings(fd: OwnedFd, bytes: usize) -> io::Result<Self> {
        Self::map(fd, bytes, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// New zeroed memory that only this process (and its forks, by copy) sees.
    pub fn private(bytes: usize) -> io::Result<Self> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                core::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        Ok(Self {
            fd: None,
            base: non_null(base)?,
            bytes,
        })
    }

    fn sealed_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
        if !rustix::fs::fcntl_get_seals(fd)?.contains(SealFlags::SHRINK) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "memory is not sealed against shrinking",
            ));
        }
        usize::try_from(rustix::fs::fstat(fd)?.st_size)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "memory of negative size"))
    }

    fn map(fd: OwnedFd, bytes: usize, protection: ProtFlags) -> io::Result<Self> {
        Self::map_as(
            fd,
            bytes,
            protection,
            MapFlags::SHARED | MapFlags::NORESERVE,
        )
    }

    fn map_as(
        fd: OwnedFd,
        bytes: usize,
        protection: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping at an address of the kernel's choice touches nothing that exists.
        let base =
            unsafe { rustix::mm::mmap(core::ptr::null_mut(), bytes, protection, flags, &fd, 0) }?;
        Ok(Self {
            fd: Some(Fd::adopt(fd)?),
            base: non_null(base)?,
            bytes,
        })
    }

    /// The memfd, to hand to another process; none for private memory.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Length in bytes.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it is mapped in this process.
    pub const fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Part of it, to read; none if it reaches beyond the end.
    #[inline]
    pub fn foreign(&self, offset: usize, len: usize) -> Option<Foreign<'_>> {
        let ptr = self.at(offset, len)?;
        // SAFETY: `at` checked the bounds, and the mapping lives as long as the borrow of self.
        Some(unsafe { Foreign::from_raw(ptr, len) })
    }

    /// Part of it, to write; none if it reaches beyond the end.
    #[inline]
    pub fn foreign_mut(&self, offset: usize, len: usize) -> Option<ForeignMut<'_>> {
        let ptr = self.at(offset, len)?;
        // SAFETY: `at` checked the bounds, and the mapping lives as long as the borrow of self.
        Some(unsafe { ForeignMut::from_raw(ptr, len) })
    }

    /// The address of `len` bytes at `offset`, if they lie inside.
    #[inline]
    pub fn at(&self, offset: usize, len: usize) -> Option<*mut u8> {
        if offset.checked_add(len)? > self.bytes {
            return None;
        }
        // SAFETY: offset is at most the mapping's length by the check above.
        Some(unsafe { self.base.as_ptr().add(offset) })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: base and bytes are of the mapping that this value made and owns; all borrows of it have ended.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

fn non_null(base: *mut core::ffi::c_void) -> io::Result<NonNull<u8>> {
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}

//! The memory that this library allocates, apart from the program's.
//!
//! A signal handler may interrupt its thread in the middle of malloc(3), and make a socket call. So no call of ours may
//! need the C library's heap, which would be found locked or half changed; and none is interrupted while it uses our own.
#![expect(unsafe_code, reason = "an allocator")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::mem::ManuallyDrop;
use dlmalloc::Dlmalloc;
use sidestep_socket::quietly;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The allocator of this library.
struct Heap(Mutex<Dlmalloc>);

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Dlmalloc::new()));

thread_local! {
    /// Held while this thread forks, so that the child does not find it locked by a thread that it does not have.
    static FORKING: Cell<ManuallyDrop<Option<MutexGuard<'static, Dlmalloc>>>> =
        const { Cell::new(ManuallyDrop::new(None)) };
}

impl Heap {
    fn lock(&self) -> MutexGuard<'_, Dlmalloc> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Before a fork, after all else that is to be done then.
pub(crate) fn before_fork() {
    FORKING.set(ManuallyDrop::new(Some(HEAP.lock())));
}

/// After a fork, in parent and child, before all else.
pub(crate) fn after_fork() {
    let held = FORKING.replace(ManuallyDrop::new(None));
    drop(ManuallyDrop::into_inner(held));
}

// SAFETY: all requests are passed on as they are to one allocator, behind its lock.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's own layout.
        quietly(|| unsafe { self.lock().malloc(layout.size(), layout.align()) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        quietly(|| unsafe { self.lock().calloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller passes what it was given for this layout.
        quietly(|| unsafe { self.lock().free(ptr, layout.size(), layout.align()) });
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        let (old, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        quietly(|| unsafe { self.lock().realloc(ptr, old, align, new) })
    }
}

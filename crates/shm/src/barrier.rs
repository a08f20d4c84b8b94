//! Memory barriers of which the side that is seldom in a hurry pays for both (membarrier(2)).
//!
//! Two sides announce something each and then look at what the other one announced; one of them must see it:
//!
//! ```text
//! who goes to sleep                      who may have to wake it
//!   announces that it sleeps               publishes (a frame, a free lock)
//!   raise()                                light()
//!   looks whether something came           looks whether somebody sleeps
//! ```
//! A store is seen late while the peer has its cache line, and an ordinary barrier waits for that; so who publishes, on
//! the fast path, has none. Who is about to sleep makes the kernel run one on every processor that needs it; or, where it
//! will look again soon anyway, only lets things [settle].

use crate::atomic::{AtomicBool, Ordering, compiler_fence, fence};
use rustix::thread::{MembarrierCommand, membarrier};

/// Pauses of a processor in which stores leave it; some hundred nanoseconds, several times what a cache line takes.
const SETTLE_PAUSES: u32 = 10;

/// Whether the kernel includes this process in the barriers that others raise.
static TAKES_PART: AtomicBool = AtomicBool::new(false);

/// Includes this process in the barriers that others raise. Once a process, and once more in each child.
pub fn take_part() {
    TAKES_PART.store(
        membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok(),
        Ordering::Relaxed,
    );
}

/// Runs a barrier on every processor that runs a process which takes part. A few microseconds. False where the kernel
/// does not: then the other side may have been missed, and whoever sleeps should look again soon.
pub fn raise() -> bool {
    fence(Ordering::SeqCst);
    membarrier(MembarrierCommand::GlobalExpedited).is_ok()
}

/// A barrier of this processor alone, and a moment in which what others were about to publish becomes visible. Costs far
/// less than [`raise`], for which each other processor is interrupted, and promises less: something may have been missed
/// even so, if hardly ever, and whoever sleeps must look again soon.
pub fn settle() {
    fence(Ordering::SeqCst);
    for _ in 0..SETTLE_PAUSES {
        core::hint::spin_loop();
    }
}

/// The other half of [`raise`]: keeps the compiler from reordering, and a process that does not take part its
/// processor, too.
#[inline]
pub fn light() {
    if TAKES_PART.load(Ordering::Relaxed) {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

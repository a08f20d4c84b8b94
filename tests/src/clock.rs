//! Deadlines: nothing in a test waits without one. The only reader of the clock here.

use std::time::{Duration, Instant};

/// A point in time after which a wait is a failure.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(span: Duration) -> Self {
        Self(Instant::now() + span)
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }

    /// What is left until then; zero once it has passed.
    pub fn left(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Asks every few milliseconds until there is an answer, and panics saying `what` was waited for if none came.
pub fn wait_until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Deadline::after(within);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(!deadline.passed(), "waited {within:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

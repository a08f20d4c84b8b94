//! An end for every walk along a list in shared memory: whoever shares it may have made a ring of it.

/// Counts the steps of a walk along a list that has at most so many members. One more panics: the tables are broken, and
/// whoever works on them must give them up rather than go round for ever.
#[derive(Debug)]
pub struct Steps {
    left: usize,
}

impl Steps {
    /// So many and no more.
    #[inline]
    pub const fn new(most: usize) -> Self {
        Self { left: most }
    }

    /// One step.
    ///
    /// # Panics
    ///
    /// When it is one too many.
    #[inline]
    pub fn step(&mut self) {
        if self.left == 0 {
            endless();
        }
        self.left -= 1;
    }
}

#[cold]
#[inline(never)]
fn endless() -> ! {
    panic!("a list in shared memory has no end");
}

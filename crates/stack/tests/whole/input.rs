//! What a script is read by, and what streams hold.

/// Numbers read from the input; zero at its end.
pub(crate) struct Input<'d>(pub(crate) &'d [u8]);

impl Input<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// One of so many.
    pub(crate) fn of(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }
}

/// Bytes of a stream: what is at an offset follows from the offset.
pub(crate) fn stream(at: u32, len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| {
            let i = at.wrapping_add(i);
            (i ^ i >> 8).to_le_bytes()[0]
        })
        .collect()
}

/// Says which script it was that failed.
pub(crate) struct Told<'d>(pub(crate) &'d [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the script: {:?}", self.0);
        }
    }
}

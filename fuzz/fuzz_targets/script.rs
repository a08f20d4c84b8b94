//! An input that is read as a list of small numbers and pieces.

/// What is left of the input.
pub struct Script<'d>(pub &'d [u8]);

impl<'d> Script<'d> {
    /// The next number; zero at the end.
    pub fn byte(&mut self) -> usize {
        self.split(1).first().map_or(0, |byte| usize::from(*byte))
    }

    /// The next number of two bytes.
    pub fn word(&mut self) -> usize {
        self.byte() << 8 | self.byte()
    }

    /// The next bytes; fewer at the end.
    pub fn split(&mut self, bytes: usize) -> &'d [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

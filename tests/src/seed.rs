//! Pseudo-random numbers from a seed that a failing test prints, so that it can be run again.

/// A small generator (SplitMix64); the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The generator of one test. The seed is fixed, unless `SIDESTEP_TEST_SEED` gives another.
    pub fn of_test(fallback: u64) -> Self {
        let seed = match std::env::var("SIDESTEP_TEST_SEED") {
            Ok(text) => text.parse().expect("SIDESTEP_TEST_SEED is a number"),
            Err(_) => fallback,
        };
        println!("SIDESTEP_TEST_SEED={seed}");
        Self(seed)
    }

    /// The generator of this seed, whatever the environment says.
    pub fn fixed(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from `low` up to, not including, `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high - low)
    }
}

//! How fast data arrives (draft-ietf-ccwg-bbr section 4.1, delivery rate samples).
//!
//! The RFC keeps a state for each packet. Here what is sent within a small part of a round trip is one run of the
//! scoreboard, and has one [`Mark`], found by the time of the run: so many samples a round trip are enough.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Marks kept; the oldest is forgotten for a new one.
const MARKS: usize = 32;

/// What was known when a run was sent. Times in ticks, sums modulo 2^32.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Mark {
    sent: u32,
    first_sent: u32,
    delivered_at: u32,
    pub(super) delivered: u32,
    pub(super) lost: u32,
    /// Bytes in flight, the run's first segment among them.
    pub(super) inflight: u32,
    app_limited: u32,
}

impl Mark {
    pub(super) const fn is_app_limited(&self) -> bool {
        self.app_limited != 0
    }
}

/// What an acknowledgement says of the rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Bytes a second; 0 where nothing can be said.
    pub(super) rate: u64,
    /// Bytes that arrived in the interval.
    pub(super) delivered: u32,
    /// The sum of all that had arrived when it began.
    pub(super) prior_delivered: u32,
    /// Bytes lost in it.
    pub(super) lost: u32,
    /// Bytes in flight when it began.
    pub(super) inflight: u32,
    /// The program, not the path, was the limit.
    pub(super) is_app_limited: bool,
    /// Anything was delivered.
    pub(super) is_some: bool,
}

/// The sums, and the marks.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Sampler {
    pub(super) delivered: u32,
    pub(super) lost: u32,
    delivered_at: u32,
    first_sent: u32,
    /// The sum of what is delivered up to which the program was the limit, with `is_app_limited`.
    limited_until: u32,
    is_app_limited: u32,
    /// How many marks were ever made.
    count: u32,
    marks: [Mark; MARKS],
}

impl Sampler {
    /// A segment leaves in the run of that time; `inflight` counts it, `idle` where nothing was in flight before.
    pub(super) fn on_sent(&mut self, sent: u32, inflight: u32, idle: bool) {
        if idle {
            (self.first_sent, self.delivered_at) = (sent, sent);
        }
        let last = self.count.wrapping_sub(1) as usize % MARKS;
        if self.count > 0 && self.marks[last].sent == sent {
            return;
        }
        self.marks[self.count as usize % MARKS] = Mark {
            sent,
            first_sent: self.first_sent,
            delivered_at: self.delivered_at,
            delivered: self.delivered,
            lost: self.lost,
            inflight,
            app_limited: self.is_app_limited,
        };
        self.count = self.count.wrapping_add(1);
    }

    /// The newest mark that is not newer than a run sent then.
    pub(super) fn mark_of(&self, sent: u32) -> Option<&Mark> {
        let kept = self.count.min(u32::try_from(MARKS).unwrap_or(u32::MAX));
        (1..=kept)
            .map(|back| &self.marks[self.count.wrapping_sub(back) as usize % MARKS])
            .find(|mark| mark.sent.wrapping_sub(sent).cast_signed() <= 0)
    }

    /// `bytes` arrived, the newest of them sent at `newest`; `min_rtt` is the least round trip known, in ticks.
    pub(super) fn on_delivered(
        &mut self,
        bytes: u32,
        newest: Option<u32>,
        now: u32,
        min_rtt: u32,
    ) -> Sample {
        if bytes == 0 {
            return Sample::default();
        }
        self.delivered = self.delivered.wrapping_add(bytes);
        self.delivered_at = now;
        let beyond = self.delivered.wrapping_sub(self.limited_until);
        if self.is_app_limited != 0 && beyond.cast_signed() > 0 {
            self.is_app_limited = 0;
        }
        let Some(mark) = newest.and_then(|sent| self.mark_of(sent)).copied() else {
            return Sample::default();
        };
        self.first_sent = mark.sent;
        let send_elapsed = mark.sent.wrapping_sub(mark.first_sent);
        let ack_elapsed = now.wrapping_sub(mark.delivered_at);
        let elapsed = send_elapsed.max(ack_elapsed);
        let delivered = self.delivered.wrapping_sub(mark.delivered);
        // Shorter than any round trip: something sent twice was acknowledged for its first transmission.
        let believable = elapsed > 0 && elapsed >= min_rtt;
        let ns = u64::from(elapsed) << 10;
        Sample {
            rate: if believable {
                u64::from(delivered) * 1_000_000_000 / ns
            } else {
                0
            },
            delivered,
            prior_delivered: mark.delivered,
            lost: self.lost.wrapping_sub(mark.lost),
            inflight: mark.inflight,
            is_app_limited: mark.is_app_limited(),
            is_some: true,
        }
    }

    /// There is nothing more to send while there would be room: what is in flight says little of the path.
    pub(super) fn mark_app_limited(&mut self, inflight: u32) {
        self.limited_until = self.delivered.wrapping_add(inflight).max(1);
        self.is_app_limited = 1;
    }

    pub(super) const fn is_app_limited(&self) -> bool {
        self.is_app_limited != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn the_slower_of_sending_and_arriving_is_the_rate() {
        let mut sampler = Sampler::new_zeroed();
        sampler.on_sent(1000, 1000, true);
        sampler.on_sent(2000, 2000, false);
        let first = sampler.on_delivered(1000, Some(1000), 11_000, 0);
        assert_eq!((first.delivered, first.prior_delivered), (1000, 0));
        // 10,000 ticks of 1.024 µs.
        assert_eq!(first.rate, 1000 * 1_000_000_000 / (10_000 << 10));
        // Sent a thousand ticks after the first, arrived ten thousand after: acknowledgements are slower.
        let second = sampler.on_delivered(1000, Some(2000), 21_000, 0);
        assert_eq!(second.delivered, 2000);
        assert_eq!(second.rate, 2000 * 1_000_000_000 / (20_000 << 10));
        assert_eq!(sampler.on_delivered(5, Some(2000), 21_001, 30_000).rate, 0);
    }

    #[test]
    fn what_the_program_limited_is_marked_until_it_has_arrived() {
        let mut sampler = Sampler::new_zeroed();
        sampler.on_sent(1, 1000, true);
        sampler.mark_app_limited(1000);
        sampler.on_sent(50, 2000, false);
        assert!(!sampler.on_delivered(1000, Some(1), 100, 0).is_app_limited);
        assert!(sampler.is_app_limited());
        assert!(sampler.on_delivered(1000, Some(50), 200, 0).is_app_limited);
        assert!(!sampler.is_app_limited());
    }
}

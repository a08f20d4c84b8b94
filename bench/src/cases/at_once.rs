//! Two sides that are measured at the same time, so that what else the machine does is the same for both.

use crate::model::{Contender, Figures, Problem};

/// Measures both sides when one is asked for, and keeps the other's figures until that is.
#[derive(Debug, Default)]
pub(super) struct AtOnce {
    kept: Option<(Contender, Figures)>,
    rounds: u64,
}

impl AtOnce {
    /// The figures of one side; `measure` is told the number of the round, from 0, and says what the kernel made of it and
    /// what Sidestep did.
    pub(super) fn figures(
        &mut self,
        who: Contender,
        measure: impl FnOnce(u64) -> anyhow::Result<[Figures; 2]>,
    ) -> Result<Figures, Problem> {
        if let Some((_, figures)) = self.kept.take().filter(|(kept, _)| *kept == who) {
            return Ok(figures);
        }
        let round = self.rounds;
        self.rounds += 1;
        let [kernel, ours] =
            measure(round).map_err(|error| Problem::Failed(format!("{error:#}")))?;
        let (figures, other) = if who == Contender::Kernel {
            (kernel, (Contender::Sidestep, ours))
        } else {
            (ours, (Contender::Kernel, kernel))
        };
        self.kept = Some(other);
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_measured_once_for_both() {
        let mut at_once = AtOnce::default();
        let mut rounds = Vec::new();
        let mut figures = |who, count: u8| {
            let of = |side: f64| Figures::from([("x", side + 10.0 * f64::from(count))]);
            let found = at_once.figures(who, |round| {
                rounds.push(round);
                Ok([of(1.0), of(2.0)])
            });
            found.unwrap()["x"]
        };
        let (kernel, ours) = (Contender::Kernel, Contender::Sidestep);
        assert_eq!((figures(kernel, 0), figures(ours, 9)), (1.0, 2.0));
        assert_eq!((figures(ours, 1), figures(kernel, 9)), (12.0, 11.0));
        // One side alone: what was kept for the other is of no use.
        assert_eq!((figures(ours, 2), figures(ours, 3)), (22.0, 32.0));
        assert_eq!(rounds, [0, 1, 2, 3]);
    }
}

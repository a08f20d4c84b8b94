//! What is said about a handful of figures: the middle and the spread.

use serde::Serialize;

/// Order statistics of a few samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// The least.
    pub(crate) min: f64,
    /// A quarter of the samples lie below.
    pub(crate) q1: f64,
    /// Half of the samples lie below.
    pub(crate) median: f64,
    /// Three quarters of the samples lie below.
    pub(crate) q3: f64,
    /// The greatest.
    pub(crate) max: f64,
    /// How many samples.
    pub(crate) count: usize,
}

impl Summary {
    /// Of these samples; none where there is no finite one.
    pub(crate) fn of(samples: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.into_iter().filter(|x| x.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let at = |share| quantile(&sorted, share);
        Some(Self {
            min,
            q1: at(0.25),
            median: at(0.5),
            q3: at(0.75),
            max,
            count: sorted.len(),
        })
    }
}

/// The value below which this share of the sorted samples lies, interpolated between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful of samples")]
    let position = (sorted.len() - 1) as f64 * share;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the number of samples"
    )]
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * position.fract()
}

#[cfg(test)]
mod tests;

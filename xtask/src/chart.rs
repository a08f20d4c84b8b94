//! A table and bars for a terminal: kernel and Sidestep side by side.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// Cells of the longest bar.
const BAR_CELLS: usize = 48;
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const GREY: &str = "\x1b[90m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Which of two figures is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// Median, lowest and highest of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (at(middle.wrapping_sub(1)) + at(middle)) / 2.0,
            _ => at(middle),
        };
        Self {
            median,
            low: at(0),
            high: at(sorted.len().wrapping_sub(1)),
        }
    }

    fn cell(&self) -> String {
        format!(
            "{} ({}–{})",
            number(self.median),
            number(self.low),
            number(self.high)
        )
    }
}

/// One measurement over both.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    better: Better,
    kernel: Spread,
    sidestep: Spread,
}

impl Row {
    pub(crate) fn new(
        name: &str,
        unit: &'static str,
        better: Better,
        kernel: &[f64],
        sidestep: &[f64],
    ) -> Self {
        let (kernel, sidestep) = (Spread::of(kernel), Spread::of(sidestep));
        Self {
            name: name.to_owned(),
            unit,
            better,
            kernel,
            sidestep,
        }
    }

    /// How many times better Sidestep is.
    fn ratio(&self) -> f64 {
        match self.better {
            Better::Higher => self.sidestep.median / self.kernel.median,
            Better::Lower => self.kernel.median / self.sidestep.median,
        }
    }
}

/// Thousands in groups, and decimals only where they say something.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// The figures.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["", "unit", "kernel", "sidestep", "better by"].map(str::to_owned);
    let lines: Vec<[String; 5]> = core::iter::once(head)
        .chain(rows.iter().map(|row| {
            let ratio = format!("{:.1}×", row.ratio());
            [
                row.name.clone(),
                row.unit.to_owned(),
                row.kernel.cell(),
                row.sidestep.cell(),
                ratio,
            ]
        }))
        .collect();
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let pad = " ".repeat(width(column) - cell.chars().count());
            let _ = match column {
                0 => write!(text, "{cell}{pad}"),
                1 => write!(text, "  {cell}{pad}"),
                _ => write!(text, "  {pad}{cell}"),
            };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// The same as bars, each pair to its own scale.
pub(crate) fn bars(rows: &[Row], colourful: bool) -> String {
    let mut text = String::new();
    let paint = |colour: &str, text: &str| match colourful {
        true => format!("{colour}{text}{PLAIN}"),
        false => text.to_owned(),
    };
    for row in rows {
        let better = match row.better {
            Better::Higher => "longer is better",
            Better::Lower => "shorter is better",
        };
        let _ = writeln!(text, "{} [{}; {better}]", row.name, row.unit);
        let longest = row.kernel.median.max(row.sidestep.median);
        for (name, spread, colour) in [
            ("kernel", row.kernel, GREY),
            ("sidestep", row.sidestep, GREEN),
        ] {
            let bar = bar(spread.median / longest);
            let _ = writeln!(
                text,
                "  {name:<8} {} {}",
                paint(colour, &bar),
                number(spread.median)
            );
        }
    }
    text
}

/// A bar of that share of the longest one.
fn bar(share: f64) -> String {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let cells = u32::try_from(BAR_CELLS * 8).unwrap_or(0);
    let eighths = (1..=cells)
        .take_while(|step| f64::from(*step) <= share * f64::from(cells) + 0.5)
        .count();
    let mut bar = "█".repeat(eighths / 8);
    if eighths % 8 > 0 {
        bar.push(EIGHTHS[eighths % 8]);
    }
    bar
}

/// Whether escape sequences for colours are welcome.
pub(crate) fn is_colourful() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests;

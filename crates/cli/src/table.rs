//! Columns for people, aligned.

use std::fmt::Write as _;

/// Which way a column leans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lean {
    Left,
    Right,
}

/// Rows of text under headings.
#[derive(Debug)]
pub(crate) struct Table<const N: usize> {
    headings: [(&'static str, Lean); N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub(crate) const fn new(headings: [(&'static str, Lean); N]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// The table, or nothing when it has no rows.
    pub(crate) fn text(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let names = self.headings.map(|(name, _)| name.to_owned());
        let mut text = String::new();
        for row in core::iter::once(&names).chain(&self.rows) {
            for (column, cell) in row.iter().enumerate() {
                let width = self.width(column);
                let _ = match self.headings[column].1 {
                    Lean::Left => write!(text, "{cell:<width$}  "),
                    Lean::Right => write!(text, "{cell:>width$}  "),
                };
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([self.headings[column].0.chars().count()])
            .max()
            .unwrap_or(0)
    }
}

//! Figures as people see them.

use super::*;

#[test]
fn medians_and_spreads() {
    assert_eq!(
        Spread::of(&[3.0, 1.0, 2.0]),
        Spread {
            median: 2.0,
            low: 1.0,
            high: 3.0
        }
    );
    assert_eq!(
        Spread::of(&[4.0, 1.0]),
        Spread {
            median: 2.5,
            low: 1.0,
            high: 4.0
        }
    );
    assert!(Spread::of(&[]).median.is_nan());
}

#[test]
fn numbers_are_grouped() {
    assert_eq!(number(1_234_567.4), "1 234 567");
    assert_eq!(number(100.0), "100");
    assert_eq!(number(3.456), "3.46");
}

#[test]
fn better_is_above_one_either_way() {
    let rate = Row::new("rate", "/s", Better::Higher, &[10.0], &[40.0]);
    let time = Row::new("time", "µs", Better::Lower, &[40.0], &[10.0]);
    assert!((rate.ratio() - 4.0).abs() < 1e-9);
    assert!((time.ratio() - 4.0).abs() < 1e-9);
}

#[test]
fn bars_have_the_lengths_of_their_figures() {
    let rows = [Row::new("rate", "/s", Better::Higher, &[10.0], &[40.0])];
    let text = bars(&rows, false);
    let cells: Vec<_> = text
        .lines()
        .skip(1)
        .map(|line| line.matches('█').count())
        .collect();
    assert_eq!(cells, [BAR_CELLS / 4, BAR_CELLS]);
    assert_eq!(bar(f64::NAN), "");
    assert_eq!(bar(1.0 / 8.0 / 48.0), "▏");
}

#[test]
fn columns_are_aligned() {
    let rows = [
        Row::new("a", "µs", Better::Higher, &[10.0], &[40.0]),
        Row::new(
            "longer",
            "requests/s",
            Better::Higher,
            &[10_000.0],
            &[40_000.0],
        ),
    ];
    let table = table(&rows);
    let widths: Vec<_> = table.lines().map(|line| line.chars().count()).collect();
    assert_eq!(widths[1], widths[2], "{table}");
    assert!(
        table.contains("10 000 (10 000–10 000)  40 000 (40 000–40 000)       4.0×"),
        "{table}"
    );
}

//! The results as a table for the README, and the floor they must hold.

use crate::load::Shape;
use crate::plan::{Row, Sample, Way};
use std::fmt::Write as _;

/// The floor of the project: parts of nginx's figures in the same run.
const HTTP_RPS: f64 = 0.7;
const HTTP_CPU: f64 = 1.6;
/// 18 µs where nginx takes 17.
const STDIO_CPU: f64 = 18.0 / 17.0;
/// Microseconds for one message of 1 MiB; a call carries two.
const LARGE_CPU: f64 = 2000.0;

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Row {
    fn median(&self, field: fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(field))
    }

    /// The median of the ratios to another row, round by round.
    fn ratio(&self, to: &Self, field: fn(&Sample) -> f64) -> f64 {
        let pairs = self.samples.iter().zip(&to.samples);
        median(pairs.map(|(one, other)| field(one) / field(other)))
    }
}

fn nginx<'a>(rows: &'a [Row], row: &Row) -> Option<&'a Row> {
    rows.iter().find(|other| other.case == row.case && other.way == Way::Nginx)
}

fn ratio(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.2}"))
}

/// The table in Markdown.
pub fn render(rows: &[Row]) -> String {
    let mut out = String::from(
        "\n| tools/call | RPS | p50 µs | p99 µs | CPU µs/call | memory MB | RPS ÷ nginx | CPU ÷ nginx |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut case = None;
    for row in rows {
        if case != Some(row.case) {
            let _ = writeln!(out, "| **{}** | | | | | | | |", row.case.name());
            case = Some(row.case);
        }
        let other = nginx(rows, row).filter(|_| row.way != Way::Direct);
        let measured = row.way != Way::Direct;
        let or_none = |text: String| if measured { text } else { "–".to_owned() };
        let _ = writeln!(
            out,
            "| {} | {:.0} | {:.0} | {:.0} | {} | {} | {} | {} |",
            row.way.name(),
            row.median(|s| s.rps),
            row.median(|s| s.p50),
            row.median(|s| s.p99),
            or_none(format!("{:.1}", row.median(|s| s.cpu))),
            or_none(format!("{:.0}", row.median(|s| s.memory))),
            ratio(other.map(|other| row.ratio(other, |s| s.rps))),
            ratio(other.map(|other| row.ratio(other, |s| s.cpu))),
        ); // writing to a string cannot fail
    }
    out
}

/// Whether the floor holds, and where it does not.
pub fn floor(rows: &[Row]) -> (String, bool) {
    let mut out = String::from("\nfloor:\n");
    let mut holds = true;
    let mut judge = |row: &Row, what: &str, value: f64, wanted: f64, at_least: bool| {
        let good = if at_least { value >= wanted } else { value <= wanted };
        let (word, sign) = if good { ("holds", "") } else { ("FAILS", " <--") };
        let bound = if at_least { "at least" } else { "at most" };
        let (case, way) = (row.case.name(), row.way.name());
        let _ =
            writeln!(out, "  {word}  {case}, {way}: {what} {value:.2} ({bound} {wanted:.2}){sign}");
        holds &= good;
    };
    for row in rows {
        let Way::Onemcp { stdio, same_era: true, .. } = row.way else { continue };
        match (row.case.shape, row.case.clients, nginx(rows, row)) {
            (Shape::Echo(100), 16 | 64, Some(other)) => {
                let cpu = row.ratio(other, |s| s.cpu);
                if stdio {
                    judge(row, "CPU ÷ nginx", cpu, STDIO_CPU, false);
                } else {
                    judge(row, "RPS ÷ nginx", row.ratio(other, |s| s.rps), HTTP_RPS, true);
                    judge(row, "CPU ÷ nginx", cpu, HTTP_CPU, false);
                }
            }
            (Shape::Echo(size), _, _) if size == 1 << 20 => {
                let message = row.median(|s| s.cpu) / 2.0;
                judge(row, "CPU µs per message", message, LARGE_CPU, false);
            }
            _ => {}
        }
    }
    (out, holds)
}

//! What is said to the person at the terminal; a closed pipe is no reason to fail.

use std::fmt::Display;
use std::io::Write;

/// Writes a line to standard output.
pub fn say(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub fn warn(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// How this program was called, for the commands that it tells people to type.
pub fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "flowgate".to_owned())
}

/// Rows as a table with aligned columns; those whose values are all numbers stand to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let width = |column: usize, name: &str| {
        rows.iter().map(|row| cell(row, column).chars().count()).chain([name.chars().count()]).max().unwrap_or(0)
    };
    let columns: Vec<(usize, bool)> = header
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let is_number = |row: &Vec<String>| cell(row, column).replace(',', "").parse::<f64>().is_ok();
            (width(column, name), !rows.is_empty() && rows.iter().all(is_number))
        })
        .collect();
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells
            .into_iter()
            .zip(&columns)
            .map(|(cell, (width, right))| if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") })
            .collect();
        format!("  {}", cells.join("  ")).trim_end().to_owned()
    };
    let rule = columns.iter().map(|(width, _)| "─".repeat(*width)).collect();
    let mut lines = vec![line(header.iter().map(|name| (*name).to_owned()).collect()), line(rule)];
    lines.extend(rows.iter().map(|row| line((0..header.len()).map(|column| cell(row, column)).collect())));
    lines.join("\n")
}

/// A number with commas between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && i % 3 == first {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted() {
        assert_eq!([0, 999, 1000, 27_004, 1_234_567].map(count), ["0", "999", "1,000", "27,004", "1,234,567"]);
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let rows = vec![vec!["a".to_owned(), "1,000".to_owned()], vec!["bcd".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["x", "n"], &rows), "  x        n\n  ───  ─────\n  a    1,000\n  bcd      7");
    }
}

//! The numbers of a text of JSON as they are written, which serde tells as doubles where they are no whole ones of 64 bits.

use std::cell::Cell;

/// A text of JSON, whose numbers are asked for one by one.
pub(super) struct Numbers<'t> {
    text: &'t [u8],
    /// Where the rest begins, of which nothing was asked for yet.
    at: Cell<usize>,
}

impl<'t> Numbers<'t> {
    pub(super) fn of(text: &'t [u8]) -> Self {
        Self { text, at: Cell::new(0) }
    }

    /// The next number as it is written; empty behind the last one.
    pub(super) fn take(&self) -> &'t str {
        let mut rest = self.text.get(self.at.get()..).unwrap_or_default();
        while let [first, behind @ ..] = rest {
            match first {
                b'"' => rest = behind_string(behind),
                b'-' | b'0'..=b'9' => {
                    let of_number = |b: &&u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                    let (number, behind) = rest.split_at(rest.iter().take_while(of_number).count());
                    self.at.set(self.text.len() - behind.len());
                    return std::str::from_utf8(number).unwrap_or_default();
                }
                _ => rest = behind,
            }
        }
        self.at.set(self.text.len());
        ""
    }
}

/// What is behind a string, whose first quote is left out already.
fn behind_string(mut text: &[u8]) -> &[u8] {
    loop {
        match text {
            [b'\\', _, rest @ ..] => text = rest,
            [b'"', rest @ ..] => return rest,
            [_, rest @ ..] => text = rest,
            [] => return text,
        }
    }
}

/// Significant digits by which each double is told from all others, as `%.17g` of C writes it.
const DIGITS: usize = 17;

/// Whether a number is the double that it was read as, in the shortest way or with as many digits as were written.
pub(super) fn is_exact(written: &str, read: f64) -> bool {
    let number = magnitude(written);
    let digits = number.0.len();
    number == magnitude(&format!("{read:e}"))
        || (1..=DIGITS).contains(&digits) && number == magnitude(&format!("{read:.*e}", digits - 1))
}

/// The digits of a number without zeros at their ends, and how many of them are before the point: the same for all ways to
/// write it. Without its sign.
fn magnitude(number: &str) -> (String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    if digits.is_empty() {
        return (String::new(), 0);
    }
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    // What is beyond 64 bits is as good as nothing, which has no digits.
    let exponent: i64 = exponent.parse().unwrap_or(i64::MIN);
    let before = exponent.saturating_add(length(whole)).saturating_sub(length(&all) - length(digits));
    (digits.trim_end_matches('0').to_owned(), before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_they_are_written_and_in_their_order() {
        let numbers = Numbers::of(br#"{"1": [-2.50e+3,0 ,"4\"5\\", 6],"\\": {"7":true, "x": 8E1},"y":9}"#);
        let all: Vec<&str> = std::iter::from_fn(|| Some(numbers.take()).filter(|n| !n.is_empty())).collect();
        assert_eq!(all, ["-2.50e+3", "0", "6", "8E1", "9"]);
    }

    #[test]
    fn a_number_is_exact_however_it_is_written() {
        let exact = |written: &str| is_exact(written, written.parse().unwrap());
        for written in [
            "0.1",
            "-2.50e3",
            "250000E-2",
            "0.000001",
            "1e23",
            "0.30000000000000004",
            "123456789012345.67",
            "100000000000000000000.00",
            "5e-324",
            "0.10000000000000001",
            "4.9406564584124654e-324",
            "1.7976931348623157e308",
            "-0.0",
            "0e-99999999999999999999",
        ] {
            assert!(exact(written), "{written}");
        }
        for written in [
            "12345678901234567.89",
            "9007199254740993.0",
            "0.1000000000000000055",
            "18446744073709551617",
            "-9223372036854775809",
            "1e-400",
            "1e-99999999999999999999",
        ] {
            assert!(!exact(written), "{written}");
        }
    }
}

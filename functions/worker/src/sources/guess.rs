//! Guesses a column's type from the texts seen in it.

use super::{digits, parse};
use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// The most rows from which types are guessed.
pub const SAMPLE_ROWS: usize = 10_000;

/// Whole numbers beyond this are not all held by a double.
const EXACT_IN_DOUBLE: u64 = 1 << 53;

/// Digits of a decimal.
const DIGITS: u8 = 38;

const BOOLEAN: u16 = 1;
const INTEGER: u16 = 2;
const LARGE_INTEGER: u16 = 4;
const DOUBLE: u16 = 8;
const DATE: u16 = 16;
const TIMESTAMP: u16 = 32;
const ZONED: u16 = 64;
const TEXT: u16 = 128;
/// A number with a point and with more digits than a double holds.
const LONG: u16 = 256;

/// What kinds of values a column has shown so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guess {
    kinds: u16,
    /// The most digits before the point of a number.
    before: u8,
    /// The most digits behind it.
    behind: u8,
}

impl Guess {
    /// Sees one value of a format that has text only; nulls are not shown.
    pub fn see(&mut self, text: &str) {
        if self.kinds & TEXT != 0 {
            return;
        }
        let text = text.trim_ascii();
        let kind = kind_of(text);
        self.kinds |= kind;
        if kind & (INTEGER | LARGE_INTEGER | DOUBLE | LONG) != 0 {
            let (before, behind) = digits::digits(text).unwrap_or((u8::MAX, u8::MAX));
            self.before = self.before.max(before);
            self.behind = self.behind.max(behind);
        }
    }

    /// Sees a value that its format calls text: it may be a date or a time, but never a number.
    pub fn see_text(&mut self, text: &str) {
        let kind = kind_of(text);
        self.kinds |= if kind & (DATE | TIMESTAMP | ZONED) == 0 { TEXT } else { kind };
    }

    /// Sees a value that can only be text, such as a nested one.
    pub fn see_other(&mut self) {
        self.kinds |= TEXT;
    }

    /// The type that holds all values seen, without loss.
    pub fn data_type(self) -> DataType {
        const NUMBERS: u16 = INTEGER | DOUBLE;
        match self.kinds {
            BOOLEAN => DataType::Boolean,
            seen if seen != 0 && seen & !(INTEGER | LARGE_INTEGER) == 0 => DataType::Int64,
            seen if seen & DOUBLE != 0 && seen & !NUMBERS == 0 => DataType::Float64,
            // A double would lose digits; a decimal may have room for all of them.
            seen if seen & LONG != 0 && seen & !(NUMBERS | LARGE_INTEGER | LONG) == 0 => {
                match self.before.checked_add(self.behind) {
                    Some(digits) if digits <= DIGITS => DataType::Decimal128(DIGITS, self.behind.cast_signed()),
                    _ => DataType::Utf8,
                }
            }
            DATE => DataType::Date32,
            seen if seen & TIMESTAMP != 0 && seen & !(DATE | TIMESTAMP) == 0 => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            ZONED => parse::utc_timestamp(),
            _ => DataType::Utf8,
        }
    }
}

fn kind_of(text: &str) -> u16 {
    let Some(&first) = text.as_bytes().first() else { return TEXT };
    match first {
        b't' | b'T' | b'f' | b'F' => match parse::guessed_boolean(text) {
            Some(_) => BOOLEAN,
            None => TEXT,
        },
        b'0'..=b'9' | b'-' | b'.' => number_or_time(text),
        _ => TEXT,
    }
}

fn number_or_time(text: &str) -> u16 {
    if let [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..] = text.as_bytes() {
        return match parse::instant(text) {
            Some((_, true)) => ZONED,
            Some((_, false)) if text.len() > 10 => TIMESTAMP,
            Some(_) => DATE,
            None => TEXT,
        };
    }
    if digits::has_leading_zero(text) {
        return TEXT;
    }
    if digits::is_digits(text) {
        return match parse::integer(text) {
            Some(value) if value.unsigned_abs() > EXACT_IN_DOUBLE => LARGE_INTEGER,
            Some(_) => INTEGER,
            None => TEXT,
        };
    }
    match parse::double(text) {
        Some(_) if digits::is_longer_than_a_double(text) => LONG,
        Some(_) if text.bytes().any(|b| b.is_ascii_digit()) => DOUBLE,
        _ => TEXT,
    }
}

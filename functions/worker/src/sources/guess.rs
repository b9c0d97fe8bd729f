//! Guesses a column's type from the texts seen in it.

use super::parse;
use datafusion::arrow::datatypes::{DataType, TimeUnit};

/// Rows from which types are guessed.
pub const SAMPLE_ROWS: usize = 10_000;

/// Whole numbers beyond this are not all held by a double.
const EXACT_IN_DOUBLE: u64 = 1 << 53;

const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const LARGE_INTEGER: u8 = 4;
const DOUBLE: u8 = 8;
const DATE: u8 = 16;
const TIMESTAMP: u8 = 32;
const ZONED: u8 = 64;
const TEXT: u8 = 128;

/// What kinds of values a column has shown so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guess(u8);

impl Guess {
    /// Sees one value of a format that has text only; nulls are not shown.
    pub fn see(&mut self, text: &str) {
        if self.0 & TEXT == 0 {
            self.0 |= kind_of(text.trim_ascii());
        }
    }

    /// Sees a value that its format calls text: it may be a date or a time, but never a number.
    pub fn see_text(&mut self, text: &str) {
        let kind = kind_of(text);
        self.0 |= if kind & (DATE | TIMESTAMP | ZONED) == 0 { TEXT } else { kind };
    }

    /// Sees a value that can only be text, such as a nested one.
    pub fn see_other(&mut self) {
        self.0 |= TEXT;
    }

    /// The type that holds all values seen, without loss.
    pub fn data_type(self) -> DataType {
        const NUMBERS: u8 = INTEGER | DOUBLE;
        match self.0 {
            BOOLEAN => DataType::Boolean,
            seen if seen != 0 && seen & !(INTEGER | LARGE_INTEGER) == 0 => DataType::Int64,
            seen if seen & DOUBLE != 0 && seen & !NUMBERS == 0 => DataType::Float64,
            DATE => DataType::Date32,
            seen if seen & TIMESTAMP != 0 && seen & !(DATE | TIMESTAMP) == 0 => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            ZONED => parse::utc_timestamp(),
            _ => DataType::Utf8,
        }
    }
}

fn kind_of(text: &str) -> u8 {
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

fn number_or_time(text: &str) -> u8 {
    if let [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b'-', ..] = text.as_bytes() {
        return match parse::instant(text) {
            Some((_, true)) => ZONED,
            Some((_, false)) if text.len() > 10 => TIMESTAMP,
            Some(_) => DATE,
            None => TEXT,
        };
    }
    if parse::has_leading_zero(text) {
        return TEXT;
    }
    if parse::is_digits(text) {
        return match parse::integer(text) {
            Some(value) if value.unsigned_abs() > EXACT_IN_DOUBLE => LARGE_INTEGER,
            Some(_) => INTEGER,
            None => TEXT,
        };
    }
    match parse::double(text) {
        Some(_) if text.bytes().any(|b| b.is_ascii_digit()) => DOUBLE,
        _ => TEXT,
    }
}

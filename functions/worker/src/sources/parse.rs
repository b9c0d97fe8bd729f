//! How a text becomes a value: one set of rules for files, casts and targets.
//!
//! White space around everything but text is ignored. Nothing is rounded: a value that a type cannot hold exactly
//! does not fit, apart from binary floating point, whose nearest value is taken, and digits of a second past the
//! sixth, which are cut.

use super::digits::{has_leading_zero, is_digits, is_lost_in_a_double};
use datafusion::arrow::array::{ArrayRef, BooleanBuilder, PrimitiveArray, PrimitiveBuilder, StringBuilder};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use shared::models::node::DataTypeName;
use shared::models::schema;
use std::sync::Arc;

/// Characters of a value that a reason quotes.
const QUOTED_CHARS: usize = 60;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// The Arrow type of a column with this type; precision and scale matter to decimals only.
pub fn arrow_type(name: DataTypeName, precision: Option<u8>, scale: Option<i8>) -> DataType {
    match name {
        DataTypeName::Varchar | DataTypeName::Text | DataTypeName::Json | DataTypeName::Uuid => DataType::Utf8,
        DataTypeName::Integer => DataType::Int32,
        DataTypeName::Bigint => DataType::Int64,
        DataTypeName::Smallint => DataType::Int16,
        DataTypeName::Decimal => {
            let (precision, scale) = schema::decimal(precision, scale);
            DataType::Decimal128(precision, scale)
        }
        DataTypeName::Real => DataType::Float32,
        DataTypeName::Double => DataType::Float64,
        DataTypeName::Boolean => DataType::Boolean,
        DataTypeName::Date => DataType::Date32,
        DataTypeName::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataTypeName::Timestamptz => utc_timestamp(),
    }
}

/// The Arrow type of a schema's field.
pub fn field_type(field: &schema::Field) -> DataType {
    arrow_type(field.data_type, field.precision, field.scale)
}

/// Microseconds since 1970 in UTC.
pub fn utc_timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Parses `rows` texts into an array of `data_type`; `text(row)` is `None` for null. Where a text does not fit,
/// the array has null and `misfit(row, text, reason)` is called.
///
/// `data_type` is one that [`arrow_type`] answers; any other is read as text. With `strict` a text must also be
/// written as the guessing of types would have it: no leading zeros, no booleans but true and false, and no number that a
/// double would change.
pub fn parse_column<'a>(
    data_type: &DataType,
    strict: bool,
    rows: usize,
    text: impl Fn(usize) -> Option<&'a str>,
    mut misfit: impl FnMut(usize, &'a str, String),
) -> ArrayRef {
    let mut bad = |row: usize, value: &'a str| {
        let of_double = *data_type == DataType::Float64;
        let reason = match value.trim() {
            text if strict && has_leading_zero(text) => {
                format!("{} has leading zeros, which a number would lose", quoted(value))
            }
            text if strict && of_double && is_lost_in_a_double(text) && double(text).is_some() => format!(
                "{} has more digits than the double that its column was guessed to be holds; say what it is in options.columns, \
                 such as decimal",
                quoted(value)
            ),
            _ => why(value, data_type),
        };
        misfit(row, value, reason);
    };
    match data_type {
        DataType::Boolean => {
            let mut builder = BooleanBuilder::with_capacity(rows);
            for row in 0..rows {
                let value = text(row);
                let parsed = value.and_then(|v| if strict { guessed_boolean(v.trim()) } else { boolean(v) });
                if let (Some(v), None) = (value, parsed) {
                    bad(row, v);
                }
                builder.append_option(parsed);
            }
            Arc::new(builder.finish())
        }
        DataType::Int16 => Arc::new(numbers::<Int16Type>(rows, text, bad, |v| i16::try_from(whole(v, strict)?).ok())),
        DataType::Int32 => Arc::new(numbers::<Int32Type>(rows, text, bad, |v| i32::try_from(whole(v, strict)?).ok())),
        DataType::Int64 => Arc::new(numbers::<Int64Type>(rows, text, bad, |v| whole(v, strict))),
        DataType::Float32 => Arc::new(numbers::<Float32Type>(rows, text, bad, real)),
        DataType::Float64 => Arc::new(numbers::<Float64Type>(rows, text, bad, |v| {
            if strict && (has_leading_zero(v.trim()) || is_lost_in_a_double(v.trim())) { None } else { double(v) }
        })),
        DataType::Date32 => Arc::new(numbers::<Date32Type>(rows, text, bad, date)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let instants = numbers::<TimestampMicrosecondType>(rows, text, bad, timestamp);
            Arc::new(instants.with_timezone_opt(zone.clone()))
        }
        DataType::Decimal128(precision, scale) => {
            let units = numbers::<Decimal128Type>(rows, text, bad, |v| decimal(v, *precision, *scale));
            Arc::new(units.with_data_type(data_type.clone()))
        }
        _ => {
            let mut builder = StringBuilder::with_capacity(rows, rows * 16);
            for row in 0..rows {
                builder.append_option(text(row));
            }
            Arc::new(builder.finish())
        }
    }
}

fn numbers<'a, T: ArrowPrimitiveType>(
    rows: usize,
    text: impl Fn(usize) -> Option<&'a str>,
    mut bad: impl FnMut(usize, &'a str),
    parse: impl Fn(&'a str) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    let mut builder = PrimitiveBuilder::<T>::with_capacity(rows);
    for row in 0..rows {
        let value = text(row);
        let parsed = value.and_then(&parse);
        if let (Some(value), None) = (value, parsed) {
            bad(row, value);
        }
        builder.append_option(parsed);
    }
    builder.finish()
}

fn whole(text: &str, strict: bool) -> Option<i64> {
    if strict && has_leading_zero(text.trim()) { None } else { integer(text) }
}

/// Why `text` is not a value of `data_type`: `"abc" is not an integer`.
pub fn why(text: &str, data_type: &DataType) -> String {
    let value = quoted(text);
    match data_type {
        DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            let (low, high) = match data_type {
                DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
                DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                _ => (i64::MIN, i64::MAX),
            };
            match is_digits(text.trim()) {
                true => format!("{value} is not an integer from {low} to {high}"),
                false => format!("{value} is not an integer"),
            }
        }
        DataType::Decimal128(precision, scale) => match text.trim().parse::<f64>().is_ok_and(f64::is_finite) {
            true => format!("{value} is not a number of {precision} digits with {scale} after the point"),
            false => format!("{value} is not a number"),
        },
        DataType::Float32 | DataType::Float64 => format!("{value} is not a number"),
        DataType::Boolean => format!("{value} is not a boolean (true or false)"),
        DataType::Date32 => format!("{value} is not a date (YYYY-MM-DD)"),
        DataType::Timestamp(..) => format!("{value} is not a timestamp (such as 2024-05-31T23:59:59Z)"),
        other => format!("{value} is not a value of type {other}"),
    }
}

/// `text` in quotes, cut where it is long.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
    }
}

/// `true`, `t`, `yes`, `y`, `1` and their opposites, in any case.
pub fn boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: &[&str]| words.iter().any(|w| text.eq_ignore_ascii_case(w));
    if is(&["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if is(&["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

pub(super) fn guessed_boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A whole number that fits in 64 bits, with a sign or without; zeros after a point are accepted (`12.0`).
pub fn integer(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    let (negative, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let end = digits.iter().position(|&b| b == b'.');
    let digits = match end {
        None => digits,
        Some(end) => {
            let (whole, fraction) = digits.split_at_checked(end)?;
            if fraction.len() < 2 || fraction.iter().skip(1).any(|&b| b != b'0') {
                return None;
            }
            whole
        }
    };
    if digits.is_empty() {
        return None;
    }
    // Negative, since there is one more negative number than positive ones.
    let mut value: i64 = 0;
    for &b in digits {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// A number in decimal or exponential form; also `NaN` and `Infinity`, but nothing that is merely too large.
pub fn double(text: &str) -> Option<f64> {
    let text = text.trim_ascii();
    let value: f64 = text.parse().ok()?;
    let fits = value.is_finite() || !text.bytes().any(|b| b.is_ascii_digit());
    fits.then_some(value)
}

/// As [`double`], in 32 bits.
pub fn real(text: &str) -> Option<f32> {
    let text = text.trim_ascii();
    let value: f32 = text.parse().ok()?;
    let fits = value.is_finite() || !text.bytes().any(|b| b.is_ascii_digit());
    fits.then_some(value)
}

/// A decimal number as an integer of units of 10^-scale, exactly; `None` where digits would be lost.
pub fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let text = text.trim_ascii();
    let (negative, number) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let (mantissa, exponent) = match number.iter().position(|b| matches!(b, b'e' | b'E')) {
        None => (number, 0_i64),
        Some(at) => {
            let (mantissa, rest) = number.split_at_checked(at)?;
            let exponent = std::str::from_utf8(rest.get(1..)?).ok()?.parse::<i32>().ok()?;
            (mantissa, i64::from(exponent))
        }
    };
    let point = mantissa.iter().position(|&b| b == b'.');
    let fraction = point.map_or(0, |p| mantissa.len() - p - 1);
    let mut value: i128 = 0;
    let mut digits = 0_usize;
    // Zeros are held back, so that trailing ones never overflow and may be left out.
    let mut zeros = 0_u32;
    for (at, &b) in mantissa.iter().enumerate() {
        if Some(at) == point {
            continue;
        }
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        digits += 1;
        if digit == 0 {
            zeros += 1;
            continue;
        }
        if value != 0 {
            value = value.checked_mul(10_i128.checked_pow(zeros)?)?;
        }
        value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
        zeros = 0;
    }
    if digits == 0 {
        return None;
    }
    if value == 0 {
        return Some(0);
    }
    let shift = i64::from(zeros) + exponent - i64::try_from(fraction).ok()? + i64::from(scale);
    let value = value.checked_mul(10_i128.checked_pow(u32::try_from(shift).ok()?)?)?;
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if negative { -value } else { value })
}

/// Days since 1970 of `YYYY-MM-DD`; a midnight without a zone is accepted after it.
pub fn date(text: &str) -> Option<i32> {
    let text = text.trim_ascii();
    if let ([_, _, _, _, b'-', _, _, b'-', _, _], true) = (text.as_bytes(), text.len() == 10) {
        return days(text.as_bytes());
    }
    let (micros, zone) = instant(text)?;
    if zone || micros.rem_euclid(MICROS_PER_DAY) != 0 {
        return None;
    }
    i32::try_from(micros.div_euclid(MICROS_PER_DAY)).ok()
}

/// Microseconds since 1970 of RFC 3339 or `YYYY-MM-DD[ HH:MM[:SS[.f]]]`. Without a zone UTC is meant; with one, the
/// instant is taken.
pub fn timestamp(text: &str) -> Option<i64> {
    instant(text.trim_ascii()).map(|(micros, _)| micros)
}

/// Microseconds since 1970, and whether a zone was written.
pub(super) fn instant(text: &str) -> Option<(i64, bool)> {
    let bytes = text.as_bytes();
    let micros = i64::from(days(bytes.get(..10)?)?) * MICROS_PER_DAY;
    let rest = match bytes.get(10..)? {
        [] => return Some((micros, false)),
        [b'T' | b't' | b' ', rest @ ..] => rest,
        _ => return None,
    };
    let [h1, h2, b':', m1, m2, rest @ ..] = rest else { return None };
    let (hour, minute) = (two(*h1, *h2, 23)?, two(*m1, *m2, 59)?);
    let (second, rest) = match rest {
        [b':', s1, s2, rest @ ..] => (two(*s1, *s2, 59)?, rest),
        rest => (0, rest),
    };
    let (fraction, rest) = match rest {
        [b'.' | b',', rest @ ..] => {
            let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let (fraction, rest) = rest.split_at_checked(digits)?;
            if digits == 0 || digits > 12 {
                return None;
            }
            let cut = (0..6).fold(0_i64, |v, i| v * 10 + fraction.get(i).map_or(0, |b| i64::from(b - b'0')));
            (cut, rest)
        }
        rest => (0, rest),
    };
    let time = ((hour * 60 + minute) * 60 + second) * MICROS_PER_SECOND + fraction;
    let rest = if let [b' ', zone @ ..] = rest { zone } else { rest };
    let offset = match rest {
        [] => return Some((micros + time, false)),
        [b'Z' | b'z'] | b"UTC" => 0,
        [sign @ (b'+' | b'-'), h1, h2, zone @ ..] => {
            let minutes = match zone {
                [] => 0,
                [b':', m1, m2] | [m1, m2] => two(*m1, *m2, 59)?,
                _ => return None,
            };
            let seconds = (two(*h1, *h2, 23)? * 60 + minutes) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    Some((micros + time - offset * MICROS_PER_SECOND, true))
}

fn two(tens: u8, ones: u8, most: i64) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return None;
    }
    let value = i64::from(tens) * 10 + i64::from(ones);
    (value <= most).then_some(value)
}

/// Days since 1970 of exactly `YYYY-MM-DD`.
fn days(bytes: &[u8]) -> Option<i32> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = bytes else { return None };
    let year = two(y1, y2, 99)? * 100 + two(y3, y4, 99)?;
    let (month, day) = (two(m1, m2, 12)?, two(d1, d2, 31)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > length {
        return None;
    }
    // Years that begin in March, in eras of 400 years: the leap day is the last of a year.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_eras = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    i32::try_from(era * 146_097 + of_eras - 719_468).ok()
}

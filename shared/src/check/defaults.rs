//! Whether a JSON value is one of a column's type, exactly.

use super::verdict::kind_of;
use crate::models::node::DataTypeName;
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use serde_json::{Number, Value};

/// A column's type with its bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) data_type: DataTypeName,
    /// Most characters of a varchar.
    pub(super) length: Option<u32>,
    /// Digits of a decimal, and those after the point.
    pub(super) decimal: (u8, i8),
}

/// Checks `value`; null fits every type.
///
/// # Errors
/// A sentence that says what was expected.
pub(super) fn fits(value: &Value, column: Column) -> Result<(), String> {
    use DataTypeName as T;
    if value.is_null() {
        return Ok(());
    }
    match column.data_type {
        T::Json => Ok(()),
        T::Boolean => value.as_bool().map(drop).ok_or_else(|| expected("true or false", value)),
        T::Smallint => whole(value, i64::from(i16::MIN), i64::from(i16::MAX)),
        T::Integer => whole(value, i64::from(i32::MIN), i64::from(i32::MAX)),
        T::Bigint => whole(value, i64::MIN, i64::MAX),
        T::Real | T::Double => value.as_number().map(drop).ok_or_else(|| expected("a number", value)),
        T::Decimal => decimal(value, column.decimal),
        T::Varchar | T::Text => text(value, column.length),
        T::Uuid => parsed(value, "a UUID", |t| uuid::Uuid::try_parse(t).is_ok()),
        T::Date => parsed(value, "a date such as \"2026-01-31\"", |t| NaiveDate::parse_from_str(t, "%Y-%m-%d").is_ok()),
        T::Timestamp => parsed(value, "a time without zone such as \"2026-01-31T09:00:00\"", is_local_time),
        T::Timestamptz => parsed(value, "a time with zone such as \"2026-01-31T09:00:00Z\"", |t| {
            DateTime::parse_from_rfc3339(t).is_ok()
        }),
    }
}

fn is_local_time(text: &str) -> bool {
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
        .iter()
        .any(|form| NaiveDateTime::parse_from_str(text, form).is_ok())
}

fn expected(what: &str, value: &Value) -> String {
    format!("expected {what}, found {}", kind_of(value))
}

fn parsed(value: &Value, what: &str, ok: impl Fn(&str) -> bool) -> Result<(), String> {
    match value.as_str() {
        Some(text) if ok(text) => Ok(()),
        Some(text) => Err(format!("expected {what}, found {}", super::verdict::quote(text))),
        None => Err(expected(what, value)),
    }
}

fn whole(value: &Value, low: i64, high: i64) -> Result<(), String> {
    let Value::Number(number) = value else {
        return Err(expected("a whole number", value));
    };
    match number.as_i64() {
        Some(n) if (low..=high).contains(&n) => Ok(()),
        None if !number.is_u64() => Err(format!("expected a whole number, found {number}")),
        _ => Err(format!("must be {low} to {high}, found {number}")),
    }
}

fn text(value: &Value, length: Option<u32>) -> Result<(), String> {
    let text = value.as_str().ok_or_else(|| expected("a string", value))?;
    let has = text.chars().count();
    match length {
        Some(most) if has > most as usize => Err(format!("must have at most {most} characters, has {has}")),
        _ => Ok(()),
    }
}

/// A number, or a text that is one: that is how decimals are answered.
fn decimal(value: &Value, (precision, scale): (u8, i8)) -> Result<(), String> {
    let text = match value {
        Value::Number(number) => plain(number),
        Value::String(text) => text.clone(),
        other => return Err(expected("a decimal such as \"12.50\"", other)),
    };
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(&text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return Err(format!("expected a decimal such as \"12.50\", found {}", super::verdict::quote(&text)));
    }
    let scale = usize::try_from(scale).unwrap_or(0);
    let before = usize::from(precision).saturating_sub(scale);
    if fraction.trim_end_matches('0').len() > scale {
        return Err(format!("has more than {scale} digits after the point"));
    }
    if whole.trim_start_matches('0').len() > before {
        return Err(format!("has more than {before} digits before the point"));
    }
    Ok(())
}

/// The number without an exponent.
fn plain(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => float.to_string(),
        None => number.to_string(),
    }
}

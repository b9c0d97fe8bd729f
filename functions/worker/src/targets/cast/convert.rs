//! Converts whole columns to a field's type; values that cannot be converted become null.

use super::super::columns::arrow_type;
use super::maps::Maps;
use super::text;
use crate::sources::parse;
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Decimal128Array, PrimitiveArray, RecordBatch,
    StringArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Date32Type, Decimal128Type, Field as ArrowField, Float32Type, Float64Type,
    Int64Type, Schema, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::WriterBuilder;
use datafusion::arrow::json::writer::LineDelimited;
use shared::models::node::DataTypeName;
use shared::models::schema::Field;
use std::fmt::{LowerExp, Write};
use std::sync::Arc;

const DAY: i64 = 86_400_000_000;

/// Arrow's own cast, with null where a value does not fit.
pub fn safe(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(Arc::clone(array));
    }
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })
}

/// `array` without dictionaries, runs and views, whose nulls are where they say.
///
/// # Errors
/// Where Arrow cannot unpack it.
pub fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        // An array of this type does not even say that it holds nulls.
        DataType::Null => Ok(new_null_array(&DataType::Utf8, array.len())),
        DataType::Dictionary(_, value) => plain(&safe(array, value)?),
        DataType::RunEndEncoded(_, value) => plain(&safe(array, value.data_type())?),
        DataType::LargeUtf8 | DataType::Utf8View => safe(array, &DataType::Utf8),
        DataType::LargeBinary | DataType::BinaryView => safe(array, &DataType::Binary),
        _ => Ok(Arc::clone(array)),
    }
}

/// A plain column as `field` holds it; null where the value is null or cannot be one of the field's.
///
/// # Errors
/// Where Arrow fails at the column as a whole.
pub fn convert(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let to = arrow_type(field);
    let from = array.data_type();
    match field.data_type {
        DataTypeName::Varchar | DataTypeName::Text => to_text(array),
        DataTypeName::Json => to_json(array),
        DataTypeName::Uuid => uuids(array),
        DataTypeName::Boolean if from.is_integer() => zero_or_one(array),
        DataTypeName::Integer | DataTypeName::Bigint | DataTypeName::Smallint => {
            if from.is_integer() || *from == DataType::Boolean {
                safe(array, &to)
            } else {
                safe(&integers(array)?, &to)
            }
        }
        DataTypeName::Decimal => decimals(array, field),
        DataTypeName::Real | DataTypeName::Double if from.is_numeric() => floats(array, &to),
        DataTypeName::Date => dates(array),
        DataTypeName::Timestamp | DataTypeName::Timestamptz => times(array, &to),
        _ if *from == to => Ok(Arc::clone(array)),
        _ => from_text(to_text(array)?.as_string(), field, &to),
    }
}

/// Texts, as people write the values.
fn to_text(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Utf8 => Ok(Arc::clone(array)),
        DataType::Timestamp(_, Some(_)) => {
            let utc = safe(array, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?;
            safe(&utc, &DataType::Utf8)
        }
        from if from.is_nested() => json_texts(array),
        _ => safe(array, &DataType::Utf8),
    }
}

fn from_text(texts: &StringArray, field: &Field, to: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(match field.data_type {
        DataTypeName::Real => parsed::<Float32Type>(texts, parse::real),
        DataTypeName::Double => parsed::<Float64Type>(texts, parse::double),
        DataTypeName::Boolean => Arc::new(texts.iter().map(|t| t.and_then(parse::boolean)).collect::<BooleanArray>()),
        _ => new_null_array(to, texts.len()),
    })
}

fn parsed<T: ArrowPrimitiveType>(texts: &StringArray, parse: impl Fn(&str) -> Option<T::Native>) -> ArrayRef {
    Arc::new(texts.iter().map(|t| t.and_then(&parse)).collect::<PrimitiveArray<T>>())
}

/// Whole numbers in 64 bits, from what is neither an integer nor a boolean: never rounds.
fn integers(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if array.data_type().is_floating() {
        let floats = safe(array, &DataType::Float64)?;
        // 2^63 itself is a float but no longer an `i64`.
        let limit = 2_f64.powi(63);
        let whole = |v: f64| (v.fract() == 0.0 && (-limit..limit).contains(&v)).then_some(v as i64);
        let whole: PrimitiveArray<Int64Type> =
            floats.as_primitive::<Float64Type>().iter().map(|v| v.and_then(whole)).collect();
        return Ok(Arc::new(whole));
    }
    let is_decimal = array.data_type().is_decimal();
    let texts = to_text(array)?;
    Ok(parsed::<Int64Type>(texts.as_string(), |t| {
        if is_decimal { parse::decimal(t, 38, 0).and_then(|v| i64::try_from(v).ok()) } else { parse::integer(t) }
    }))
}

fn zero_or_one(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let numbers = safe(array, &DataType::Int64)?;
    let is = |v| match v {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    };
    Ok(Arc::new(numbers.as_primitive::<Int64Type>().iter().map(|v| v.and_then(is)).collect::<BooleanArray>()))
}

fn decimals(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    let (precision, scale) = field.decimal();
    let to = DataType::Decimal128(precision, scale);
    match array.data_type() {
        // A result of adding has room for one digit more than its type, and keeps it.
        from if *from == to && precision == DECIMAL128_MAX_PRECISION => {
            let most = 10_i128.pow(u32::from(DECIMAL128_MAX_PRECISION));
            let numbers = array.as_primitive::<Decimal128Type>();
            if numbers.iter().flatten().all(|v| (-most < v) && v < most) {
                return Ok(Arc::clone(array));
            }
            let held: Decimal128Array = numbers.iter().map(|v| v.filter(|v| -most < *v && *v < most)).collect();
            Ok(Arc::new(held.with_precision_and_scale(precision, scale)?))
        }
        from if *from == to => Ok(Arc::clone(array)),
        from if from.is_integer() => safe(array, &to),
        // Through no multiplication of floats, whose result would have digits that nobody wrote.
        DataType::Float64 => written::<Float64Type>(array, precision, scale),
        from if from.is_floating() => written::<Float32Type>(&safe(array, &DataType::Float32)?, precision, scale),
        // More digits in front of and behind the point: nothing can be lost.
        DataType::Decimal128(p, s)
            if scale >= *s && i16::from(precision) - i16::from(scale) >= i16::from(*p) - i16::from(*s) =>
        {
            safe(array, &to)
        }
        DataType::Decimal128(_, s) if *s >= scale => {
            let divisor = 10_i128.checked_pow(u32::from(s.abs_diff(scale))).unwrap_or(i128::MAX);
            let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
            let exact = |v: i128| (v % divisor == 0 && (v / divisor).abs() < limit).then_some(v / divisor);
            let exact: Decimal128Array =
                array.as_primitive::<Decimal128Type>().iter().map(|v| v.and_then(exact)).collect();
            Ok(Arc::new(exact.with_precision_and_scale(precision, scale)?))
        }
        _ => {
            let texts = to_text(array)?;
            let exact: Decimal128Array =
                texts.as_string::<i32>().iter().map(|t| t.and_then(|t| parse::decimal(t, precision, scale))).collect();
            Ok(Arc::new(exact.with_precision_and_scale(precision, scale)?))
        }
    }
}

/// Floats by their shortest decimal form; digits past the scale are rounded.
fn written<T>(array: &ArrayRef, precision: u8, scale: i8) -> Result<ArrayRef, ArrowError>
where
    T: ArrowPrimitiveType,
    T::Native: LowerExp,
{
    let mut text = String::new();
    let decimals: Decimal128Array = array
        .as_primitive::<T>()
        .iter()
        .map(|value| {
            text.clear();
            write!(text, "{:e}", value?).ok()?;
            units(&text, precision, scale)
        })
        .collect();
    Ok(Arc::new(decimals.with_precision_and_scale(precision, scale)?))
}

/// A number such as `-4.68e6` as the nearest integer of units of 10^-scale; none of what is no number or too large.
fn units(number: &str, precision: u8, scale: i8) -> Option<i128> {
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (mantissa, exponent) = number.split_once('e')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |value: i128, text: &str| text.bytes().fold(value, |v, b| v * 10 + i128::from(b.wrapping_sub(b'0')));
    let value = digits(digits(0, whole), fraction);
    let shift = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()? + i32::from(scale);
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    let value = match power {
        Some(power) if shift >= 0 => value.checked_mul(power)?,
        Some(power) => value / power + i128::from(value % power >= power - power / 2),
        None if shift < 0 || value == 0 => 0,
        None => return None,
    };
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    (value < limit).then_some(if negative { -value } else { value })
}

/// Floats from other numbers: a finite one never becomes infinite, but null.
///
/// # Errors
/// Where Arrow cannot cast the numbers.
pub fn floats(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let cast = safe(array, to)?;
    if *to != DataType::Float32 || array.data_type() == to {
        return Ok(cast);
    }
    let wide = safe(array, &DataType::Float64)?;
    let singles = cast.as_primitive::<Float32Type>();
    let kept: PrimitiveArray<Float32Type> = singles
        .iter()
        .zip(wide.as_primitive::<Float64Type>().iter())
        .map(|(single, double)| match (single, double) {
            (Some(s), Some(d)) if s.is_infinite() && d.is_finite() => None,
            (s, _) => s,
        })
        .collect();
    Ok(Arc::new(kept))
}

fn dates(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Date32 => Ok(Arc::clone(array)),
        DataType::Date64 | DataType::Timestamp(..) => {
            let times = times(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let midnight = |v: i64| if v % DAY == 0 { i32::try_from(v / DAY).ok() } else { None };
            let days: PrimitiveArray<Date32Type> =
                times.as_primitive::<TimestampMicrosecondType>().iter().map(|v| v.and_then(midnight)).collect();
            Ok(Arc::new(days))
        }
        _ => Ok(parsed::<Date32Type>(to_text(array)?.as_string(), parse::date)),
    }
}

/// Microseconds in UTC, with or without the zone in the type.
fn times(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    match array.data_type() {
        from if from == to => Ok(Arc::clone(array)),
        // Arrow divides towards zero, which would move what lies before 1970 forwards.
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let micros: PrimitiveArray<TimestampMicrosecondType> =
                array.as_primitive::<TimestampNanosecondType>().iter().map(|v| v.map(|v| v.div_euclid(1000))).collect();
            let micros: ArrayRef = Arc::new(micros.with_timezone("UTC"));
            safe(&micros, to)
        }
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => safe(&safe(array, &utc)?, to),
        _ => {
            let micros = parsed::<TimestampMicrosecondType>(to_text(array)?.as_string(), parse::timestamp);
            safe(&safe(&micros, &utc)?, to)
        }
    }
}

fn uuids(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let written = |id: uuid::Uuid| id.hyphenated().to_string();
    let ids: StringArray = match array.data_type() {
        DataType::FixedSizeBinary(16) => array
            .as_fixed_size_binary()
            .iter()
            .map(|v| v.and_then(|v| uuid::Uuid::from_slice(v).ok()).map(written))
            .collect(),
        DataType::Binary => array
            .as_binary::<i32>()
            .iter()
            .map(|v| v.and_then(|v| uuid::Uuid::from_slice(v).ok()).map(written))
            .collect(),
        _ => {
            let texts = to_text(array)?;
            texts.as_string::<i32>().iter().map(|t| t.and_then(text::uuid).map(written)).collect()
        }
    };
    Ok(Arc::new(ids))
}

/// JSON texts: a text has to be one already, all else is written as one.
fn to_json(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let from = array.data_type();
    if from.is_nested() {
        return json_texts(array);
    }
    let texts = to_text(array)?;
    let texts = texts.as_string::<i32>();
    let quoted = !(*from == DataType::Utf8 || from.is_numeric() || *from == DataType::Boolean);
    Ok(Arc::new(
        texts
            .iter()
            .map(|t| {
                let t = t?;
                if quoted {
                    return serde_json::to_string(t).ok();
                }
                text::is_json(t).then(|| t.to_owned())
            })
            .collect::<StringArray>(),
    ))
}

/// Each value of a list, struct or map as JSON.
pub fn json_texts(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    const BEFORE: &[u8] = b"{\"v\":";
    let schema = Schema::new(vec![ArrowField::new("v", array.data_type().clone(), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(array)])?;
    let mut lines = Vec::new();
    let builder = WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(Maps));
    let mut writer = builder.build::<_, LineDelimited>(&mut lines);
    writer.write(&batch)?;
    writer.finish()?;
    let texts = lines.split(|b| *b == b'\n').take(array.len()).enumerate().map(|(row, line)| {
        if array.is_null(row) {
            return None;
        }
        let value = line.strip_prefix(BEFORE)?.strip_suffix(b"}")?;
        std::str::from_utf8(value).ok().map(str::to_owned)
    });
    Ok(Arc::new(texts.collect::<StringArray>()))
}

#[cfg(test)]
mod tests {
    use super::units;

    #[test]
    fn a_float_becomes_the_decimal_that_it_is_written_as() {
        for (value, precision, scale, expected) in [
            (4_646_800.98, 38, 10, Some(46_468_009_800_000_000)),
            (0.1, 38, 20, Some(10_000_000_000_000_000_000)),
            (-2.675, 10, 2, Some(-268)),
            (1.004_999, 10, 2, Some(100)),
            (0.5, 10, 0, Some(1)),
            (-0.4, 10, 0, Some(0)),
            (1e22, 38, 10, Some(10_i128.pow(32))),
            (1e28, 38, 10, None),
            (99.5, 2, 0, None),
            (5e-324, 38, 38, Some(0)),
            (1.7e308, 38, 0, None),
            (0.0, 38, 38, Some(0)),
            (f64::NAN, 38, 10, None),
            (f64::INFINITY, 38, 10, None),
        ] {
            assert_eq!(units(&format!("{value:e}"), precision, scale), expected, "{value}");
        }
    }
}

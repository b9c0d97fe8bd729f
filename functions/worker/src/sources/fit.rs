//! Columns of files that know their types, in the one type that a source has for all of its files.

use super::chunk::Reject;
use super::parse;
use crate::targets::row_text;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::array_value_to_string;
use std::sync::Arc;

/// The most digits of a decimal.
const DIGITS: u8 = 38;

/// The type of a column that is none of a way to store it: no dictionary, view or run-end encoding, and microseconds for
/// all timestamps, as the targets have them.
pub fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    }
}

/// The type that holds the values of two plain types; none where they are of different kinds.
pub fn widest(one: &DataType, other: &DataType) -> Option<DataType> {
    use DataType as D;
    Some(match (one, other) {
        _ if one == other => one.clone(),
        _ if one.is_integer() && other.is_integer() => widest_integer(one, other),
        (D::Float16 | D::Float32 | D::Float64, D::Float16 | D::Float32 | D::Float64) => {
            let has_double = matches!(one, D::Float64) || matches!(other, D::Float64);
            if has_double { D::Float64 } else { D::Float32 }
        }
        (D::Decimal128(p, 0), whole) | (whole, D::Decimal128(p, 0)) if whole.is_integer() => {
            D::Decimal128((*p).max(20), 0)
        }
        (D::Date32 | D::Date64, D::Date32 | D::Date64) => D::Date64,
        (D::Decimal128(p, s), D::Decimal128(q, t)) => {
            let scale = *s.max(t);
            let digits = |p: u8, s: i8| i16::from(p) - i16::from(s);
            let precision = digits(*p, *s).max(digits(*q, *t)) + i16::from(scale);
            D::Decimal128(u8::try_from(precision).unwrap_or(DIGITS).min(DIGITS), scale)
        }
        _ => return None,
    })
}

fn widest_integer(one: &DataType, other: &DataType) -> DataType {
    use DataType as D;
    let bits = |t: &DataType| t.primitive_width().unwrap_or(8) * 8;
    if one.is_signed_integer() == other.is_signed_integer() {
        return if bits(one) >= bits(other) { one.clone() } else { other.clone() };
    }
    let (signed, unsigned) = if one.is_signed_integer() { (one, other) } else { (other, one) };
    match bits(unsigned) {
        64 => D::Decimal128(20, 0),
        n if n < bits(signed) => signed.clone(),
        8 => D::Int16,
        16 => D::Int32,
        _ => D::Int64,
    }
}

/// Whether `column` may lack some value that a file stores as `own`.
pub fn may_misfit(own: &DataType, column: &DataType) -> bool {
    let plain = plain(own);
    let digits = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    match (own, &plain, column) {
        // Seconds and milliseconds go further than microseconds.
        (DataType::Timestamp(unit, _), ..) => matches!(unit, TimeUnit::Second | TimeUnit::Millisecond),
        (_, DataType::Decimal128(p, s), DataType::Decimal128(q, t)) => s > t || digits(*p, *s) > digits(*q, *t),
        _ => widest(&plain, column).as_ref() != Some(column),
    }
}

/// A column in the type that the source has for it, and which of its values that type does not hold, where there are any.
///
/// # Errors
/// Where the types are of different kinds.
pub fn fit(array: &ArrayRef, to: &DataType) -> Result<(ArrayRef, Option<BooleanArray>), ArrowError> {
    if array.data_type() == to {
        return Ok((Arc::clone(array), None));
    }
    let fitted = match array.data_type() {
        // Arrow divides towards zero, which would move what lies before 1970 forwards.
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            let micros: PrimitiveArray<TimestampMicrosecondType> =
                array.as_primitive::<TimestampNanosecondType>().unary(|v| v.div_euclid(1000));
            safe(&(Arc::new(micros.with_timezone_opt(zone.clone())) as ArrayRef), to)?
        }
        DataType::Dictionary(_, values) if values.as_ref() != to => {
            let (plain, _) = fit(array, &values.as_ref().clone())?;
            return fit(&plain, to);
        }
        _ => safe(array, to)?,
    };
    let before = array.logical_nulls().map_or(0, |nulls| nulls.null_count());
    if fitted.null_count() == before {
        return Ok((fitted, None));
    }
    let was_null = array.logical_nulls();
    let bad = |row: usize| fitted.is_null(row) && was_null.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let bad: BooleanArray = (0..array.len()).map(|row| Some(bad(row))).collect();
    Ok((fitted, Some(bad)))
}

fn safe(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })
}

/// Values of a column that its type does not hold.
pub struct Misfits {
    /// The index of the column in the batch that was read.
    pub column: usize,
    pub data_type: DataType,
    pub rows: BooleanArray,
}

/// The rows that fit, and the others as they were in the `read` batch, whose first row has the number `first`.
pub fn judge(read: &RecordBatch, misfits: &[Misfits], first: u64) -> (Option<BooleanArray>, Vec<Reject>) {
    if misfits.is_empty() {
        return (None, Vec::new());
    }
    let mut rejects = Vec::new();
    let mut good = Vec::with_capacity(read.num_rows());
    for row in 0..read.num_rows() {
        let misfit = misfits.iter().find(|misfit| misfit.rows.value(row));
        good.push(misfit.is_none());
        let Some(Misfits { column, data_type, .. }) = misfit else { continue };
        let value = array_value_to_string(read.column(*column), row).unwrap_or_default();
        let reason = format!("{}, the type of the column in the files before", parse::why(&value, data_type));
        let column = read.schema().field(*column).name().clone();
        let row_number = first + row as u64;
        rejects.push(Reject { row: row_number, column, value: Some(value), reason, whole: row_text(read, row) });
    }
    (Some(BooleanArray::from(good)), rejects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Int64Array, TimestampMillisecondArray, TimestampNanosecondArray};

    #[test]
    fn the_widest_type_holds_both() {
        use DataType as D;
        let of = |a: D, b: D| {
            assert_eq!(widest(&a, &b), widest(&b, &a));
            widest(&a, &b)
        };
        assert_eq!(of(D::Int32, D::Int64), Some(D::Int64));
        assert_eq!(of(D::UInt8, D::Int8), Some(D::Int16));
        assert_eq!(of(D::UInt32, D::Int32), Some(D::Int64));
        assert_eq!(of(D::UInt16, D::Int64), Some(D::Int64));
        assert_eq!(of(D::UInt64, D::Int8), Some(D::Decimal128(20, 0)));
        assert_eq!(of(D::Decimal128(10, 2), D::Decimal128(8, 4)), Some(D::Decimal128(12, 4)));
        assert_eq!(of(D::Decimal128(38, 2), D::Decimal128(38, 10)), Some(D::Decimal128(38, 10)));
        assert_eq!(of(D::Float32, D::Float64), Some(D::Float64));
        assert_eq!(of(D::Int32, D::Utf8), None);
        assert!(may_misfit(&D::Decimal128(38, 2), &D::Decimal128(38, 10)));
        assert!(!may_misfit(&D::Decimal128(10, 2), &D::Decimal128(12, 4)));
        assert!(!may_misfit(&D::Int32, &D::Int64) && may_misfit(&D::Int64, &D::Int32));
    }

    #[test]
    fn what_does_not_fit_is_told_and_timestamps_keep_their_microseconds() {
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![Some(3_000_000_000), None, Some(7)]));
        let (fitted, bad) = fit(&wide, &DataType::Int32).unwrap();
        assert_eq!((fitted.null_count(), bad), (2, Some(BooleanArray::from(vec![true, false, false]))));
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let nanos: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![1_500, -1]));
        let (fitted, bad) = fit(&nanos, &micros).unwrap();
        assert_eq!((fitted.as_primitive::<TimestampMicrosecondType>().values().to_vec(), bad), (vec![1, -1], None));
        let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![2]));
        assert_eq!(fit(&millis, &micros).unwrap().0.as_primitive::<TimestampMicrosecondType>().value(0), 2_000);
    }
}

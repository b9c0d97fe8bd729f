//! Values of one type as values of another, with the rows whose value has none there.

use crate::sources::parse;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float64Type, TimeUnit};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use shared::models::node::DataTypeName;
use std::sync::Arc;

use super::{Misfit, column};
use crate::error::RunError;
use crate::targets::{floats, json_texts};

/// The type that values are to have.
#[derive(Debug, Clone, Copy)]
pub(super) struct To {
    pub name: DataTypeName,
    pub precision: Option<u8>,
    pub scale: Option<i8>,
}

impl To {
    /// As Arrow has it.
    pub fn arrow(self) -> DataType {
        parse::arrow_type(self.name, self.precision, self.scale)
    }
}

/// `array` as texts, as people write the values; lists and objects as JSON.
pub(super) fn texts(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    match array.data_type() {
        DataType::Utf8 => Ok(array.as_string::<i32>().clone()),
        DataType::Null => Ok(StringArray::new_null(array.len())),
        from if from.is_nested() => Ok(json_texts(array)?.as_string::<i32>().clone()),
        from if from.is_binary() => {
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
            (0..array.len())
                .map(|row| if array.is_null(row) { Ok(None) } else { formatter.value(row).try_to_string().map(Some) })
                .collect()
        }
        DataType::Timestamp(_, Some(_)) => {
            Ok(safe(&safe(array, &parse::utc_timestamp())?, &DataType::Utf8)?.as_string::<i32>().clone())
        }
        _ => Ok(safe(array, &DataType::Utf8)?.as_string::<i32>().clone()),
    }
}

/// The texts of the column at `place`.
pub(super) fn texts_of(batch: &RecordBatch, place: usize) -> Result<StringArray, RunError> {
    texts(column(batch, place)?).map_err(super::broken)
}

/// `array` as values of `to`; null, and a misfit at the column `name`, where a value is none of `to`.
pub(super) fn convert(array: &ArrayRef, to: To, name: &str, misfits: &mut Vec<Misfit>) -> Result<ArrayRef, ArrowError> {
    let data_type = to.arrow();
    let from = array.data_type();
    match to.name {
        DataTypeName::Json | DataTypeName::Uuid => return Ok(checked(&texts(array)?, to.name, name, misfits)),
        DataTypeName::Varchar | DataTypeName::Text => return Ok(Arc::new(texts(array)?)),
        _ => {}
    }
    if *from == DataType::Null {
        return Ok(new_null_array(&data_type, array.len()));
    }
    if *from == data_type {
        return Ok(array.clone());
    }
    let direct = match (from, &data_type) {
        (DataType::Boolean, _) => data_type.is_integer() || data_type.is_floating(),
        (_, DataType::Boolean) => false,
        _ if from.is_integer() => data_type.is_numeric(),
        // Binary floats become whole numbers and decimals by their texts, so that nothing is cut off.
        _ if from.is_floating() => data_type.is_floating(),
        (DataType::Decimal128(..) | DataType::Decimal256(..), _) => data_type.is_floating(),
        (DataType::Date32 | DataType::Date64, _) => matches!(data_type, DataType::Timestamp(..) | DataType::Date32),
        (DataType::Timestamp(..), DataType::Timestamp(..) | DataType::Date32) => true,
        _ => false,
    };
    if direct {
        let utc = match (from, &data_type) {
            // An instant's date and local time are those of UTC.
            (DataType::Timestamp(_, Some(_)), _) => {
                safe(&safe(array, &parse::utc_timestamp())?, &local_then(&data_type))?
            }
            _ => array.clone(),
        };
        let numbers = from.is_numeric() && data_type.is_floating();
        let values = if numbers { floats(array, &data_type)? } else { safe(&utc, &data_type)? };
        report_lost(array, &values, &data_type, name, misfits)?;
        return Ok(values);
    }
    if data_type.is_integer() && from.is_floating() {
        let whole = whole(safe(array, &DataType::Float64)?.as_primitive::<Float64Type>());
        let values = safe(&(Arc::new(whole) as ArrayRef), &data_type)?;
        report_lost(array, &values, &data_type, name, misfits)?;
        return Ok(values);
    }
    let texts = texts(array)?;
    let text = |row: usize| texts.is_valid(row).then(|| texts.value(row));
    Ok(parse::parse_column(&data_type, false, texts.len(), text, |row, value, reason| {
        misfits.push(Misfit { row, column: name.to_owned(), value: Some(value.to_owned()), reason });
    }))
}

/// What an instant becomes on its way to `data_type`: without its zone, so that no other zone comes in between.
fn local_then(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, Some(_)) => data_type.clone(),
        _ => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

/// Floats without a fraction, as 64 bits hold them.
fn whole(floats: &Float64Array) -> Int64Array {
    // 2^63 itself is a float and no longer an i64.
    let range = -9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0;
    floats.iter().map(|v| v.filter(|v| v.fract() == 0.0 && range.contains(v)).map(|v| v as i64)).collect()
}

fn report_lost(
    before: &ArrayRef,
    after: &ArrayRef,
    to: &DataType,
    name: &str,
    misfits: &mut Vec<Misfit>,
) -> Result<(), ArrowError> {
    if after.null_count() == before.null_count() {
        return Ok(());
    }
    let texts = texts(before)?;
    for row in (0..before.len()).filter(|row| before.is_valid(*row) && after.is_null(*row)) {
        let value = texts.value(row);
        let reason = parse::why(value, to);
        misfits.push(Misfit { row, column: name.to_owned(), value: Some(value.to_owned()), reason });
    }
    Ok(())
}

/// JSON and UUIDs stay texts and are only checked; UUIDs get their usual form.
fn checked(texts: &StringArray, to: DataTypeName, name: &str, misfits: &mut Vec<Misfit>) -> ArrayRef {
    let values = texts.iter().enumerate().map(|(row, text)| {
        let text = text?;
        let value = match to {
            DataTypeName::Uuid => uuid::Uuid::parse_str(text.trim()).ok().map(|uuid| uuid.to_string()),
            _ => serde_json::from_str::<serde::de::IgnoredAny>(text).ok().map(|_| text.to_owned()),
        };
        if value.is_none() {
            let what = if to == DataTypeName::Uuid { "a UUID" } else { "JSON" };
            let reason = format!("{} is not {what}", parse::quoted(text));
            misfits.push(Misfit { row, column: name.to_owned(), value: Some(text.to_owned()), reason });
        }
        value
    });
    Arc::new(values.collect::<StringArray>())
}

/// Arrow's own cast, with null where a value does not fit.
pub(super) fn safe(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == to {
        return Ok(array.clone());
    }
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })
}

/// Whether each row has a value.
pub(super) fn has_value(array: &ArrayRef) -> BooleanArray {
    match array.logical_nulls() {
        Some(nulls) => BooleanArray::new(nulls.into_inner(), None),
        None => BooleanArray::from(vec![true; array.len()]),
    }
}

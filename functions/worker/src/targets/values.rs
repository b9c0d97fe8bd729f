//! Values and rows as JSON, as the API shows them.

use super::cast::json_texts;
use crate::engine::progress::ROW_COLUMN;
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::array_value_to_string;
use serde_json::{Map, Value};

/// The row `index` of a batch as one JSON text, without the columns that users do not see; none where it cannot be
/// written.
pub fn row_text(batch: &RecordBatch, index: usize) -> Option<String> {
    let schema = batch.schema();
    let mut object = Map::with_capacity(batch.num_columns());
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        if field.name() != ROW_COLUMN {
            object.insert(field.name().clone(), json(column, index).ok()?);
        }
    }
    Some(Value::Object(object).to_string())
}

/// A value: decimals as strings, NaN and infinities as null, times in RFC 3339.
///
/// # Errors
/// Where Arrow cannot write it as text.
pub fn json(column: &ArrayRef, row: usize) -> Result<Value, ArrowError> {
    if column.logical_nulls().is_some_and(|nulls| nulls.is_null(row)) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).into(),
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => single(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        DataType::Decimal128(..) => column.as_primitive::<Decimal128Type>().value_as_string(row).into(),
        DataType::Date32 => date(column.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            time(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        from if from.is_nested() => nested(column, row)?,
        _ => array_value_to_string(column, row)?.into(),
    })
}

/// The shortest number that reads back as the same: 0.1 rather than 0.10000000149011612.
fn single(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn date(days: i32) -> Value {
    match NaiveDate::default().checked_add_signed(TimeDelta::days(days.into())) {
        Some(date) => date.format("%Y-%m-%d").to_string().into(),
        None => Value::Null,
    }
}

/// Milliseconds, or microseconds where there are any.
fn time(micros: i64) -> Value {
    let format = if micros % 1000 == 0 { SecondsFormat::Millis } else { SecondsFormat::Micros };
    match DateTime::<Utc>::from_timestamp_micros(micros) {
        Some(at) => at.to_rfc3339_opts(format, true).into(),
        None => Value::Null,
    }
}

fn nested(column: &ArrayRef, row: usize) -> Result<Value, ArrowError> {
    let texts = json_texts(&column.slice(row, 1))?;
    let text = texts.as_string::<i32>();
    Ok(if text.is_valid(0) { serde_json::from_str(text.value(0)).unwrap_or(Value::Null) } else { Value::Null })
}

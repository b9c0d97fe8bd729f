//! One value of a config as a value of a column's type.

use super::Misfit;
use super::convert::{To, convert, safe};
use crate::nodes::columns::type_name;
use crate::sources::parse;
use datafusion::arrow::array::{Array, ArrayRef, StringArray, new_null_array};
use datafusion::arrow::datatypes::DataType;
use serde_json::Value;
use shared::models::node::DataTypeName;
use std::sync::Arc;

/// `value` as an array of one element of the type that configs name.
///
/// # Errors
/// A sentence, where it is no value of the type.
pub(super) fn named(value: &Value, name: DataTypeName) -> Result<ArrayRef, String> {
    let to = To { name, precision: None, scale: None };
    let text = match (value, name) {
        (Value::Null, _) => return Ok(new_null_array(&to.arrow(), 1)),
        (_, DataTypeName::Json) => value.to_string(),
        _ => text(value)?,
    };
    let mut misfits: Vec<Misfit> = Vec::new();
    let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let values = convert(&texts, to, "", &mut misfits).map_err(|e| e.to_string())?;
    match misfits.pop() {
        None => Ok(values),
        Some(misfit) => Err(misfit.reason),
    }
}

/// `value` as an array of one element of `data_type`.
///
/// # Errors
/// A sentence, where it is no value of the type.
pub(super) fn of_type(value: &Value, data_type: &DataType) -> Result<ArrayRef, String> {
    if value.is_null() {
        return Ok(new_null_array(data_type, 1));
    }
    let text = text(value)?;
    let mut why = None;
    // Types that configs have no name for are reached from the nearest one that they have.
    let near = match data_type {
        DataType::Int8 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, Some(_)) => parse::utc_timestamp(),
        DataType::Timestamp(_, None) => parse::arrow_type(DataTypeName::Timestamp, None, None),
        DataType::Decimal256(_, scale) => DataType::Decimal128(38, *scale),
        other => other.clone(),
    };
    let parsed = parse::parse_column(&near, false, 1, |_| Some(text.as_str()), |_, _, reason| why = Some(reason));
    let values = safe(&parsed, data_type).map_err(|_| format!("{text:?} is no {}", type_name(data_type)))?;
    match why {
        Some(why) => Err(why),
        None if values.is_null(0) => Err(format!("{text:?} is no {}", type_name(data_type))),
        None => Ok(values),
    }
}

/// The text of a value that is one.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => Err("it must be a text, a number, true or false".to_owned()),
    }
}

/// The type of a column that is made of such values alone.
pub(super) fn type_of(values: &[&Value]) -> DataType {
    let mut known = values.iter().filter(|value| !value.is_null()).peekable();
    if known.peek().is_none() {
        return DataType::Utf8;
    }
    let known: Vec<_> = known.collect();
    if known.iter().all(|value| value.is_boolean()) {
        DataType::Boolean
    } else if known.iter().all(|value| value.is_i64()) {
        DataType::Int64
    } else if known.iter().all(|value| value.is_number()) {
        DataType::Float64
    } else {
        DataType::Utf8
    }
}

//! Replaces values by others.

use super::convert::{safe, texts_of};
use super::{Compute, Computed, Misfit, Op, broken, column, constant, find};
use crate::error::RunError;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::{concat, interleave};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde_json::{Map, Value};
use std::collections::HashMap;

#[derive(Debug)]
struct MapValues {
    place: usize,
    data_type: DataType,
    /// Where each value's replacement lies in `values`.
    found: HashMap<String, usize>,
    /// The replacement of values that are not in `found`; they stay where there is none.
    default: Option<usize>,
    values: ArrayRef,
}

pub(super) fn build(
    schema: &SchemaRef,
    field: &str,
    mapping: &Map<String, Value>,
    default: Option<&Value>,
) -> Result<Box<dyn Op>, String> {
    let (place, from) = find(schema, field)?;
    let values: Vec<&Value> = mapping.values().chain(default).collect();
    if values.is_empty() {
        return Err("the mapping is empty".to_owned());
    }
    let data_type = result_type(&from, &values, default.is_some());
    let mut parts = Vec::with_capacity(values.len());
    for value in &values {
        let part = constant::of_type(value, &data_type).map_err(|why| format!("the mapping's value {value}: {why}"))?;
        parts.push(part);
    }
    let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
    let compute = MapValues {
        place,
        data_type: data_type.clone(),
        found: mapping.keys().cloned().zip(0..).collect(),
        default: default.map(|_| mapping.len()),
        values: concat(&parts).map_err(|e| e.to_string())?,
    };
    Computed::boxed(schema, vec![(field, data_type)], compute)
}

/// The field's own type where it holds all replacements; else the type of the replacements, where no value stays,
/// or text.
fn result_type(from: &DataType, values: &[&Value], replaces_all: bool) -> DataType {
    let own = match from {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        other => other.clone(),
    };
    let text = super::super::columns::is_text(&own);
    let only_texts = values.iter().all(|value| value.is_string() || value.is_null());
    if (!text || only_texts) && !own.is_nested() && values.iter().all(|value| constant::of_type(value, &own).is_ok()) {
        return own;
    }
    if replaces_all { constant::type_of(values) } else { DataType::Utf8 }
}

impl Compute for MapValues {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = texts_of(batch, self.place)?;
        let column = column(batch, self.place)?;
        // A value stays only where the result has the field's type or is text.
        let staying: ArrayRef = if self.data_type == DataType::Utf8 {
            std::sync::Arc::new(texts.clone())
        } else {
            safe(column, &self.data_type).map_err(broken)?
        };
        let picks: Vec<(usize, usize)> = texts
            .iter()
            .enumerate()
            .map(|(row, text)| match text.and_then(|text| self.found.get(text).copied().or(self.default)) {
                Some(index) => (0, index),
                None => (1, row),
            })
            .collect();
        Ok(vec![interleave(&[self.values.as_ref(), staying.as_ref()], &picks).map_err(broken)?])
    }
}

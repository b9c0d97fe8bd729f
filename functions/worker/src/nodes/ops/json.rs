//! Takes a value out of a JSON text by a path.

use super::convert::{To, convert, texts_of};
use super::{Compute, Computed, Misfit, Op, broken, find};
use crate::error::RunError;
use crate::nodes::columns::{is_text, type_name};
use crate::sources::parse::quoted;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde_json::Value;
use shared::json_path::{self, Step};
use shared::models::node::DataTypeName;
use std::sync::Arc;

#[derive(Debug)]
struct ParseJson {
    name: String,
    place: usize,
    path: Vec<Step>,
    to: To,
}

pub(super) fn build(
    schema: &SchemaRef,
    field: &str,
    path: &str,
    into: &str,
    name: DataTypeName,
) -> Result<Box<dyn Op>, String> {
    let (place, from) = find(schema, field)?;
    if !is_text(&from) && from != DataType::Null {
        return Err(format!("{field:?} is of type {}; JSON is parsed out of texts", type_name(&from)));
    }
    let to = To { name, precision: None, scale: None };
    let path = json_path::parse(path).map_err(|why| format!("path {why}"))?;
    let compute = ParseJson { name: field.to_owned(), place, path, to };
    Computed::boxed(schema, vec![(into, to.arrow())], compute)
}

fn walk<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

impl Compute for ParseJson {
    fn compute(&self, batch: &RecordBatch, misfits: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = texts_of(batch, self.place)?;
        let found = texts.iter().enumerate().map(|(row, text)| {
            let text = text?;
            match serde_json::from_str::<Value>(text) {
                Ok(json) => match walk(&json, &self.path)? {
                    Value::Null => None,
                    Value::String(inner) if self.to.name != DataTypeName::Json => Some(inner.clone()),
                    other => Some(other.to_string()),
                },
                Err(e) => {
                    let reason = format!("{} is not JSON: {e}", quoted(text));
                    misfits.push(Misfit { row, column: self.name.clone(), value: Some(text.to_owned()), reason });
                    None
                }
            }
        });
        let found: ArrayRef = Arc::new(found.collect::<StringArray>());
        Ok(vec![convert(&found, self.to, &self.name, misfits).map_err(broken)?])
    }
}

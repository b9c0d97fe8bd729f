//! Rows as a preview shows them: long texts cut, and all of an answer within a few megabytes.

use super::progress::ROW_COLUMN;
use crate::room::{ANSWER, Room};
use crate::targets;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use serde_json::{Map, Value};

/// Characters of a text.
const TEXT: usize = 1_000;
/// Entries of a list.
const ENTRIES: usize = 100;

/// What is left of an answer's size.
#[derive(Debug)]
pub struct Budget {
    room: Room,
}

impl Default for Budget {
    fn default() -> Self {
        Self { room: Room::new(ANSWER) }
    }
}

impl Budget {
    /// The first rows of `batches`, as objects by column: `most` of them, or as many as there is room for.
    ///
    /// # Errors
    /// Where a value cannot be written as text.
    pub fn rows(
        &mut self,
        schema: &SchemaRef,
        batches: &[RecordBatch],
        most: usize,
    ) -> Result<Vec<Map<String, Value>>, ArrowError> {
        let mut rows = Vec::new();
        for batch in batches {
            let columns: Vec<(&String, &ArrayRef)> = schema
                .fields()
                .iter()
                .map(|field| field.name())
                .zip(batch.columns())
                .filter(|(name, _)| *name != ROW_COLUMN)
                .collect();
            for row in 0..batch.num_rows() {
                if rows.len() == most {
                    return Ok(rows);
                }
                let mut object = Map::with_capacity(columns.len());
                for (name, column) in &columns {
                    object.insert((*name).clone(), short(targets::json(column, row)?));
                }
                if !self.room.take(&object) {
                    return Ok(rows);
                }
                rows.push(object);
            }
        }
        Ok(rows)
    }
}

/// The value with long texts and lists cut.
fn short(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > TEXT => match text.char_indices().nth(TEXT) {
            Some((end, _)) => Value::String(format!("{}…", text.get(..end).unwrap_or_default())),
            None => Value::String(text),
        },
        Value::Array(items) => Value::Array(items.into_iter().take(ENTRIES).map(short).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, short(value))).collect()),
        other => other,
    }
}

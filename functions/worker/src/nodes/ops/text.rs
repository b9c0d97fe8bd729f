//! Splits, merges and trims texts.

use super::convert::texts_of;
use super::{Compute, Computed, Misfit, Op, find};
use crate::error::RunError;
use crate::nodes::columns::is_text;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

#[derive(Debug)]
struct Split {
    place: usize,
    separator: String,
    parts: usize,
}

pub(super) fn split(schema: &SchemaRef, field: &str, separator: &str, into: &[String]) -> Result<Box<dyn Op>, String> {
    let (place, _) = find(schema, field)?;
    if separator.is_empty() {
        return Err("the separator must not be empty".to_owned());
    }
    let columns = into.iter().map(|name| (name.as_str(), DataType::Utf8)).collect();
    Computed::boxed(schema, columns, Split { place, separator: separator.to_owned(), parts: into.len() })
}

impl Compute for Split {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = texts_of(batch, self.place)?;
        let mut builders: Vec<StringBuilder> = (0..self.parts).map(|_| StringBuilder::new()).collect();
        for text in &texts {
            let mut parts = text.map(|text| text.splitn(self.parts, self.separator.as_str()));
            for builder in &mut builders {
                builder.append_option(parts.as_mut().and_then(Iterator::next));
            }
        }
        Ok(builders.into_iter().map(|mut builder| Arc::new(builder.finish()) as ArrayRef).collect())
    }
}

#[derive(Debug)]
struct Merge {
    places: Vec<usize>,
    separator: String,
}

pub(super) fn merge(schema: &SchemaRef, fields: &[String], separator: &str, into: &str) -> Result<Box<dyn Op>, String> {
    let places = fields.iter().map(|field| find(schema, field).map(|(place, _)| place)).collect::<Result<_, _>>()?;
    Computed::boxed(schema, vec![(into, DataType::Utf8)], Merge { places, separator: separator.to_owned() })
}

impl Compute for Merge {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = self.places.iter().map(|place| texts_of(batch, *place)).collect::<Result<Vec<_>, _>>()?;
        let merged = (0..batch.num_rows()).map(|row| {
            let parts: Vec<&str> = texts.iter().filter(|t| t.is_valid(row)).map(|t| t.value(row)).collect();
            // Where there is nothing to merge, there is no text rather than an empty one.
            (!parts.is_empty()).then(|| parts.join(&self.separator))
        });
        Ok(vec![Arc::new(merged.collect::<StringArray>())])
    }
}

#[derive(Debug)]
struct Trim {
    places: Vec<usize>,
}

/// Columns that are no texts have no white space and stay as they are.
pub(super) fn trim(schema: &SchemaRef, fields: &[String]) -> Result<Box<dyn Op>, String> {
    let (mut places, mut columns) = (Vec::new(), Vec::new());
    for field in fields {
        let (place, from) = find(schema, field)?;
        if is_text(&from) && !places.contains(&place) {
            places.push(place);
            columns.push((field.as_str(), DataType::Utf8));
        }
    }
    Computed::boxed(schema, columns, Trim { places })
}

impl Compute for Trim {
    fn compute(&self, batch: &RecordBatch, _: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        self.places
            .iter()
            .map(|place| {
                let texts = texts_of(batch, *place)?;
                Ok(Arc::new(texts.iter().map(|text| text.map(str::trim)).collect::<StringArray>()) as ArrayRef)
            })
            .collect()
    }
}

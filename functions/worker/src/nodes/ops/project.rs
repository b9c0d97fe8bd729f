//! Renames, drops and selects columns. The hidden row column always stays.

use super::{Op, find, record_batch};
use crate::engine::progress::ROW_COLUMN;
use crate::error::RunError;
use crate::nodes::columns::may_be_named;
use crate::nodes::ledger::Ledger;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use shared::models::node::Mapping;
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Debug)]
struct Project {
    /// The place in the input of each column.
    places: Vec<usize>,
    schema: SchemaRef,
}

impl Op for Project {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    fn apply(&self, batch: &RecordBatch, _: &Ledger) -> Result<RecordBatch, RunError> {
        let columns = self.places.iter().filter_map(|place| batch.columns().get(*place).cloned()).collect();
        record_batch(&self.schema, columns, batch.num_rows())
    }
}

/// The columns at `places`, with the row column.
fn project(schema: &Schema, mut places: Vec<usize>) -> Result<Box<dyn Op>, String> {
    if places.iter().all(|place| schema.field(*place).name() == ROW_COLUMN) {
        return Err("no column would be left".to_owned());
    }
    if let Ok(row) = schema.index_of(ROW_COLUMN)
        && !places.contains(&row)
    {
        places.push(row);
    }
    let fields: Vec<_> = places.iter().map(|place| Arc::new(schema.field(*place).clone())).collect();
    Ok(Box::new(Project { places, schema: Arc::new(Schema::new(fields)) }))
}

pub(super) fn select(schema: &Schema, fields: &[String]) -> Result<Box<dyn Op>, String> {
    let mut places = Vec::with_capacity(fields.len());
    for field in fields {
        let (place, _) = find(schema, field)?;
        if places.contains(&place) {
            return Err(format!("{field:?} is selected twice"));
        }
        places.push(place);
    }
    project(schema, places)
}

pub(super) fn drop(schema: &Schema, fields: &[String]) -> Result<Box<dyn Op>, String> {
    let dropped =
        fields.iter().map(|field| find(schema, field).map(|(place, _)| place)).collect::<Result<HashSet<_>, _>>()?;
    project(schema, (0..schema.fields().len()).filter(|place| !dropped.contains(place)).collect())
}

pub(super) fn rename(schema: &Schema, mappings: &[Mapping]) -> Result<Box<dyn Op>, String> {
    let mut names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut renamed = HashSet::new();
    for mapping in mappings {
        let (place, _) = find(schema, &mapping.from)?;
        may_be_named(&mapping.to)?;
        if !renamed.insert(place) {
            return Err(format!("{:?} is renamed twice", mapping.from));
        }
        if let Some(name) = names.get_mut(place) {
            name.clone_from(&mapping.to);
        }
    }
    let mut seen = HashSet::new();
    if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
        return Err(format!("two columns would be named {twice:?}; drop or rename the other one before"));
    }
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .zip(names)
        .map(|(field, name)| Arc::new(field.as_ref().clone().with_name(name)))
        .collect();
    Ok(Box::new(Project { places: (0..fields.len()).collect(), schema: Arc::new(Schema::new(fields)) }))
}

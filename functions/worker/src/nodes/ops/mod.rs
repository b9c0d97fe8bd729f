//! The ops of a transform: each is built for the columns that come to it, and applied to one batch at a time.

mod cast;
mod constant;
mod convert;
mod exactly;
mod expression;
mod fill;
pub mod guess;
mod hash;
mod json;
mod map;
mod mask;
mod project;
mod text;

pub use exactly::exactly;

use super::columns::{is_text, may_be_named};
use super::ledger::Ledger;
use crate::engine::expressions::{Expressions, missing};
use crate::engine::place::named_first;
use crate::engine::progress::ROW_COLUMN;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use serde_json::Value;
use shared::models::node::{OnCastError, TransformOp};
use std::fmt;
use std::sync::Arc;

/// One op, built for certain columns.
pub trait Op: fmt::Debug + Send + Sync {
    /// The columns that come out.
    fn schema(&self) -> &SchemaRef;
    /// The rows that come out; the others are rejected.
    ///
    /// # Errors
    /// Where the run must end.
    fn apply(&self, batch: &RecordBatch, ledger: &Ledger) -> Result<RecordBatch, RunError>;
}

/// Builds `op` for batches with the columns of `schema`.
///
/// # Errors
/// A sentence that says what does not fit, and what would be right.
pub fn build(op: &TransformOp, schema: &SchemaRef, expressions: &Expressions) -> Result<Box<dyn Op>, String> {
    match op {
        TransformOp::Cast { field, r#type, format, on_error, precision, scale } => {
            let to = cast::To { name: *r#type, precision: *precision, scale: *scale };
            cast::build(schema, field, to, format.as_deref(), on_error.unwrap_or(OnCastError::Reject))
        }
        TransformOp::Expression { field, expr } => expression::build(schema, field, expr, expressions),
        TransformOp::Rename { mappings } => project::rename(schema, mappings),
        TransformOp::Drop { fields } => project::drop(schema, fields),
        TransformOp::Select { fields } => project::select(schema, fields),
        TransformOp::AddField { field, value, r#type } => fill::add_field(schema, field, value, *r#type),
        TransformOp::Hash { field, algorithm, salt } => hash::build(schema, field, *algorithm, salt.as_deref()),
        TransformOp::MaskPii { field, strategy } => mask::build(schema, field, *strategy),
        TransformOp::MapValues { field, mapping, default } => map::build(schema, field, mapping, default.as_ref()),
        TransformOp::Split { field, separator, into } => text::split(schema, field, separator, into),
        TransformOp::Merge { fields, separator, into } => text::merge(schema, fields, separator, into),
        TransformOp::Trim { fields } => text::trim(schema, fields),
        TransformOp::FillNull { field, value } => fill::fill_null(schema, field, value),
        TransformOp::ParseJson { field, path, into, r#type } => json::build(schema, field, path, into, *r#type),
        // A transform is divided at its lookups; see `lookup.rs`.
        TransformOp::Lookup { .. } => Err("it works on no single batch".to_owned()),
    }
}

/// An op as configs name it.
pub fn name_of(op: &TransformOp) -> &'static str {
    match op {
        TransformOp::Cast { .. } => "cast",
        TransformOp::Expression { .. } => "expression",
        TransformOp::Rename { .. } => "rename",
        TransformOp::Drop { .. } => "drop",
        TransformOp::Select { .. } => "select",
        TransformOp::AddField { .. } => "add_field",
        TransformOp::Hash { .. } => "hash",
        TransformOp::MaskPii { .. } => "mask_pii",
        TransformOp::MapValues { .. } => "map_values",
        TransformOp::Split { .. } => "split",
        TransformOp::Merge { .. } => "merge",
        TransformOp::Trim { .. } => "trim",
        TransformOp::FillNull { .. } => "fill_null",
        TransformOp::ParseJson { .. } => "parse_json",
        TransformOp::Lookup { .. } => "lookup",
    }
}

/// A value of a config as one of `data_type`.
///
/// # Errors
/// A sentence, where it is no value of the type.
pub fn constant(value: &Value, data_type: &DataType) -> Result<ScalarValue, String> {
    let data_type = match data_type {
        DataType::Dictionary(_, value) => value.as_ref(),
        other => other,
    };
    let plain = if is_text(data_type) { &DataType::Utf8 } else { data_type };
    ScalarValue::try_from_array(&constant::of_type(value, plain)?, 0).map_err(|e| e.strip_backtrace())
}

/// Where in the op its fault is: at the text that `why` names first, or at the op itself.
pub fn place(op: &TransformOp, why: &str) -> String {
    serde_json::to_value(op).ok().and_then(|op| named_first(&op, why)).unwrap_or_default()
}

/// The place and type of a column that users see.
///
/// # Errors
/// A sentence that names the nearest column and those that there are.
fn find(schema: &Schema, name: &str) -> Result<(usize, DataType), String> {
    match schema.index_of(name) {
        Ok(index) if name != ROW_COLUMN => Ok((index, schema.field(index).data_type().clone())),
        _ => Err(missing(name, schema.fields().iter().map(|f| f.name().as_str()))),
    }
}

/// A value that an op cannot work on.
struct Misfit {
    row: usize,
    column: String,
    value: Option<String>,
    reason: String,
}

/// What an op computes: new values for some columns.
trait Compute: fmt::Debug + Send + Sync {
    /// The values, one array for each column that is computed; null where a row has a misfit.
    fn compute(&self, batch: &RecordBatch, misfits: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError>;
}

/// An op that computes columns and leaves the others as they are.
#[derive(Debug)]
struct Computed<C> {
    compute: C,
    /// Where each computed column goes; the place behind the last one appends it.
    places: Vec<usize>,
    schema: SchemaRef,
    on_misfit: OnCastError,
}

impl<C: Compute + 'static> Computed<C> {
    /// `compute` gives `columns` to batches of `schema`: in place where there is one of the name, else as a new one.
    fn boxed(schema: &Schema, columns: Vec<(&str, DataType)>, compute: C) -> Result<Box<dyn Op>, String> {
        Self::with_policy(schema, columns, compute, OnCastError::Reject)
    }

    fn with_policy(
        schema: &Schema,
        columns: Vec<(&str, DataType)>,
        compute: C,
        on_misfit: OnCastError,
    ) -> Result<Box<dyn Op>, String> {
        let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
        let mut places = Vec::with_capacity(columns.len());
        for (name, data_type) in columns {
            may_be_named(name)?;
            let field = Arc::new(Field::new(name, data_type, true));
            match fields.iter().position(|f| f.name() == name) {
                Some(place) if places.contains(&place) => return Err(format!("two results would be named {name:?}")),
                Some(place) => {
                    places.push(place);
                    if let Some(old) = fields.get_mut(place) {
                        *old = field;
                    }
                }
                None => {
                    places.push(fields.len());
                    fields.push(field);
                }
            }
        }
        Ok(Box::new(Self { compute, places, schema: Arc::new(Schema::new(fields)), on_misfit }))
    }
}

impl<C: Compute> Op for Computed<C> {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn apply(&self, batch: &RecordBatch, ledger: &Ledger) -> Result<RecordBatch, RunError> {
        let mut misfits = Vec::new();
        let computed = self.compute.compute(batch, &mut misfits)?;
        let mut columns = batch.columns().to_vec();
        for (place, values) in self.places.iter().zip(computed) {
            match columns.get_mut(*place) {
                Some(old) => *old = values,
                None => columns.push(values),
            }
        }
        let out = record_batch(&self.schema, columns, batch.num_rows())?;
        if misfits.is_empty() || self.on_misfit == OnCastError::Null {
            return Ok(out);
        }
        let mut keep = vec![true; batch.num_rows()];
        for misfit in &misfits {
            if self.on_misfit == OnCastError::Fail {
                let place = ledger.place(batch, misfit.row).map(|place| format!("{place}, ")).unwrap_or_default();
                let message = format!("{place}column {:?}: {} (onError is fail)", misfit.column, misfit.reason);
                return Err(RunError::new(Kind::Data, message));
            }
            // A row is rejected once, for the first thing that is wrong with it.
            if let Some(kept) = keep.get_mut(misfit.row).filter(|kept| **kept) {
                *kept = false;
                ledger.reject(batch, misfit.row, &misfit.column, misfit.value.as_deref(), &misfit.reason)?;
            }
        }
        filter_record_batch(&out, &BooleanArray::from(keep)).map_err(broken)
    }
}

/// A batch of `rows` rows, also where it has no columns.
fn record_batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, RunError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(broken)
}

/// An error of Arrow's that no value can be the reason for.
fn broken(error: ArrowError) -> RunError {
    RunError::new(Kind::Internal, format!("the columns of a batch do not go together: {error}"))
}

/// The column at a place that was looked up when the op was built.
fn column(batch: &RecordBatch, place: usize) -> Result<&ArrayRef, RunError> {
    batch.columns().get(place).ok_or_else(|| RunError::new(Kind::Internal, "a batch lacks a column"))
}

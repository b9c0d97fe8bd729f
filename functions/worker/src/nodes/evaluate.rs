//! Evaluates an expression over a batch so that a row on which it fails (division by zero, overflow) is found and
//! rejected, and the other rows are not lost with it.

use crate::engine::expressions::{Compiled, in_short};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{ArrayRef, RecordBatch, new_empty_array, new_null_array};
use datafusion::arrow::compute::concat;
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

use super::ledger::text_at;

/// A row on which an expression failed.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed {
    pub row: usize,
    pub reason: String,
}

/// The values of `expr`, null where it failed, and the rows on which it failed.
///
/// # Errors
/// Where it is not the row's fault.
pub fn evaluate(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<(ArrayRef, Vec<Failed>), RunError> {
    evaluate_within(expr, batch, usize::MAX)
}

/// The same, of values that take `most_bytes` at most.
///
/// # Errors
/// As [`evaluate`]; `Kind::Resources` where they take more.
pub fn evaluate_within(
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    most_bytes: usize,
) -> Result<(ArrayRef, Vec<Failed>), RunError> {
    let mut failed = Vec::new();
    let mut parts = Parts { most_bytes, bytes: 0, values: Vec::new() };
    part(expr, batch, 0, &mut parts, &mut failed)?;
    let parts = parts.values;
    let values = match parts.as_slice() {
        [] => new_empty_array(&expr.data_type(&batch.schema())?),
        [only] => only.clone(),
        several => {
            let several: Vec<_> = several.iter().map(AsRef::as_ref).collect();
            concat(&several).map_err(DataFusionError::from)?
        }
    };
    Ok((values, failed))
}

/// The values of a batch, in the order of its rows.
struct Parts {
    most_bytes: usize,
    bytes: usize,
    values: Vec<ArrayRef>,
}

impl Parts {
    fn push(&mut self, values: ArrayRef) -> Result<(), RunError> {
        self.bytes = self.bytes.saturating_add(values.get_array_memory_size());
        self.values.push(values);
        if self.bytes > self.most_bytes { Err(too_large(self.most_bytes)) } else { Ok(()) }
    }
}

/// The rows of one batch have outgrown what they may.
pub fn too_large(most_bytes: usize) -> RunError {
    let message = format!(
        "what is made of the rows of one batch takes more than {} MiB; make shorter texts of them, or take fewer rows at \
         once (batchSize and parallelism in executionConfig)",
        most_bytes >> 20
    );
    RunError::new(Kind::Resources, message)
}

/// Evaluates `batch`, whose first row is number `first`; where that fails, its halves.
fn part(
    expr: &Arc<dyn PhysicalExpr>,
    batch: &RecordBatch,
    first: usize,
    parts: &mut Parts,
    failed: &mut Vec<Failed>,
) -> Result<(), RunError> {
    let rows = batch.num_rows();
    if rows == 0 {
        return Ok(());
    }
    match expr.evaluate(batch).and_then(|value| value.into_array(rows)) {
        Ok(values) => parts.push(values)?,
        Err(error) if !is_of_the_row(&error) => return Err(error.into()),
        Err(error) if rows == 1 => {
            failed.push(Failed { row: first, reason: in_short(&error) });
            parts.push(new_null_array(&expr.data_type(&batch.schema())?, 1))?;
        }
        Err(_) => {
            let half = rows / 2;
            part(expr, &batch.slice(0, half), first, parts, failed)?;
            part(expr, &batch.slice(half, rows - half), first + half, parts, failed)?;
        }
    }
    Ok(())
}

/// Whether values can be the reason for an error, rather than the worker.
fn is_of_the_row(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ArrowError(e, _) => !matches!(**e, ArrowError::MemoryError(_) | ArrowError::IoError(..)),
        DataFusionError::Execution(_) | DataFusionError::External(_) => true,
        _ => false,
    }
}

/// What an expression saw in row `row`: the name of its column, or of the columns, and their values.
pub fn seen(compiled: &Compiled, batch: &RecordBatch, row: usize) -> (String, Option<String>) {
    let value = |name: &String| batch.column_by_name(name).and_then(|column| text_at(column, row));
    match compiled.columns() {
        [only] => (only.clone(), value(only)),
        several => {
            let values: Vec<_> =
                several.iter().map(|name| format!("{name} = {}", value(name).as_deref().unwrap_or("null"))).collect();
            (several.join(", "), (!values.is_empty()).then(|| values.join(", ")))
        }
    }
}

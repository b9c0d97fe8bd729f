//! Sets a field to the value of an SQL expression.

use super::{Compute, Computed, Misfit, Op, broken};
use crate::engine::expressions::{Compiled, Expressions};
use crate::error::RunError;
use crate::nodes::evaluate::{evaluate_within, seen};
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use std::sync::Arc;

#[derive(Debug)]
struct Expression {
    compiled: Compiled,
    bound: Arc<dyn PhysicalExpr>,
    data_type: DataType,
    /// The most bytes that the values of a batch may take.
    most_bytes: usize,
}

pub(super) fn build(
    schema: &SchemaRef,
    field: &str,
    expr: &str,
    expressions: &Expressions,
) -> Result<Box<dyn Op>, String> {
    let at = |why: String| format!("expr {expr:?}: {why}");
    let columns = DFSchema::try_from(schema.clone()).map_err(|e| e.strip_backtrace())?;
    let compiled = expressions.compile(expr, &columns).map_err(at)?;
    let bound = expressions.bind(&compiled, &columns).map_err(|e| at(e.strip_backtrace()))?;
    let data_type = plain(compiled.data_type());
    let compute = Expression { compiled, bound, data_type: data_type.clone(), most_bytes: expressions.most_bytes() };
    Computed::boxed(schema, vec![(field, data_type)], compute)
}

/// The type that a column of an expression's values has.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, value) => plain(value),
        other => other.clone(),
    }
}

impl Compute for Expression {
    fn compute(&self, batch: &RecordBatch, misfits: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let (values, failed) = evaluate_within(&self.bound, batch, self.most_bytes)?;
        for failure in failed {
            let (column, value) = seen(&self.compiled, batch, failure.row);
            let reason = format!("the expression fails on this row: {}", failure.reason);
            misfits.push(Misfit { row: failure.row, column, value, reason });
        }
        let values = if *values.data_type() == self.data_type {
            values
        } else {
            cast(&values, &self.data_type).map_err(broken)?
        };
        Ok(vec![values])
    }
}

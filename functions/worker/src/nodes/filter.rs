//! Filter: keeps the rows for which a condition is true.

use super::evaluate::{evaluate, seen};
use super::ledger::Ledger;
use super::rows::{RowExec, RowWork};
use super::step::Step;
use crate::engine::expressions::{Compiled, Expressions};
use crate::engine::graph::GraphNode;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{filter_record_batch, prep_null_mask_filter};
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use shared::models::node::FilterConfig;
use std::sync::Arc;

use super::columns::type_name;

/// Plans a filter over `input`.
///
/// # Errors
/// `Kind::Definition` where the condition is not a boolean expression over the columns of `input`.
pub fn plan(
    node: &GraphNode,
    config: &FilterConfig,
    input: LogicalPlan,
    expressions: &Arc<Expressions>,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let condition = condition(node, "condition", &config.condition, input.schema(), expressions);
    let condition = condition.map_err(|fault| fault.within("/config/condition"))?;
    let step = Filter { condition, expressions: expressions.clone(), ledger };
    Ok(super::step::follow(input, Arc::new(step)))
}

/// Compiles a condition of a node; `what` says which one it is.
///
/// # Errors
/// `Kind::Definition` where it is not a boolean expression over the columns of `schema`.
pub fn condition(
    node: &GraphNode,
    what: &str,
    text: &str,
    schema: &DFSchema,
    expressions: &Expressions,
) -> Result<Compiled, RunError> {
    let condition = expressions.compile(text, schema).map_err(|why| node.fault(format!("{what} {text:?}: {why}")))?;
    if !matches!(condition.data_type(), DataType::Boolean | DataType::Null) {
        return Err(node.fault(format!(
            "{what} {text:?} is of type {}; a condition must be true or false, such as amount > 0",
            type_name(condition.data_type())
        )));
    }
    Ok(condition)
}

#[derive(Debug)]
struct Filter {
    condition: Compiled,
    expressions: Arc<Expressions>,
    ledger: Ledger,
}

impl Step for Filter {
    fn name(&self) -> &'static str {
        "Filter"
    }
    fn reads(&self) -> Option<Vec<String>> {
        self.ledger.reads(self.condition.columns().to_vec())
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = DFSchema::try_from(input.schema())?;
        let bound = self.expressions.bind(&self.condition, &schema)?;
        let work = Arc::new(Bound { condition: self.condition.clone(), bound });
        Ok(Arc::new(RowExec::new("FilterRows", input, work, self.ledger.clone(), None)))
    }
}

#[derive(Debug)]
struct Bound {
    condition: Compiled,
    bound: Arc<dyn PhysicalExpr>,
}

impl RowWork for Bound {
    fn apply(&self, batch: RecordBatch, ledger: &Ledger) -> Result<RecordBatch, RunError> {
        let (values, failed) = evaluate(&self.bound, &batch)?;
        for failure in &failed {
            let (column, value) = seen(&self.condition, &batch, failure.row);
            let reason = format!("the condition fails on this row: {}", failure.reason);
            ledger.reject(&batch, failure.row, &column, value.as_deref(), &reason)?;
        }
        let mask = match values.as_boolean_opt() {
            Some(values) if values.null_count() > 0 => prep_null_mask_filter(values),
            Some(values) => values.clone(),
            None => BooleanArray::from(vec![false; batch.num_rows()]),
        };
        let kept = filter_record_batch(&batch, &mask)
            .map_err(|e| RunError::new(Kind::Internal, format!("a batch cannot be filtered: {e}")))?;
        ledger.filtered(batch.num_rows() - kept.num_rows() - failed.len());
        Ok(kept)
    }
}

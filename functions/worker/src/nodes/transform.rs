//! Transform: changes rows by ops, one after the other.

use super::ledger::Ledger;
use super::ops::{self, Op};
use super::rows::{RowExec, RowWork};
use super::step::{Step, follow};
use crate::engine::expressions::Expressions;
use crate::engine::graph::GraphNode;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use shared::models::node::TransformConfig;
use std::sync::Arc;

/// Plans the ops over `input`.
///
/// # Errors
/// `Kind::Definition` that names the op, where it does not fit the columns that come to it.
pub fn plan(
    node: &GraphNode,
    config: &TransformConfig,
    input: LogicalPlan,
    expressions: &Expressions,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let before = Arc::new(input.schema().as_arrow().clone());
    let mut schema = before.clone();
    let mut built: Vec<Box<dyn Op>> = Vec::with_capacity(config.ops.len());
    for (index, op) in config.ops.iter().enumerate() {
        let fault = |why: String| node.fault(format!("op {} ({}): {why}", index + 1, ops::name_of(op)));
        let op = ops::build(op, &schema, expressions).map_err(fault)?;
        schema = op.schema().clone();
        built.push(op);
    }
    let after = Arc::new(DFSchema::try_from(schema)?);
    Ok(follow(input, Arc::new(Transform { before, after, work: Arc::new(Work { ops: built }), ledger })))
}

#[derive(Debug)]
struct Transform {
    before: SchemaRef,
    after: DFSchemaRef,
    work: Arc<Work>,
    ledger: Ledger,
}

impl Step for Transform {
    fn name(&self) -> &'static str {
        "Transform"
    }
    fn schema(&self) -> Option<&DFSchemaRef> {
        Some(&self.after)
    }
    fn reads(&self) -> Option<Vec<String>> {
        None
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        if !same_columns(&self.before, &input.schema()) {
            return internal_err!("a transform was compiled for other columns than it gets");
        }
        let schema = Arc::new(self.after.as_arrow().clone());
        Ok(Arc::new(RowExec::new("TransformRows", input, self.work.clone(), self.ledger.clone(), Some(schema))))
    }
}

fn same_columns(one: &Schema, other: &Schema) -> bool {
    one.fields().len() == other.fields().len()
        && one.fields().iter().zip(other.fields()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}

#[derive(Debug)]
struct Work {
    ops: Vec<Box<dyn Op>>,
}

impl RowWork for Work {
    fn apply(&self, mut batch: RecordBatch, ledger: &Ledger) -> Result<RecordBatch, RunError> {
        for op in &self.ops {
            batch = op.apply(&batch, ledger).map_err(|e| {
                if e.kind == Kind::Internal { RunError::new(Kind::Internal, format!("{op:?}: {e}")) } else { e }
            })?;
        }
        Ok(batch)
    }
}

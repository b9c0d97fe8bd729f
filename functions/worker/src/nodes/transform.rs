//! Transform: changes rows by ops, one after the other.

use super::columns::{is_unknown, names_any};
use super::evaluate::too_large;
use super::ledger::Ledger;
use super::lookup::{self, Lookup};
use super::ops::{self, Op, guess};
use super::rows::{RowExec, RowWork};
use super::step::{Step, follow};
use super::tap::{Count, Tap};
use crate::engine::expressions::{Expressions, is_missing};
use crate::engine::graph::{GraphNode, all_of};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use shared::models::node::{TransformConfig, TransformOp};
use std::sync::Arc;

/// The rows that a lookup reads, by the place of its op, and about how many bytes of files they are.
pub type Lookups<'a> = &'a dyn Fn(usize) -> Result<(LogicalPlan, Option<u64>), RunError>;

/// Plans the ops over `input`, which is made of about `bytes`. The node is divided at its lookups.
///
/// # Errors
/// `Kind::Definition` for each op that does not fit the columns that come to it.
pub fn plan(
    node: &GraphNode,
    config: &TransformConfig,
    input: (LogicalPlan, Option<u64>),
    expressions: &Expressions,
    ledger: Ledger,
    lookups: Lookups<'_>,
) -> Result<LogicalPlan, RunError> {
    let (mut plan, bytes) = input;
    let divided = config.ops.iter().any(|op| matches!(op, TransformOp::Lookup { .. }));
    if divided {
        plan = follow(plan, Arc::new(Tap::new(Count::In, ledger.clone())));
    }
    let part_ledger = if divided { ledger.within() } else { ledger.clone() };
    let within = (&part_ledger, expressions.most_bytes());
    let mut schema = Arc::new(plan.schema().as_arrow().clone());
    let mut built: Vec<Box<dyn Op>> = Vec::with_capacity(config.ops.len());
    let mut faults = Vec::new();
    for (index, op) in config.ops.iter().enumerate() {
        let what = format!("op {} ({})", index + 1, ops::name_of(op));
        let unless_it_follows = |why: &str, schema: &Schema| {
            let unknown = schema.fields().iter().filter(|f| is_unknown(f)).map(|f| f.name().as_str());
            is_missing(why) || !names_any(why, unknown)
        };
        match op {
            // Behind a faulty op there is no plan to join anything to.
            TransformOp::Lookup { .. } if !faults.is_empty() => schema = guess::columns(op, &schema),
            TransformOp::Lookup { on, select, .. } => {
                plan = part(plan, &schema, std::mem::take(&mut built), within)?;
                let looked = lookups(index).and_then(|table| {
                    lookup::plan(node, &what, Lookup { on, select, table }, plan.clone(), bytes, &ledger)
                });
                match looked {
                    Ok(looked) => {
                        plan = looked;
                        schema = Arc::new(plan.schema().as_arrow().clone());
                    }
                    Err(fault) => {
                        faults.push(fault);
                        schema = guess::columns(op, &schema);
                    }
                }
            }
            _ => match ops::build(op, &schema, expressions) {
                Ok(op) => {
                    schema = op.schema().clone();
                    built.push(op);
                }
                Err(why) => {
                    if unless_it_follows(&why, &schema) {
                        let place = format!("/ops/{index}{}", ops::place(op, &why));
                        faults.push(node.fault_in(place, format!("{what}: {why}")));
                    }
                    schema = guess::columns(op, &schema);
                }
            },
        }
    }
    all_of(faults)?;
    plan = part(plan, &schema, built, within)?;
    Ok(if divided { follow(plan, Arc::new(Tap::new(Count::Out, ledger))) } else { plan })
}

/// The columns behind the ops over those of `before`, also where some of them are faulty.
pub fn columns(config: &TransformConfig, before: &SchemaRef, expressions: &Expressions) -> SchemaRef {
    config.ops.iter().fold(before.clone(), |schema, op| match op {
        TransformOp::Lookup { .. } => guess::columns(op, &schema),
        _ => {
            ops::build(op, &schema, expressions).map_or_else(|_| guess::columns(op, &schema), |op| op.schema().clone())
        }
    })
}

/// `input` followed by ops that give the columns of `after`.
fn part(
    input: LogicalPlan,
    after: &SchemaRef,
    ops: Vec<Box<dyn Op>>,
    (ledger, most_bytes): (&Ledger, usize),
) -> Result<LogicalPlan, RunError> {
    if ops.is_empty() {
        return Ok(input);
    }
    let before = Arc::new(input.schema().as_arrow().clone());
    let after = Arc::new(DFSchema::try_from(after.clone())?);
    Ok(follow(
        input,
        Arc::new(Transform { before, after, work: Arc::new(Work { ops, most_bytes }), ledger: ledger.clone() }),
    ))
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
    /// The most bytes that the rows of a batch may grow to.
    most_bytes: usize,
}

impl RowWork for Work {
    fn apply(&self, mut batch: RecordBatch, ledger: &Ledger) -> Result<RecordBatch, RunError> {
        let before = batch.get_array_memory_size().saturating_mul(2);
        for op in &self.ops {
            batch = op.apply(&batch, ledger).map_err(|e| {
                if e.kind == Kind::Internal { RunError::new(Kind::Internal, format!("{op:?}: {e}")) } else { e }
            })?;
            // A batch that came so large is not the ops' doing.
            if batch.get_array_memory_size() > self.most_bytes.max(before) {
                return Err(too_large(self.most_bytes));
            }
        }
        Ok(batch)
    }
}

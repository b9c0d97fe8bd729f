//! Branch: sends each row on over the first route whose condition is true.
//!
//! The node is planned once for each edge that leaves it, and each copy gives the rows of its edge's route; the one
//! that counts counts those of all routes.

use super::evaluate::{evaluate, seen};
use super::filter::condition;
use super::ledger::Ledger;
use super::rows::{RowExec, RowWork};
use super::step::{Step, follow};
use crate::engine::expressions::{Compiled, Expressions};
use crate::engine::graph::{GraphNode, all_of};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use shared::error::nearest;
use shared::models::node::BranchConfig;
use std::sync::Arc;

/// Plans the rows of `input` that go over `route`; those of the first one where none is named, which tells the columns.
///
/// # Errors
/// `Kind::Definition` where a condition is not a boolean expression over the columns of `input`, or there is no such
/// route.
pub fn plan(
    node: &GraphNode,
    config: &BranchConfig,
    route: Option<&str>,
    input: LogicalPlan,
    expressions: &Arc<Expressions>,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let mut labels: Vec<&str> = config.routes.iter().map(|route| route.label.as_str()).collect();
    labels.extend(config.r#else.as_deref());
    let wanted = match route {
        None => 0,
        Some(label) => labels.iter().position(|known| *known == label).ok_or_else(|| {
            let near = nearest(label, labels.iter().copied()).map(|near| format!("; did you mean {near:?}?"));
            node.fault(format!(
                "it has no route {label:?}{}; an edge that leaves it names one",
                near.unwrap_or_default()
            ))
        })?,
    };
    let (mut conditions, mut faults) = (Vec::with_capacity(config.routes.len()), Vec::new());
    for (index, route) in config.routes.iter().enumerate() {
        let what = format!("condition of route {:?}", route.label);
        match condition(node, &what, &route.condition, input.schema(), expressions) {
            Ok(condition) => conditions.push(condition),
            Err(fault) => faults.push(fault.within(format!("/config/routes/{index}/condition"))),
        }
    }
    all_of(faults)?;
    let labels = labels.into_iter().map(str::to_owned).collect();
    let step = Branch { conditions, labels, wanted, expressions: expressions.clone(), ledger };
    Ok(follow(input, Arc::new(step)))
}

#[derive(Debug)]
struct Branch {
    conditions: Vec<Compiled>,
    /// The labels of the conditions; one more is that of `else`.
    labels: Vec<String>,
    /// Which route's rows are given on.
    wanted: usize,
    expressions: Arc<Expressions>,
    ledger: Ledger,
}

impl Step for Branch {
    fn name(&self) -> &'static str {
        "Branch"
    }
    fn reads(&self) -> Option<Vec<String>> {
        self.ledger.reads(self.conditions.iter().flat_map(|condition| condition.columns().iter().cloned()))
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = DFSchema::try_from(input.schema())?;
        let bound = |condition: &Compiled| Ok((condition.clone(), self.expressions.bind(condition, &schema)?));
        let work = Routes {
            conditions: self.conditions.iter().map(bound).collect::<Result<_>>()?,
            labels: self.labels.clone(),
            wanted: self.wanted,
        };
        // What it gives on is one route of several, so it counts by itself.
        let counting = Counting { work, ledger: self.ledger.clone() };
        Ok(Arc::new(RowExec::new("BranchRows", input, Arc::new(counting), self.ledger.silent(), None)))
    }
}

#[derive(Debug)]
struct Routes {
    conditions: Vec<(Compiled, Arc<dyn PhysicalExpr>)>,
    labels: Vec<String>,
    wanted: usize,
}

#[derive(Debug)]
struct Counting {
    work: Routes,
    ledger: Ledger,
}

impl RowWork for Counting {
    fn apply(&self, batch: RecordBatch, _: &Ledger) -> Result<RecordBatch, RunError> {
        let Self { work, ledger } = self;
        let rows = batch.num_rows();
        ledger.rows_in(rows);
        let mut open = vec![true; rows];
        let mut taken = vec![false; rows];
        let mut out = 0;
        for (index, (condition, bound)) in work.conditions.iter().enumerate() {
            let (values, failed) = evaluate(bound, &batch)?;
            let values = values.as_boolean_opt();
            let mut count = 0;
            for (row, open) in open.iter_mut().enumerate().filter(|(_, open)| **open) {
                if values.is_some_and(|values| values.is_valid(row) && values.value(row)) {
                    *open = false;
                    count += 1;
                    mark(&mut taken, row, index == work.wanted);
                }
            }
            // A row that went over an earlier route is not asked any more.
            for failure in failed {
                let Some(open) = open.get_mut(failure.row).filter(|open| **open) else { continue };
                *open = false;
                let (column, value) = seen(condition, &batch, failure.row);
                let label = work.labels.get(index).map(String::as_str).unwrap_or_default();
                let reason = format!("the condition of route {label:?} fails on this row: {}", failure.reason);
                ledger.reject(&batch, failure.row, &column, value.as_deref(), &reason)?;
            }
            out += count;
            ledger.routed(work.labels.get(index).map(String::as_str).unwrap_or_default(), count);
        }
        let left = open.iter().filter(|open| **open).count();
        match work.labels.get(work.conditions.len()) {
            None => ledger.filtered(left),
            Some(otherwise) => {
                ledger.routed(otherwise, left);
                out += left;
                if work.wanted == work.conditions.len() {
                    taken = open;
                }
            }
        }
        ledger.rows_out(out);
        filter_record_batch(&batch, &BooleanArray::from(taken))
            .map_err(|e| RunError::new(Kind::Internal, format!("a batch cannot be divided: {e}")))
    }
}

fn mark(taken: &mut [bool], row: usize, mine: bool) {
    if let Some(taken) = taken.get_mut(row) {
        *taken = mine;
    }
}

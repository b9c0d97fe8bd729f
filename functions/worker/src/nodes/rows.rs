//! The execution plan of steps that look at one batch at a time, such as filter and transform.

use super::ledger::Ledger;
use crate::error::RunError;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use futures::{StreamExt, stream};
use std::fmt;
use std::sync::Arc;

/// What becomes of one batch. It counts and reports what it leaves out; rows in and out are counted for it.
pub trait RowWork: fmt::Debug + Send + Sync {
    /// The batch that comes out.
    ///
    /// # Errors
    /// Where the run must end.
    fn apply(&self, batch: RecordBatch, ledger: &Ledger) -> Result<RecordBatch, RunError>;

    /// The most rows that it takes at once, where a batch may be too many.
    fn at_once(&self) -> Option<usize> {
        None
    }
}

/// The slices of `batch` that have `at_once` rows at most.
fn slices(batch: RecordBatch, at_once: Option<usize>) -> impl Iterator<Item = RecordBatch> {
    let rows = batch.num_rows();
    let step = at_once.unwrap_or(rows).max(1);
    // A batch without rows stays one.
    let starts = (0..rows.max(1)).step_by(step);
    starts.map(move |start| batch.slice(start, step.min(rows - start)))
}

/// Applies a [`RowWork`] to each batch; keeps partitions and the order of rows.
#[derive(Debug)]
pub struct RowExec {
    name: &'static str,
    input: Arc<dyn ExecutionPlan>,
    work: Arc<dyn RowWork>,
    ledger: Ledger,
    /// Given where the columns change.
    schema: Option<SchemaRef>,
    properties: Arc<PlanProperties>,
}

impl RowExec {
    /// `work` over `input`, whose output has `schema`, or the input's where none is given.
    pub fn new(
        name: &'static str,
        input: Arc<dyn ExecutionPlan>,
        work: Arc<dyn RowWork>,
        ledger: Ledger,
        schema: Option<SchemaRef>,
    ) -> Self {
        let (equivalences, partitioning) = match &schema {
            None => (input.equivalence_properties().clone(), input.output_partitioning().clone()),
            Some(schema) => (
                EquivalenceProperties::new(schema.clone()),
                Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            ),
        };
        let properties =
            PlanProperties::new(equivalences, partitioning, input.pipeline_behavior(), input.boundedness());
        Self { name, input, work, ledger, schema, properties: Arc::new(properties) }
    }
}

impl DisplayAs for RowExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl ExecutionPlan for RowExec {
    fn name(&self) -> &str {
        self.name
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        // Where the columns change, a sort below by the columns above would sort by other values, or by none.
        vec![self.schema.is_none()]
    }
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return internal_err!("{} has one input", self.name);
        };
        Ok(Arc::new(Self::new(self.name, input, self.work.clone(), self.ledger.clone(), self.schema.clone())))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (work, ledger) = (self.work.clone(), self.ledger.clone());
        let input = self.input.execute(partition, context)?;
        let at_once = work.at_once();
        let pieces = input.flat_map(move |batch| {
            let (whole, failed) = match batch {
                Ok(batch) => (Some(batch), None),
                Err(e) => (None, Some(Err(e))),
            };
            let pieces = whole.into_iter().flat_map(move |batch| slices(batch, at_once)).map(Ok);
            stream::iter(pieces.chain(failed))
        });
        let stream = pieces.map(move |batch: Result<RecordBatch>| {
            let batch = batch?;
            ledger.rows_in(batch.num_rows());
            let batch = work.apply(batch, &ledger).map_err(|e| ledger.at(e))?;
            ledger.rows_out(batch.num_rows());
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}

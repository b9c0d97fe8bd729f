//! Counts what window functions hold: DataFusion's operator for those that look at rows behind their own keeps all rows
//! that come to it, and asks nobody for the memory.

use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::StreamExt;
use shared::config::names::MEMORY_MIB;
use std::fmt;
use std::sync::Arc;

/// How often the operator has each row: as it came, and put together with all others.
const COPIES: usize = 2;

/// The same plan, in which what comes to such window functions is reserved in the run's memory.
///
/// # Errors
/// Where the plan does not hold together.
pub fn counted(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|plan| {
        if plan.downcast_ref::<WindowAggExec>().is_none() {
            return Ok(Transformed::no(plan));
        }
        let held =
            |input: &Arc<dyn ExecutionPlan>| Arc::new(HeldExec { input: input.clone() }) as Arc<dyn ExecutionPlan>;
        let inputs = plan.children().into_iter().map(held).collect();
        let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        Ok(Transformed::yes(plan.replace_children(inputs, same)?))
    })
    .data()
}

/// Hands its input through and keeps the memory of all of it reserved until nobody reads from it any more.
#[derive(Debug)]
struct HeldExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for HeldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("HeldExec")
    }
}

impl ExecutionPlan for HeldExec {
    fn name(&self) -> &str {
        "HeldExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return internal_err!("what a window holds has one input");
        };
        Ok(Arc::new(Self { input }))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reservation = MemoryConsumer::new("window functions").register(context.memory_pool());
        let rows = self.input.execute(partition, context)?;
        let held = rows.map(move |batch| {
            let batch = batch?;
            hold(&reservation, &batch)?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), held)))
    }
}

fn hold(reservation: &MemoryReservation, batch: &RecordBatch) -> Result<(), RunError> {
    let size = |column: &dyn Array| column.to_data().get_slice_memory_size().unwrap_or_default();
    let bytes: usize = batch.columns().iter().map(|column| size(column.as_ref())).sum();
    reservation.try_grow(bytes * COPIES).map_err(|_| {
        let message = format!(
            "a window function of a query holds all rows that come to it, and the worker's memory has no room for more than the \
             {} MiB that it holds by now; let the query take fewer rows and columns, let the window's frame end at the \
             current row (ORDER BY … ROWS UNBOUNDED PRECEDING), or give the worker more memory ({MEMORY_MIB}, or \
             flowgate serve --memory)",
            reservation.size() >> 20
        );
        RunError::new(Kind::Resources, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{ArrayRef, Int64Array};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    #[test]
    fn where_there_is_no_room_it_is_told_how_to_give_more() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1));
        let reservation = MemoryConsumer::new("window functions").register(&pool);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let fault = hold(&reservation, &batch).unwrap_err();
        assert!(fault.message.contains("FLOWGATE_MEMORY_MIB"), "{fault}");
    }
}

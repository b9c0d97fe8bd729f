//! Divides the rows of a source among partitions, where DataFusion's optimizer would not.

use super::range;
use super::step::Step;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties};
use std::fmt;
use std::sync::Arc;

/// How rows are divided.
#[derive(Debug, Clone)]
pub enum Divide {
    /// Batch by batch among so many partitions, where the input has fewer.
    AtLeast(usize),
    /// Batch by batch among so many partitions, where the input has more.
    AtMost(usize),
    /// Rows that are equal in the columns go into one partition of so many.
    Hash(Vec<String>, usize),
    /// Rows whose values of the column lie in one of so many ranges go into one partition.
    Range(String, usize),
}

impl Step for Divide {
    fn name(&self) -> &'static str {
        "Divide"
    }
    fn reads(&self) -> Option<Vec<String>> {
        match self {
            Self::Hash(columns, _) => Some(columns.clone()),
            Self::Range(column, _) => Some(vec![column.clone()]),
            Self::AtLeast(_) | Self::AtMost(_) => Some(Vec::new()),
        }
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let now = input.output_partitioning().partition_count();
        let partitioning = match self {
            Self::AtLeast(count) if now >= *count => return Ok(input),
            Self::AtMost(count) if now <= *count => return Ok(input),
            Self::Range(column, count) => return range::plan(input, column, *count),
            Self::AtLeast(count) | Self::AtMost(count) => Partitioning::RoundRobinBatch(*count),
            Self::Hash(columns, count) => {
                let columns = columns
                    .iter()
                    .map(|name| Ok(Arc::new(Column::new_with_schema(name, &input.schema())?) as Arc<dyn PhysicalExpr>))
                    .collect::<Result<Vec<_>>>()?;
                Partitioning::Hash(columns, *count)
            }
        };
        Ok(Arc::new(DivideExec::new(input, partitioning)?))
    }
}

/// A [`RepartitionExec`] that the optimizer does not take for one of its own and remove.
#[derive(Debug)]
struct DivideExec {
    input: Arc<dyn ExecutionPlan>,
    partitioning: Partitioning,
    inner: Arc<RepartitionExec>,
    properties: Arc<PlanProperties>,
}

impl DivideExec {
    fn new(input: Arc<dyn ExecutionPlan>, partitioning: Partitioning) -> Result<Self> {
        let inner = Arc::new(RepartitionExec::try_new(input.clone(), partitioning.clone())?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            partitioning.clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self { input, partitioning, inner, properties: Arc::new(properties) })
    }
}

impl DisplayAs for DivideExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "DivideExec: {}", self.partitioning)
    }
}

impl ExecutionPlan for DivideExec {
    fn name(&self) -> &str {
        "DivideExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        match children.pop().filter(|_| children.is_empty()) {
            Some(input) => Ok(Arc::new(Self::new(input, self.partitioning.clone())?)),
            None => internal_err!("a division has one input"),
        }
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.inner.execute(partition, context)
    }
}

//! The first rows of an order, behind a sort that can spill. DataFusion knows no limit in it, which it would push into the
//! sort: that holds all rows of its limit in memory.

use super::step::Step;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{LexOrdering, OrderingRequirements, Partitioning, PhysicalExpr};
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use std::fmt;
use std::sync::Arc;

/// Hands so many rows through, in the order in which the input is planned to give them.
#[derive(Debug)]
pub struct First(pub usize);

impl Step for First {
    fn name(&self) -> &'static str {
        "First"
    }
    fn reads(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let ordering = input.output_ordering().cloned();
        Ok(Arc::new(FirstExec::new(input, self.0, ordering)))
    }
}

#[derive(Debug)]
struct FirstExec {
    input: Arc<dyn ExecutionPlan>,
    rows: usize,
    ordering: Option<LexOrdering>,
    properties: Arc<PlanProperties>,
}

impl FirstExec {
    fn new(input: Arc<dyn ExecutionPlan>, rows: usize, ordering: Option<LexOrdering>) -> Self {
        let properties = PlanProperties::new(
            input.equivalence_properties().clone(),
            Partitioning::UnknownPartitioning(1),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, rows, ordering, properties: Arc::new(properties) }
    }
}

impl DisplayAs for FirstExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "FirstExec: {} rows", self.rows)
    }
}

impl ExecutionPlan for FirstExec {
    fn name(&self) -> &str {
        "FirstExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        // It does, but a sort that others ask for, put below it, would make other rows the first.
        vec![false]
    }
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }
    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
    }
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.ordering.clone().map(OrderingRequirements::from)]
    }
    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop().filter(|_| children.is_empty()) {
            Some(input) => Ok(Arc::new(Self::new(input, self.rows, self.ordering.clone()))),
            None => internal_err!("the first rows have one input"),
        }
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        GlobalLimitExec::new(self.input.clone(), 0, Some(self.rows)).execute(partition, context)
    }
}

//! A step of Flowgate's among DataFusion's: a logical node that the optimizer neither moves nor pushes anything
//! through, and the planner that turns it into an execution plan.

use super::windows;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, FunctionalDependencies, Result, plan_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, Extension, Filter, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What a step does, before there is an execution plan of it.
pub trait Step: fmt::Debug + Send + Sync {
    /// Its name in a plan.
    fn name(&self) -> &'static str;

    /// The schema of its output where that is not its input's.
    fn schema(&self) -> Option<&DFSchemaRef> {
        None
    }

    /// The names of the input columns that it reads itself while it hands through whatever else there is; `None`
    /// where it wants its input as it was when it was compiled.
    fn reads(&self) -> Option<Vec<String>>;

    /// The execution plan over `input`.
    ///
    /// # Errors
    /// Where `input` does not have the columns that it was compiled for.
    fn plan(&self, input: Arc<dyn ExecutionPlan>, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>>;
}

/// `input` followed by `step`.
pub fn follow(input: LogicalPlan, step: Arc<dyn Step>) -> LogicalPlan {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let schema = without_keys(step.schema().unwrap_or_else(|| input.schema()));
    let node = StepNode { id: NEXT.fetch_add(1, Relaxed), input, schema, step, behind: Vec::new() };
    LogicalPlan::Extension(Extension { node: Arc::new(node) })
}

/// The schema without what is known of its keys, by which the optimizer takes whole inputs out of joins: their rows would
/// not be counted.
fn without_keys(schema: &DFSchemaRef) -> DFSchemaRef {
    let none = FunctionalDependencies::empty();
    if *schema.functional_dependencies() == none {
        return schema.clone();
    }
    match schema.as_ref().clone().with_functional_dependencies(none) {
        Ok(plain) => Arc::new(plain),
        Err(_) => schema.clone(),
    }
}

/// A [`Step`] in a logical plan. Two of them are equal only where they are the same one.
#[derive(Debug)]
struct StepNode {
    id: usize,
    input: LogicalPlan,
    schema: DFSchemaRef,
    step: Arc<dyn Step>,
    /// Conditions of what comes behind the step, which are of no column. The optimizer pushes only these through, such as
    /// the `false` that it makes of `a = 1 AND a = 2`; below the step they would keep it from seeing its rows.
    behind: Vec<Expr>,
}

impl StepNode {
    /// The input and conditions with those of no column that were put between this step and its input taken out.
    fn pulled(&self, input: LogicalPlan, mut behind: Vec<Expr>) -> (LogicalPlan, Vec<Expr>) {
        match input {
            LogicalPlan::Filter(Filter { predicate, input, .. })
                if predicate.column_refs().is_empty() && *input == self.input =>
            {
                behind.push(predicate);
                (Arc::unwrap_or_clone(input), behind)
            }
            other => (other, behind),
        }
    }
}

impl PartialEq for StepNode {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.behind == other.behind && self.input == other.input
    }
}
impl Eq for StepNode {}
impl PartialOrd for StepNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.id.cmp(&other.id) {
            Ordering::Equal => self.input.partial_cmp(&other.input),
            unequal => Some(unequal),
        }
    }
}
impl Hash for StepNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for StepNode {
    fn name(&self) -> &str {
        self.step.name()
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        self.behind.clone()
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.step.name())
    }
    fn with_exprs_and_inputs(&self, behind: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Some(input) = inputs.pop().filter(|_| inputs.is_empty()) else {
            return plan_err!("{} has one input", self.step.name());
        };
        let (input, behind) = self.pulled(input, behind);
        let schema = without_keys(self.step.schema().unwrap_or_else(|| input.schema()));
        Ok(Self { id: self.id, input, schema, step: self.step.clone(), behind })
    }
    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        let reads = self.step.reads()?;
        let schema: &DFSchema = self.input.schema();
        let mut columns = output.to_vec();
        columns.extend(reads.iter().filter_map(|name| schema.index_of_column_by_name(None, name)));
        columns.sort_unstable();
        columns.dedup();
        Some(vec![columns])
    }
}

/// Plans a logical plan that has [`Step`]s in it.
#[derive(Debug)]
pub struct StepQueryPlanner;

#[async_trait]
impl QueryPlanner for StepQueryPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(StepPlanner)]);
        windows::counted(planner.create_physical_plan(plan, session).await?)
    }
}

struct StepPlanner;

#[async_trait]
impl ExtensionPlanner for StepPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<StepNode>(), inputs) else { return Ok(None) };
        let plan = node.step.plan(input.clone(), session)?;
        let Some(condition) = conjunction(node.behind.iter().cloned()) else { return Ok(Some(plan)) };
        let condition = planner.create_physical_expr(&condition, &node.schema, session, context)?;
        Ok(Some(Arc::new(FilterExec::try_new(condition, plan)?)))
    }
}

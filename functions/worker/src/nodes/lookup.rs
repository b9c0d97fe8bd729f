//! Lookup: adds fields of the one row of a table or file that has the same keys. A left join whose right side has each
//! key once, so that no row is lost or doubled.

use super::columns::{column, has_rows, may_be_named, one_zero_key, require, type_name, visible};
use super::deduplicate::can_be_key;
use super::join::{self, check_key};
use super::ledger::{Ledger, text_at};
use super::step::{Step, follow};
use super::tap::{Count, Tap};
use crate::engine::graph::GraphNode;
use crate::engine::progress::ROW_COLUMN;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column as Name, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, JoinType, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use futures::StreamExt;
use shared::models::node::JoinKey;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// What is looked up.
pub struct Lookup<'a> {
    pub on: &'a [JoinKey],
    /// The fields that are added.
    pub select: &'a [String],
    /// What is read, and about how many bytes of files it is.
    pub table: (LogicalPlan, Option<u64>),
}

/// Plans a lookup for the rows of `input`, which is made of about `bytes`. `what` names the op in messages.
///
/// # Errors
/// A sentence, or `Kind::Definition`, where a key or a field is not there, keys cannot be compared, or a field is
/// there already.
pub fn plan(
    node: &GraphNode,
    what: &str,
    lookup: Lookup<'_>,
    input: LogicalPlan,
    bytes: Option<u64>,
    ledger: &Ledger,
) -> Result<LogicalPlan, RunError> {
    let Lookup { on, select, table: (table, table_bytes) } = lookup;
    let fault = |why: String| node.fault(format!("{what}: {why}"));
    let node_named = format!("node {:?}: ", node.name);
    let at = |e: RunError| fault(e.message.strip_prefix(&node_named).unwrap_or(&e.message).to_owned());
    for key in on {
        check_key(node, key, &input, &table, ("incoming", "looked-up")).map_err(at)?;
        let held = require(node, &table, &key.right).map_err(at)?.data_type();
        if !can_be_key(held) {
            return Err(fault(format!(
                "the looked-up key {:?} holds {}, which cannot be compared",
                key.right,
                type_name(held)
            )));
        }
    }
    let mut read: Vec<&String> = Vec::new();
    let mut output: Vec<Expr> = visible(input.schema()).map(|f| of("left", f.name()).alias(f.name())).collect();
    let mut names: HashSet<&String> = HashSet::new();
    for name in select {
        require(node, &table, name).map_err(at)?;
        may_be_named(name).map_err(fault)?;
        if input.schema().has_column_with_unqualified_name(name) || !names.insert(name) {
            return Err(fault(format!("a column {name:?} is there already; rename or drop it before the lookup")));
        }
        output.push(of("right", name).alias(name));
    }
    if has_rows(input.schema()) {
        output.push(of("left", ROW_COLUMN).alias(ROW_COLUMN));
    }
    for name in on.iter().map(|key| &key.right).chain(select) {
        if !read.contains(&name) {
            read.push(name);
        }
    }
    let keys: Vec<String> = on.iter().map(|key| key.right.clone()).collect();
    let table = LogicalPlanBuilder::from(table).project(read.into_iter().map(|name| column(name)))?.build()?;
    let once = Once { keys: distinct(keys), place: (node.id.clone(), format!("node {:?}: {what}", node.name)) };
    let table = follow(table, Arc::new(once));
    // The taps see to it that both sides are read to their ends, whatever the join needs of them.
    let tap = |bytes| Arc::new(Tap::new(Count::In, ledger.silent()).bytes(bytes));
    let table = LogicalPlanBuilder::from(follow(table, tap(table_bytes))).alias("right")?.build()?;
    let keys = join::keys(on, &input, &table);
    let joined = LogicalPlanBuilder::from(follow(input, tap(bytes)))
        .alias("left")?
        .join_with_expr_keys(table, JoinType::Left, keys, None)?
        .project(output)?
        .build()?;
    Ok(joined)
}

fn of(side: &str, name: &str) -> Expr {
    Expr::Column(Name::new(Some(side), name))
}

fn distinct(mut names: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// Sees to it that each key is there once.
#[derive(Debug, Clone)]
struct Once {
    keys: Vec<String>,
    /// The node's id, and how messages begin.
    place: (String, String),
}

/// The name of the step that sees to it that each key is there once.
pub(super) const ONCE: &str = "Once";
/// The name of its execution plan.
pub(super) const ONCE_EXEC: &str = "OnceExec";

impl Step for Once {
    fn name(&self) -> &'static str {
        ONCE
    }
    fn reads(&self) -> Option<Vec<String>> {
        Some(self.keys.clone())
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = input.schema();
        let key = |name: &String| one_zero_key(Arc::new(Column::new_with_schema(name, &schema)?), &schema);
        let keys = self.keys.iter().map(key).collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(OnceExec::new(input, keys, self.clone())?))
    }
}

/// The execution plan of [`Once`]. It asks for its input partitioned by the keys and sorted, so that equal keys are
/// neighbours and memory does not grow with the rows.
#[derive(Debug)]
struct OnceExec {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    sort: LexOrdering,
    once: Once,
    properties: Arc<PlanProperties>,
}

impl OnceExec {
    fn new(input: Arc<dyn ExecutionPlan>, keys: Vec<Arc<dyn PhysicalExpr>>, once: Once) -> Result<Self> {
        let sort = keys.iter().map(|key| PhysicalSortExpr::new(key.clone(), SortOptions::default()));
        let Some(sort) = LexOrdering::new(sort) else { return internal_err!("a lookup has no keys") };
        let properties = PlanProperties::new(
            input.equivalence_properties().clone(),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self { input, keys, sort, once, properties: Arc::new(properties) })
    }
}

impl DisplayAs for OnceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "OnceExec: {}", self.sort)
    }
}

impl ExecutionPlan for OnceExec {
    fn name(&self) -> &str {
        ONCE_EXEC
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }
    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::KeyPartitioned(self.keys.clone())])
    }
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(self.sort.clone().into())]
    }
    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        datafusion::physical_plan::apply_expression_roots(&self.keys, f)
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return internal_err!("a lookup's table has one input");
        };
        Ok(Arc::new(Self::new(input, self.keys.clone(), self.once.clone())?))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let fields =
            self.keys.iter().map(|key| key.data_type(&schema).map(SortField::new)).collect::<Result<Vec<_>>>()?;
        let mut neighbours = Neighbours {
            keys: self.keys.clone(),
            converter: RowConverter::new(fields)?,
            last: None,
            once: self.once.clone(),
        };
        let stream = self.input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            neighbours.check(&batch)?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Compares each row's keys with those of the row before, also across batches.
struct Neighbours {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    converter: RowConverter,
    last: Option<OwnedRow>,
    once: Once,
}

impl Neighbours {
    fn check(&mut self, batch: &RecordBatch) -> Result<(), RunError> {
        let values = |key: &Arc<dyn PhysicalExpr>| key.evaluate(batch)?.into_array(batch.num_rows());
        let values: Vec<ArrayRef> = self.keys.iter().map(values).collect::<Result<_>>()?;
        let failed = |e| RunError::new(Kind::Internal, format!("the keys of a lookup cannot be compared: {e}"));
        let keys = self.converter.convert_columns(&values).map_err(failed)?;
        let nulls: Vec<_> = values.iter().map(Array::logical_nulls).collect();
        let mut before = self.last.as_ref().map(OwnedRow::row);
        for (row, key) in keys.iter().enumerate() {
            // Null meets nothing, so it may be there as often as it likes.
            let null = nulls.iter().flatten().any(|nulls| nulls.is_null(row));
            if before == Some(key) && !null {
                return Err(self.twice(&values, row));
            }
            before = Some(key);
        }
        if let Some(last) = keys.iter().next_back() {
            self.last = Some(last.owned());
        }
        Ok(())
    }

    fn twice(&self, values: &[ArrayRef], row: usize) -> RunError {
        let text = |(name, values): (&String, &ArrayRef)| {
            format!("{name} = {:?}", text_at(values, row).unwrap_or_else(|| "null".to_owned()))
        };
        let key: Vec<_> = self.once.keys.iter().zip(values).map(text).collect();
        let (id, place) = &self.once.place;
        let message = format!(
            "{place}: two of the looked-up rows have the key {}; a lookup takes one, so make the key unique there, or use a join; nothing was written",
            key.join(", ")
        );
        RunError::new(Kind::Source, message).at(id)
    }
}

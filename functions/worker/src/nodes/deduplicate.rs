//! Deduplicate: keeps one row of those that are equal in the keys, the first in an order. The rows come sorted by
//! keys and order, so that memory does not grow with them.

use super::columns::{one_zero_key, require_in, type_name};
use super::ledger::Ledger;
use super::sort::keys;
use super::step::{Step, follow};
use super::ties;
use crate::engine::graph::{GraphNode, all_of};
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{BooleanArray, RecordBatch};
use datafusion::arrow::compute::{SortOptions, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use futures::StreamExt;
use shared::models::node::{DeduplicateConfig, Keep};
use std::fmt;
use std::sync::Arc;

/// Plans a deduplication of `input`.
///
/// # Errors
/// `Kind::Definition` where a field is not there or cannot be compared.
pub fn plan(
    node: &GraphNode,
    config: &DeduplicateConfig,
    input: LogicalPlan,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let mut faults = Vec::new();
    for (index, key) in config.keys.iter().enumerate() {
        let place = format!("/keys/{index}");
        match require_in(node, &input, key, &place) {
            Err(fault) => faults.push(fault),
            Ok(field) if !can_be_key(field.data_type()) => {
                let held = type_name(field.data_type());
                faults.push(node.fault_in(place, format!("column {key:?} holds {held}, which cannot be compared")));
            }
            Ok(_) => {}
        }
    }
    let order = keys(node, config.order_by.as_deref().unwrap_or_default(), "/orderBy", &input);
    let mut order = order.unwrap_or_else(|fault| {
        faults.push(fault);
        Vec::new()
    });
    all_of(faults)?;
    for name in ties::order(&input) {
        order.push((name, SortOptions { descending: false, nulls_first: false }));
    }
    if config.keep == Keep::Last {
        for (_, options) in &mut order {
            *options = !*options;
        }
    }
    let step = Deduplicate { keys: config.keys.clone(), order, ledger };
    Ok(follow(input, Arc::new(step)))
}

/// Keeps the first row of those that are equal in the keys.
#[derive(Debug)]
struct Deduplicate {
    /// Two nulls are equal.
    keys: Vec<String>,
    /// In which order the first one is meant.
    order: Vec<(String, SortOptions)>,
    ledger: Ledger,
}

impl Step for Deduplicate {
    fn name(&self) -> &'static str {
        "Deduplicate"
    }
    fn reads(&self) -> Option<Vec<String>> {
        Some(self.keys.iter().chain(self.order.iter().map(|(name, _)| name)).cloned().collect())
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = input.schema();
        let keys =
            self.keys.iter().map(|key| one_zero_key(column(key, &schema)?, &schema)).collect::<Result<Vec<_>>>()?;
        let mut sort: Vec<_> =
            keys.iter().map(|key| PhysicalSortExpr::new(key.clone(), SortOptions::default())).collect();
        for (name, options) in &self.order {
            sort.push(PhysicalSortExpr::new(one_zero_key(column(name, &schema)?, &schema)?, *options));
        }
        let Some(sort) = LexOrdering::new(sort) else { return internal_err!("deduplicate has no keys") };
        Ok(Arc::new(DeduplicateExec::new(input, keys, sort, self.ledger.clone())))
    }
}

fn column(name: &str, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(Column::new_with_schema(name, schema)?))
}

/// The execution plan of [`Deduplicate`]. It asks for its input partitioned by the keys and sorted.
#[derive(Debug)]
struct DeduplicateExec {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    sort: LexOrdering,
    ledger: Ledger,
    properties: Arc<PlanProperties>,
}

impl DeduplicateExec {
    fn new(input: Arc<dyn ExecutionPlan>, keys: Vec<Arc<dyn PhysicalExpr>>, sort: LexOrdering, ledger: Ledger) -> Self {
        let properties = PlanProperties::new(
            input.equivalence_properties().clone(),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, keys, sort, ledger, properties: Arc::new(properties) }
    }
}

impl DisplayAs for DeduplicateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "DeduplicateExec: {}", self.sort)
    }
}

impl ExecutionPlan for DeduplicateExec {
    fn name(&self) -> &str {
        "DeduplicateExec"
    }
    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }
    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }
    fn maintains_input_order(&self) -> Vec<bool> {
        // It does, but were it said, a sort that is wanted behind would be put between this and its own sort.
        vec![false]
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
            return internal_err!("deduplicate has one input");
        };
        Ok(Arc::new(Self::new(input, self.keys.clone(), self.sort.clone(), self.ledger.clone())))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let fields =
            self.keys.iter().map(|key| key.data_type(&schema).map(SortField::new)).collect::<Result<Vec<_>>>()?;
        let mut firsts = Firsts {
            keys: self.keys.clone(),
            converter: RowConverter::new(fields)?,
            last: None,
            ledger: self.ledger.clone(),
        };
        let stream = self.input.execute(partition, context)?.map(move |batch| Ok(firsts.keep(&batch?)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Whether the keys of a type can be compared.
pub fn can_be_key(data_type: &DataType) -> bool {
    RowConverter::supports_fields(&[SortField::new(data_type.clone())])
}

/// Keeps a row where its keys are not those of the row before, also across batches.
struct Firsts {
    keys: Vec<Arc<dyn PhysicalExpr>>,
    converter: RowConverter,
    last: Option<OwnedRow>,
    ledger: Ledger,
}

impl Firsts {
    fn keep(&mut self, batch: &RecordBatch) -> Result<RecordBatch, RunError> {
        let rows = batch.num_rows();
        self.ledger.rows_in(rows);
        let keys = self.keys.iter().map(|key| key.evaluate(batch)?.into_array(rows)).collect::<Result<Vec<_>>>()?;
        let failed = |e| RunError::new(Kind::Internal, format!("the keys of deduplicate cannot be compared: {e}"));
        let keys = self.converter.convert_columns(&keys).map_err(failed)?;
        let mut first = Vec::with_capacity(rows);
        let mut before = self.last.as_ref().map(OwnedRow::row);
        for key in &keys {
            first.push(before != Some(key));
            before = Some(key);
        }
        if let Some(last) = keys.iter().next_back() {
            self.last = Some(last.owned());
        }
        let kept = filter_record_batch(batch, &BooleanArray::from(first)).map_err(failed)?;
        self.ledger.deduplicated(rows - kept.num_rows());
        self.ledger.rows_out(kept.num_rows());
        Ok(kept)
    }
}

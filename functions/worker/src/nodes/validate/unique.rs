//! Marks the rows whose value another row of the run has, too. The rows come sorted by the value and then in the order
//! of the source, so that memory does not grow with them.

use super::VERDICT;
use crate::error::{Kind, RunError};
use crate::nodes::columns::one_zero_key;
use crate::nodes::ledger::Ledger;
use crate::nodes::step::Step;
use datafusion::arrow::array::{Array, AsArray, Int32Array, RecordBatch};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{Int32Type, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    PlanProperties,
};
use futures::StreamExt;
use std::fmt;
use std::sync::Arc;

/// A rule that no two rows have the same value.
#[derive(Debug, Clone)]
pub struct Unique {
    /// Its place among the node's rules, which is the mark of the rows that break it.
    pub rule: i32,
    /// Null is never equal to anything.
    pub field: String,
    /// The columns in whose order the first row is meant.
    pub order: Vec<String>,
    /// Its id, where it warns only.
    pub warns: Option<String>,
    pub ledger: Ledger,
}

impl Step for Unique {
    fn name(&self) -> &'static str {
        "Unique"
    }
    fn reads(&self) -> Option<Vec<String>> {
        None
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = input.schema();
        let field = one_zero_key(column(&self.field, &schema)?, &schema)?;
        let mut sort = vec![PhysicalSortExpr::new(field.clone(), SortOptions::default())];
        for name in &self.order {
            let last = SortOptions { descending: false, nulls_first: false };
            sort.push(PhysicalSortExpr::new(column(name, &schema)?, last));
        }
        let Some(sort) = LexOrdering::new(sort) else { return internal_err!("a unique rule has no field") };
        Ok(Arc::new(UniqueExec::new(input, field, sort, self.clone())))
    }
}

fn column(name: &str, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    Ok(Arc::new(Column::new_with_schema(name, schema)?))
}

/// The execution plan of [`Unique`]. It asks for its input partitioned by the field and sorted.
#[derive(Debug)]
struct UniqueExec {
    input: Arc<dyn ExecutionPlan>,
    field: Arc<dyn PhysicalExpr>,
    sort: LexOrdering,
    unique: Unique,
    properties: Arc<PlanProperties>,
}

impl UniqueExec {
    fn new(input: Arc<dyn ExecutionPlan>, field: Arc<dyn PhysicalExpr>, sort: LexOrdering, unique: Unique) -> Self {
        let properties = PlanProperties::new(
            input.equivalence_properties().clone(),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self { input, field, sort, unique, properties: Arc::new(properties) }
    }
}

impl DisplayAs for UniqueExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "UniqueExec: {}", self.sort)
    }
}

impl ExecutionPlan for UniqueExec {
    fn name(&self) -> &str {
        "UniqueExec"
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
        InputDistributionRequirements::new(vec![Distribution::KeyPartitioned(vec![self.field.clone()])])
    }
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(self.sort.clone().into())]
    }
    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        datafusion::physical_plan::apply_expression_roots([&self.field], f)
    }
    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return internal_err!("a unique rule has one input");
        };
        Ok(Arc::new(Self::new(input, self.field.clone(), self.sort.clone(), self.unique.clone())))
    }
    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let mut marker = Marker {
            field: self.field.clone(),
            converter: RowConverter::new(vec![SortField::new(self.field.data_type(&schema)?)])?,
            holder: None,
            unique: self.unique.clone(),
        };
        let stream = self.input.execute(partition, context)?.map(move |batch| Ok(marker.mark(&batch?)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }
}

/// Marks a row where an earlier one holds its value, also across batches.
struct Marker {
    field: Arc<dyn PhysicalExpr>,
    converter: RowConverter,
    /// The value that a row holds which no rule takes out.
    holder: Option<OwnedRow>,
    unique: Unique,
}

impl Marker {
    fn mark(&mut self, batch: &RecordBatch) -> Result<RecordBatch, RunError> {
        let rows = batch.num_rows();
        let values = self.field.evaluate(batch)?.into_array(rows)?;
        let nulls = values.logical_nulls();
        let keys = self.converter.convert_columns(&[values]).map_err(failed)?;
        let place = batch.schema().index_of(VERDICT).map_err(failed)?;
        let Some(verdicts) = batch.column(place).as_primitive_opt::<Int32Type>() else {
            return Err(RunError::new(Kind::Internal, "the verdicts of a validation are not there"));
        };
        let mut marked: Vec<Option<i32>> = verdicts.iter().collect();
        let mut broken = 0;
        let rule = self.unique.rule;
        for ((row, key), verdict) in keys.iter().enumerate().zip(&mut marked) {
            let out = verdict.is_some_and(|before| before < rule);
            if out || nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            if self.holder.as_ref().is_some_and(|holder| holder.row() == key) {
                broken += 1;
                if self.unique.warns.is_none() {
                    *verdict = Some(rule);
                }
            } else if verdict.is_none() {
                // A row that a later rule takes out holds nothing.
                self.holder = Some(key.owned());
            }
        }
        if let Some(id) = &self.unique.warns {
            self.unique.ledger.warned(id, broken);
        }
        let mut columns = batch.columns().to_vec();
        if let Some(old) = columns.get_mut(place) {
            *old = Arc::new(Int32Array::from(marked));
        }
        RecordBatch::try_new(batch.schema(), columns).map_err(failed)
    }
}

fn failed(error: ArrowError) -> RunError {
    RunError::new(Kind::Internal, format!("the values of a unique rule cannot be compared: {error}"))
}

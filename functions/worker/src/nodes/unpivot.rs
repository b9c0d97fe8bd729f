//! Unpivot: one row for each of some columns, in the order of the rows and then in that of the columns.

use super::columns::{column, may_be_named, require, type_name};
use super::ledger::Ledger;
use super::rows::{RowExec, RowWork};
use super::step::{Step, follow};
use super::union::together;
use crate::engine::graph::GraphNode;
use crate::error::{Kind, RunError};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt64Array};
use datafusion::arrow::compute::{cast, interleave, take};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use shared::models::node::UnpivotConfig;
use std::collections::HashSet;
use std::sync::Arc;

/// Rows that are made at once.
const AT_ONCE: usize = 8192;

/// Plans an unpivot of `input`. A null becomes a row, too.
///
/// # Errors
/// `Kind::Definition` where a field is not there, the columns' types do not go together, or two results have one name.
pub fn plan(
    node: &GraphNode,
    config: &UnpivotConfig,
    input: LogicalPlan,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let mut names = HashSet::new();
    let mut fields = Vec::with_capacity(config.index.len() + 2);
    for name in &config.index {
        fields.push(Field::new(name, require(node, &input, name)?.data_type().clone(), true));
    }
    fields.push(Field::new(&config.name_to, DataType::Utf8, true));
    fields.push(Field::new(&config.value_to, common_type(node, &config.columns, &input)?, true));
    for field in &fields {
        may_be_named(field.name()).map_err(|why| node.fault(why))?;
        if !names.insert(field.name().clone()) {
            return Err(node.fault(format!("two results would be named {:?}", field.name())));
        }
    }
    let mut read: Vec<&String> = config.index.iter().collect();
    read.extend(config.columns.iter().filter(|name| !config.index.contains(name)));
    let input = LogicalPlanBuilder::from(input).project(read.into_iter().map(|name| column(name)))?.build()?;
    let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
    let step = Unpivot { index: config.index.clone(), columns: config.columns.clone(), schema, ledger };
    Ok(follow(input, Arc::new(step)))
}

/// A type that holds the values of all columns.
fn common_type(node: &GraphNode, columns: &[String], input: &LogicalPlan) -> Result<DataType, RunError> {
    let mut known: Option<(&String, DataType)> = None;
    let mut seen = HashSet::new();
    for name in columns {
        let found = require(node, input, name)?.data_type();
        if !seen.insert(name) {
            return Err(node.fault(format!("columns names {name:?} twice")));
        }
        known = Some(match known {
            None => (name, found.clone()),
            Some((first, known)) => match together(&known, found) {
                Some(both) => (first, both),
                None => {
                    return Err(node.fault(format!(
                        "column {first:?} is of type {} and column {name:?} of type {}, which do not go into one field; cast one of them before",
                        type_name(&known),
                        type_name(found)
                    )));
                }
            },
        });
    }
    known.map(|(_, known)| known).ok_or_else(|| node.fault("it names no columns"))
}

#[derive(Debug)]
struct Unpivot {
    index: Vec<String>,
    columns: Vec<String>,
    schema: DFSchemaRef,
    ledger: Ledger,
}

impl Step for Unpivot {
    fn name(&self) -> &'static str {
        "Unpivot"
    }
    fn schema(&self) -> Option<&DFSchemaRef> {
        Some(&self.schema)
    }
    fn reads(&self) -> Option<Vec<String>> {
        None
    }
    fn plan(&self, input: Arc<dyn ExecutionPlan>, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let (before, schema) = (input.schema(), Arc::new(self.schema.as_arrow().clone()));
        let places =
            |names: &[String]| names.iter().map(|name| Ok(before.index_of(name)?)).collect::<Result<Vec<usize>>>();
        let work = Work {
            index: places(&self.index)?,
            columns: places(&self.columns)?,
            names: StringArray::from(self.columns.clone()),
            schema: schema.clone(),
        };
        Ok(Arc::new(RowExec::new("UnpivotRows", input, Arc::new(work), self.ledger.clone(), Some(schema))))
    }
}

#[derive(Debug)]
struct Work {
    /// The places of the columns that each row keeps.
    index: Vec<usize>,
    /// The places of the columns that become rows.
    columns: Vec<usize>,
    names: StringArray,
    schema: SchemaRef,
}

impl RowWork for Work {
    fn apply(&self, batch: RecordBatch, _: &Ledger) -> Result<RecordBatch, RunError> {
        self.rows(&batch).map_err(|e| RunError::new(Kind::Internal, format!("columns cannot be made rows: {e}")))
    }

    fn at_once(&self) -> Option<usize> {
        Some((AT_ONCE / self.columns.len().max(1)).max(1))
    }
}

impl Work {
    fn rows(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let (rows, width) = (batch.num_rows(), self.columns.len());
        let each = |f: &dyn Fn(usize, usize) -> usize| -> UInt64Array {
            (0..rows).flat_map(|row| (0..width).map(move |at| (row, at))).map(|(row, at)| f(row, at) as u64).collect()
        };
        let (row, name) = (each(&|row, _| row), each(&|_, at| at));
        let mut made: Vec<ArrayRef> = Vec::with_capacity(self.index.len() + 2);
        for place in &self.index {
            made.push(take(batch.column(*place), &row, None)?);
        }
        made.push(take(&self.names, &name, None)?);
        let to = self.schema.field(self.schema.fields().len() - 1).data_type();
        let values = self.columns.iter().map(|place| cast(batch.column(*place), to)).collect::<Result<Vec<_>, _>>()?;
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        let picks: Vec<(usize, usize)> = (0..rows).flat_map(|row| (0..width).map(move |at| (at, row))).collect();
        made.push(interleave(&values, &picks)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows * width));
        RecordBatch::try_new_with_options(self.schema.clone(), made, &options)
    }
}

//! Sql: one SELECT over the inputs.

use super::columns::{column, may_be_named, visible};
use super::ledger::Ledger;
use super::step::follow;
use super::tap::{Count, Tap};
use crate::engine::expressions::Expressions;
use crate::engine::graph::GraphNode;
use crate::engine::queries::{self, Table};
use crate::error::RunError;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use shared::models::node::SqlConfig;
use std::collections::HashSet;
use std::sync::Arc;

/// What an input is called whose edge has no label.
pub const ONLY_INPUT: &str = "input";
/// How often a query may read its inputs in all: each time is one more copy of what comes before.
const MAX_READS: usize = 50;

/// Plans the query over the inputs, whose columns are those of `inputs`. `read` gives an input's rows, tapped, each time
/// the query reads it.
///
/// # Errors
/// `Kind::Definition` that says what in the query is not allowed or not there.
pub fn plan(
    node: &GraphNode,
    config: &SqlConfig,
    inputs: &[LogicalPlan],
    expressions: &Expressions,
    ledger: Ledger,
    mut read: impl FnMut(usize) -> Result<LogicalPlan, RunError>,
) -> Result<LogicalPlan, RunError> {
    let tables = tables(node, inputs)?;
    let fault = |why: String| node.fault_in("/query", format!("query: {why}"));
    let planned = queries::plan(&config.query, &tables, expressions).map_err(fault)?;
    let mut reads = vec![0_usize; tables.len()];
    let replaced = planned.transform_up_with_subqueries(|plan| {
        let LogicalPlan::TableScan(scan) = &plan else { return Ok(Transformed::no(plan)) };
        let Some(index) = tables.iter().position(|table| table.name == scan.table_name.table()) else {
            return Ok(Transformed::no(plan));
        };
        if let Some(reads) = reads.get_mut(index) {
            *reads += 1;
        }
        if reads.iter().sum::<usize>() > MAX_READS {
            return Err(fault(format!("it reads its inputs more than {MAX_READS} times")).into());
        }
        let rows = read(index).map_err(DataFusionError::from)?;
        Ok(Transformed::yes(LogicalPlanBuilder::from(rows).alias(scan.table_name.clone())?.build()?))
    });
    let plan = replaced.map_err(RunError::from)?.data;
    if let Some((table, _)) = tables.iter().zip(&reads).find(|(_, reads)| **reads == 0) {
        return Err(fault(format!("it does not read the input {:?}; use it, or take its edge away", table.name)));
    }
    let output = output(node, &plan)?;
    Ok(follow(LogicalPlanBuilder::from(plan).project(output)?.build()?, Arc::new(Tap::new(Count::Out, ledger))))
}

/// The rows of an input as a query sees them: without where they came from, and counted.
///
/// # Errors
/// Where they cannot be planned.
pub fn tapped(input: LogicalPlan, tap: Tap) -> Result<LogicalPlan, RunError> {
    let columns: Vec<Expr> = visible(input.schema()).map(|field| column(field.name())).collect();
    let input = LogicalPlanBuilder::from(input).project(columns)?.build()?;
    Ok(follow(input, Arc::new(tap)))
}

/// The tables of the query.
fn tables(node: &GraphNode, inputs: &[LogicalPlan]) -> Result<Vec<Table>, RunError> {
    let mut tables: Vec<Table> = Vec::with_capacity(inputs.len());
    for (edge, input) in node.inputs.iter().zip(inputs) {
        let name = edge.label.clone().unwrap_or_else(|| ONLY_INPUT.to_owned());
        if tables.iter().any(|table| table.name == name) {
            return Err(node.fault(format!("two inputs are called {name:?}; label their edges")));
        }
        let fields: Vec<_> = visible(input.schema()).cloned().collect();
        tables.push(Table { name, schema: Arc::new(Schema::new(fields)) });
    }
    Ok(tables)
}

/// The columns that come out, by plain names.
fn output(node: &GraphNode, plan: &LogicalPlan) -> Result<Vec<Expr>, RunError> {
    let mut names = HashSet::new();
    let mut output = Vec::with_capacity(plan.schema().fields().len());
    for (qualified, field) in plan.schema().columns().into_iter().zip(plan.schema().fields()) {
        let name = field.name();
        may_be_named(name).map_err(|why| node.fault(format!("query: {why}; name it with AS")))?;
        if !names.insert(name.clone()) {
            return Err(node.fault(format!("query: two columns would be named {name:?}; name one of them with AS")));
        }
        let value = Expr::Column(qualified);
        // Ranks and row numbers are unsigned, which no type of a schema is.
        let value = if field.data_type().is_unsigned_integer() { cast(value, DataType::Int64) } else { value };
        output.push(value.alias(name));
    }
    Ok(output)
}

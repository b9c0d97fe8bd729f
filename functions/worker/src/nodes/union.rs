//! Union: inputs one below the other, columns by name; a column that an input lacks is null there.

use super::columns::{column, has_rows, type_name, visible};
use super::join::family;
use super::ledger::Ledger;
use super::partition::Divide;
use super::step::follow;
use super::tap::{Count, Tap};
use crate::engine::graph::{GraphNode, all_of};
use crate::engine::progress::ROW_COLUMN;
use crate::error::RunError;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union, cast, lit};
use shared::models::node::UnionConfig;
use std::sync::Arc;

/// Plans a union of `inputs`, whose rows are given on in `partitions` at most.
///
/// # Errors
/// `Kind::Definition` where a column has types that do not go together.
pub fn plan(
    node: &GraphNode,
    config: &UnionConfig,
    inputs: Vec<LogicalPlan>,
    partitions: usize,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let distinct = config.distinct.unwrap_or(false);
    let columns = columns(node, &inputs)?;
    let with_rows = !distinct && inputs.iter().any(|input| has_rows(input.schema()));
    let mut parts = Vec::with_capacity(inputs.len());
    for input in inputs {
        let mut output: Vec<Expr> = columns.iter().map(|(name, to)| part(&input, name, to)).collect();
        if with_rows {
            output.push(part(&input, ROW_COLUMN, &DataType::Int64));
        }
        let input = follow(input, Arc::new(Tap::new(Count::In, ledger.clone())));
        parts.push(Arc::new(LogicalPlanBuilder::from(input).project(output)?.build()?));
    }
    let union = LogicalPlan::Union(Union::try_new_with_loose_types(parts)?);
    let union = follow(union, Arc::new(Divide::AtMost(partitions)));
    let union = if distinct { LogicalPlanBuilder::from(union).distinct()?.build()? } else { union };
    Ok(follow(union, Arc::new(Tap::new(Count::Out, ledger))))
}

/// One column of one input, as the union has it.
fn part(input: &LogicalPlan, name: &str, to: &DataType) -> Expr {
    match input.schema().field_with_unqualified_name(name) {
        Ok(field) if field.data_type() == to => column(name).alias(name),
        Ok(_) => cast(column(name), to.clone()).alias(name),
        Err(_) => cast(lit(ScalarValue::Null), to.clone()).alias(name),
    }
}

/// All columns, in the order in which they are met, each with a type that holds all its values.
fn columns(node: &GraphNode, inputs: &[LogicalPlan]) -> Result<Vec<(String, DataType)>, RunError> {
    let mut columns: Vec<(String, DataType)> = Vec::new();
    let mut faults = Vec::new();
    for field in inputs.iter().flat_map(|input| visible(input.schema())) {
        match columns.iter_mut().find(|(name, _)| name == field.name()) {
            None => columns.push((field.name().clone(), field.data_type().clone())),
            Some((name, known)) => match together(known, field.data_type()) {
                Some(both) => *known = both,
                None => faults.push(node.fault(format!(
                    "column {name:?} is of type {} in one input and {} in another; cast one of them before the union",
                    type_name(known),
                    type_name(field.data_type())
                ))),
            },
        }
    }
    all_of(faults)?;
    Ok(columns)
}

/// A type that holds the values of both; none where there is none without making texts of numbers.
pub fn together(one: &DataType, other: &DataType) -> Option<DataType> {
    match (one, other) {
        _ if one == other => Some(one.clone()),
        (DataType::Null, known) | (known, DataType::Null) => Some(known.clone()),
        _ if family(one).is_some() && family(one) == family(other) => comparison_coercion(one, other),
        _ => None,
    }
}

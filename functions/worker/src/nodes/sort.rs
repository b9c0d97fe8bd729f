//! Sort: all rows in an order, or the first ones of it.

use super::columns::{column, require};
use super::ledger::Ledger;
use super::step::follow;
use super::tap::{Count, Tap};
use crate::engine::graph::GraphNode;
use crate::error::RunError;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use shared::models::node::{Direction, Nulls, SortConfig, SortKey};
use std::sync::Arc;

/// Plans a sort over `input`.
///
/// # Errors
/// `Kind::Definition` where a field is not there or has no order.
pub fn plan(
    node: &GraphNode,
    config: &SortConfig,
    input: LogicalPlan,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let keys = keys(node, &config.by, &input)?;
    let by = keys.into_iter().map(|(name, o)| column(&name).sort(!o.descending, o.nulls_first)).collect::<Vec<_>>();
    let limit = match config.limit {
        None => None,
        Some(limit) => Some(usize::try_from(limit).map_err(|_| node.fault(format!("limit {limit} is too large")))?),
    };
    let input = follow(input, Arc::new(Tap::new(Count::In, ledger.clone())));
    let sorted = LogicalPlanBuilder::from(input).sort_with_limit(by, limit)?.build()?;
    Ok(follow(sorted, Arc::new(Tap::new(Count::Out, ledger).ordered())))
}

/// Sort keys by name, checked against the columns of `input`.
///
/// # Errors
/// `Kind::Definition` where a field is not there or has no order.
pub fn keys(node: &GraphNode, by: &[SortKey], input: &LogicalPlan) -> Result<Vec<(String, SortOptions)>, RunError> {
    by.iter()
        .map(|key| {
            let field = require(node, input, &key.field)?;
            if matches!(field.data_type(), DataType::Struct(_) | DataType::Map(..) | DataType::Union(..)) {
                return Err(node.fault(format!("column {:?} holds objects, which have no order", key.field)));
            }
            let descending = key.direction == Some(Direction::Desc);
            Ok((key.field.clone(), SortOptions { descending, nulls_first: key.nulls == Some(Nulls::First) }))
        })
        .collect()
}

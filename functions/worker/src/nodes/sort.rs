//! Sort: all rows in an order, or the first ones of it.

use super::columns::{column, one_zero, require_in};
use super::first::First;
use super::ledger::Ledger;
use super::step::follow;
use super::tap::{Count, Tap};
use super::ties;
use crate::engine::graph::{GraphNode, all_of};
use crate::error::RunError;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use shared::models::node::{Direction, Nulls, SortConfig, SortKey};
use std::sync::Arc;

/// The largest limit whose rows a sort holds in memory; more are sorted as all rows are, which spills.
const MOST_HELD: usize = 10_000;

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
    let mut keys = keys(node, &config.by, "/by", &input)?;
    if config.limit.is_some() {
        // Of rows that are equal in the keys, the same ones are left out each time.
        let last = SortOptions { descending: false, nulls_first: false };
        keys.extend(ties::order(&input).into_iter().map(|name| (name, last)));
    }
    let by = keys.into_iter().map(|(name, o)| {
        let data_type = input.schema().field_with_unqualified_name(&name)?.data_type();
        Ok(one_zero(column(&name), data_type).sort(!o.descending, o.nulls_first))
    });
    let by = by.collect::<Result<Vec<_>, DataFusionError>>()?;
    let limit = match config.limit {
        None => None,
        Some(limit) => Some(usize::try_from(limit).map_err(|_| node.fault(format!("limit {limit} is too large")))?),
    };
    let input = follow(input, Arc::new(Tap::new(Count::In, ledger.clone())));
    let held = limit.filter(|limit| *limit <= MOST_HELD);
    let mut sorted = LogicalPlanBuilder::from(input).sort_with_limit(by, held)?.build()?;
    if let (Some(limit), None) = (limit, held) {
        sorted = follow(sorted, Arc::new(First(limit)));
    }
    Ok(follow(sorted, Arc::new(Tap::new(Count::Out, ledger).ordered())))
}

/// Sort keys by name, checked against the columns of `input`; `place` is where they stand in the config.
///
/// # Errors
/// `Kind::Definition` for each field that is not there or has no order.
pub fn keys(
    node: &GraphNode,
    by: &[SortKey],
    place: &str,
    input: &LogicalPlan,
) -> Result<Vec<(String, SortOptions)>, RunError> {
    let (mut keys, mut faults) = (Vec::with_capacity(by.len()), Vec::new());
    for (index, key) in by.iter().enumerate() {
        let place = format!("{place}/{index}/field");
        match require_in(node, input, &key.field, &place) {
            Err(fault) => faults.push(fault),
            Ok(field) if matches!(field.data_type(), DataType::Struct(_) | DataType::Map(..) | DataType::Union(..)) => {
                let why = format!("column {:?} holds objects, which have no order", key.field);
                faults.push(node.fault_in(place, why));
            }
            Ok(_) => {
                let descending = key.direction == Some(Direction::Desc);
                let options = SortOptions { descending, nulls_first: key.nulls == Some(Nulls::First) };
                keys.push((key.field.clone(), options));
            }
        }
    }
    all_of(faults)?;
    Ok(keys)
}

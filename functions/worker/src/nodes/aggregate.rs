//! Aggregate: groups rows and measures the groups.

use super::columns::{column, may_be_named, one_zero, require, require_in, type_name};
use super::ledger::Ledger;
use super::step::follow;
use super::tap::{Count, Tap};
use super::ties;
use crate::engine::exact::{fits, wide};
use crate::engine::graph::{GraphNode, all_of};
use crate::error::RunError;
use datafusion::arrow::datatypes::DataType;
use datafusion::functions_aggregate::expr_fn;
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, cast, lit};
use shared::models::node::{AggregateConfig, AggregateFn, Measure};
use std::collections::HashSet;
use std::sync::Arc;

/// Digits of a decimal.
const DIGITS: u8 = 38;
/// Digits behind the point that a mean has more than its values.
const OF_MEAN: u8 = 4;

/// Plans groups of `input` and their measures.
///
/// # Errors
/// `Kind::Definition` where a field is not there or cannot be measured so, or two results have one name.
pub fn plan(
    node: &GraphNode,
    config: &AggregateConfig,
    input: LogicalPlan,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    if config.group_by.is_empty() && config.measures.is_empty() {
        return Err(node.fault("it has neither groupBy nor measures, so there is nothing to give on"));
    }
    let (mut names, mut faults) = (HashSet::new(), Vec::new());
    let mut groups = Vec::new();
    for (index, name) in config.group_by.iter().enumerate() {
        let place = format!("/groupBy/{index}");
        match require_in(node, &input, name, &place) {
            Err(fault) => faults.push(fault),
            Ok(field) if !super::deduplicate::can_be_key(field.data_type()) => {
                let held = type_name(field.data_type());
                let why = format!("column {name:?} holds {held}, by which rows cannot be grouped");
                faults.push(node.fault_in(&place, why));
            }
            Ok(_) => {}
        }
        if !names.insert(name.clone()) {
            faults.push(node.fault_in(place, format!("groupBy names {name:?} twice")));
        }
        groups.push(column(name));
    }
    let order = order(&input);
    let (mut measures, mut output) = (Vec::new(), groups.clone());
    for (index, measure) in config.measures.iter().enumerate() {
        let place = format!("/measures/{index}");
        if let Err(why) = may_be_named(&measure.r#as) {
            faults.push(node.fault_in(format!("{place}/as"), why));
        } else if !names.insert(measure.r#as.clone()) {
            let why = format!("two results would be named {:?}", measure.r#as);
            faults.push(node.fault_in(format!("{place}/as"), why));
        }
        let hidden = format!("__flowgate_measure_{index}");
        let (expr, result) = match measured(node, measure, &input, &order) {
            Ok(measured) => measured,
            Err(fault) => {
                faults.push(fault.within(format!("/config{place}/field")));
                continue;
            }
        };
        measures.push(expr.alias(&hidden));
        let value = match result {
            Some(result) => fits(column(&hidden), result, what(node, measure)),
            None => column(&hidden),
        };
        output.push(value.alias(&measure.r#as));
    }
    all_of(faults)?;
    let input = follow(input, Arc::new(Tap::new(Count::In, ledger.clone())));
    let builder = LogicalPlanBuilder::from(input);
    let grouped =
        if measures.is_empty() { builder.project(groups)?.distinct()? } else { builder.aggregate(groups, measures)? };
    let kept = if config.group_by.is_empty() { config.measures.first().map(|m| m.r#as.clone()) } else { None };
    Ok(follow(grouped.project(output)?.build()?, Arc::new(Tap::new(Count::Out, ledger).keeping(kept))))
}

/// The order in which rows are meant.
pub fn order(input: &LogicalPlan) -> Vec<Sort> {
    ties::order(input).iter().map(|name| column(name).sort(true, false)).collect()
}

/// A measure, and the type that its result is cast to where it is not the one that it has.
///
/// # Errors
/// `Kind::Definition` where the field is not there or cannot be measured so.
pub fn measured(
    node: &GraphNode,
    measure: &Measure,
    input: &LogicalPlan,
    order: &[Sort],
) -> Result<(Expr, Option<DataType>), RunError> {
    if measure.field == "*" {
        return match measure.r#fn {
            AggregateFn::Count => Ok((expr_fn::count(lit(1_i64)), None)),
            other => Err(node.fault(format!("{} needs a field; only count takes \"*\"", name_of(other)))),
        };
    }
    let field = require(node, input, &measure.field)?;
    let data_type = field.data_type();
    let value = column(&measure.field);
    let numeric = data_type.is_numeric() || *data_type == DataType::Null;
    if !numeric
        && matches!(measure.r#fn, AggregateFn::Sum | AggregateFn::Avg | AggregateFn::Median | AggregateFn::Stddev)
    {
        return Err(node.fault(format!(
            "{} needs a number, but {:?} is of type {}; cast it before",
            name_of(measure.r#fn),
            measure.field,
            type_name(data_type)
        )));
    }
    let in_order = |expr: Expr| -> Result<Expr, RunError> {
        if order.is_empty() { Ok(expr) } else { Ok(expr.order_by(order.to_vec()).build()?) }
    };
    Ok(match measure.r#fn {
        AggregateFn::Count => (expr_fn::count(value), None),
        AggregateFn::CountDistinct => (expr_fn::count_distinct(one_zero(value, data_type)), None),
        AggregateFn::Sum => match (wide(data_type), data_type) {
            (Some(wide), DataType::Decimal128(_, scale)) => {
                (expr_fn::sum(cast(value, wide)), Some(DataType::Decimal128(DIGITS, *scale)))
            }
            (Some(wide), _) => (expr_fn::sum(cast(value, wide)), Some(DataType::Int64)),
            (None, _) => (expr_fn::sum(value), None),
        },
        AggregateFn::Avg => mean(value, data_type),
        // DataFusion's own begin at the largest finite number, and so never find an infinity or NaN by itself.
        AggregateFn::Min if data_type.is_floating() => (first_of(value, true), None),
        AggregateFn::Max if data_type.is_floating() => (first_of(value, false), None),
        AggregateFn::Min => (expr_fn::min(value), None),
        AggregateFn::Max => (expr_fn::max(value), None),
        AggregateFn::Median => match data_type {
            // What lies between two values has one digit more.
            DataType::Decimal128(precision, scale) if *precision < DIGITS => {
                (expr_fn::median(cast(value, DataType::Decimal128(precision + 1, scale + 1))), None)
            }
            // One of 38 digits has no room for it and is rounded, rather than cut.
            DataType::Decimal128(precision, scale) => {
                let exact = cast(value, DataType::Decimal256(precision + 1, scale + 1));
                (expr_fn::median(exact), Some(data_type.clone()))
            }
            _ => (expr_fn::median(value), None),
        },
        AggregateFn::Stddev => (expr_fn::stddev(value), None),
        AggregateFn::First => (expr_fn::first_value(value, order.to_vec()), None),
        AggregateFn::Last => (expr_fn::last_value(value, order.to_vec()), None),
        AggregateFn::ArrayAgg => (in_order(expr_fn::array_agg(value))?, None),
    })
}

/// The mean of values. One of decimals with many digits before the point keeps these, and has fewer behind it.
fn mean(value: Expr, of: &DataType) -> (Expr, Option<DataType>) {
    match of {
        DataType::Decimal128(precision, scale) if precision + OF_MEAN > DIGITS => {
            let room = DIGITS.saturating_sub(*precision).cast_signed();
            let result = DataType::Decimal128(DIGITS, scale.saturating_add(room));
            (expr_fn::avg(cast(value, DataType::Decimal256(*precision, *scale))), Some(result))
        }
        _ => (expr_fn::avg(value), None),
    }
}

/// What a measure is of, for messages.
pub fn what(node: &GraphNode, measure: &Measure) -> String {
    format!("node {:?}: the {} of {:?}", node.name, name_of(measure.r#fn), measure.field)
}

/// The first value in an order, in which NaN is the largest number.
fn first_of(value: Expr, ascending: bool) -> Expr {
    expr_fn::first_value(value.clone(), vec![value.sort(ascending, false)])
}

/// A function as configs name it.
fn name_of(function: AggregateFn) -> &'static str {
    match function {
        AggregateFn::Count => "count",
        AggregateFn::CountDistinct => "count_distinct",
        AggregateFn::Sum => "sum",
        AggregateFn::Avg => "avg",
        AggregateFn::Min => "min",
        AggregateFn::Max => "max",
        AggregateFn::Median => "median",
        AggregateFn::Stddev => "stddev",
        AggregateFn::First => "first",
        AggregateFn::Last => "last",
        AggregateFn::ArrayAgg => "array_agg",
    }
}

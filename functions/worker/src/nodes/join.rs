//! Join: two inputs, by equal keys; null meets nothing.

use super::columns::{find, has_rows, may_be_named, type_name, visible};
use super::ledger::Ledger;
use super::ops::exactly;
use super::step::follow;
use super::tap::{Count, Tap};
use super::union::{decimal_of_both, together};
use crate::engine::graph::{GraphNode, all_of};
use crate::engine::progress::ROW_COLUMN;
use crate::error::RunError;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Column;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, JoinType as DfJoinType, LogicalPlan, LogicalPlanBuilder, cast};
use shared::models::node::{JoinConfig, JoinKey, JoinType};
use std::collections::HashSet;
use std::sync::Arc;

/// One side of a join.
pub struct Side {
    pub plan: LogicalPlan,
    /// About how many bytes it gives.
    pub bytes: Option<u64>,
}

/// Plans a join.
///
/// # Errors
/// `Kind::Definition` where a key is not there, keys cannot be compared, or two columns would have one name.
pub fn plan(
    node: &GraphNode,
    config: &JoinConfig,
    left: Side,
    right: Side,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let mut faults = Vec::new();
    for (index, key) in config.on.iter().enumerate() {
        let checked = check_key(node, key, &left.plan, &right.plan, ("left", "right"));
        let parts = checked.err().into_iter().flat_map(RunError::each);
        // Behind the first key, the text that the fault names first may be an earlier key's.
        faults.extend(parts.map(|fault| {
            let side = if fault.message.ends_with("(the left input)") {
                "/left"
            } else if fault.message.ends_with("(the right input)") {
                "/right"
            } else {
                ""
            };
            fault.within(format!("/config/on/{index}{side}"))
        }));
    }
    let output = output(node, config, &left.plan, &right.plan);
    let output = output.map_err(|fault| faults.push(fault.within("/config/suffix"))).unwrap_or_default();
    all_of(faults)?;
    let tapped = |side: Side, name: &str| {
        let tap = Tap::new(Count::In, ledger.clone()).bytes(side.bytes);
        LogicalPlanBuilder::from(follow(side.plan, Arc::new(tap))).alias(name)
    };
    let right = tapped(right, "right")?.build()?;
    let keys = keys(&config.on, &left.plan, &right);
    let join_type = match config.r#type {
        JoinType::Inner => DfJoinType::Inner,
        JoinType::Left => DfJoinType::Left,
        JoinType::Right => DfJoinType::Right,
        JoinType::Full => DfJoinType::Full,
        JoinType::Semi => DfJoinType::LeftSemi,
        JoinType::Anti => DfJoinType::LeftAnti,
    };
    let joined = tapped(left, "left")?.join_with_expr_keys(right, join_type, keys, None)?.project(output)?.build()?;
    Ok(follow(joined, Arc::new(Tap::new(Count::Out, ledger))))
}

fn of(side: &str, name: &str) -> Column {
    Column::new(Some(side), name)
}

/// The columns that come out.
fn output(
    node: &GraphNode,
    config: &JoinConfig,
    left: &LogicalPlan,
    right: &LogicalPlan,
) -> Result<Vec<Expr>, RunError> {
    let only_left = matches!(config.r#type, JoinType::Semi | JoinType::Anti);
    let both = matches!(config.r#type, JoinType::Right | JoinType::Full);
    let shared_key = |name: &str| config.on.iter().any(|key| key.left == name && key.right == name);
    let either = |name: &str| coalesce(vec![Expr::Column(of("left", name)), Expr::Column(of("right", name))]);
    let either_key = |name: &str| -> Result<Expr, RunError> {
        let (one, other) = (data_type(left, name), data_type(right, name));
        let to = together(&one, &other).ok_or_else(|| {
            node.fault(format!(
                "the key {name:?} is of type {} in one input and {} in the other, and no type holds both; cast one of them before the join",
                type_name(&one),
                type_name(&other)
            ))
        })?;
        let side = |side: &str, of_type| compared(Expr::Column(of(side, name)), &of_type, &to);
        Ok(coalesce(vec![side("left", one), side("right", other)]))
    };
    let mut names = HashSet::new();
    let mut output = Vec::new();
    for field in visible(left.schema()) {
        let name = field.name();
        names.insert(name.clone());
        let value = if both && shared_key(name) { either_key(name)? } else { Expr::Column(of("left", name)) };
        output.push(value.alias(name));
    }
    if !only_left {
        let suffix = config.suffix.as_deref().unwrap_or("_right");
        for field in visible(right.schema()) {
            let name = field.name();
            if shared_key(name) {
                continue;
            }
            let free = if left.schema().has_column_with_unqualified_name(name) {
                format!("{name}{suffix}")
            } else {
                name.clone()
            };
            may_be_named(&free).map_err(|why| node.fault(why))?;
            if !names.insert(free.clone()) {
                return Err(node.fault(format!(
                    "two columns would be named {free:?}; choose another suffix, or rename one before the join"
                )));
            }
            output.push(Expr::Column(of("right", name)).alias(free));
        }
    }
    match (has_rows(left.schema()), has_rows(right.schema()) && !only_left) {
        (true, true) if both => output.push(either(ROW_COLUMN).alias(ROW_COLUMN)),
        (true, _) => output.push(Expr::Column(of("left", ROW_COLUMN)).alias(ROW_COLUMN)),
        (false, true) => output.push(Expr::Column(of("right", ROW_COLUMN)).alias(ROW_COLUMN)),
        (false, false) => {}
    }
    Ok(output)
}

/// Whether the two fields of `key` are there and can be equal; `sides` is what the inputs are called.
///
/// # Errors
/// `Kind::Definition` that says why not.
pub fn check_key(
    node: &GraphNode,
    key: &JoinKey,
    left: &LogicalPlan,
    right: &LogicalPlan,
    sides: (&str, &str),
) -> Result<(), RunError> {
    let of = |plan: &LogicalPlan, name: &str, side: &str| -> Result<DataType, RunError> {
        let found = find(plan.schema(), name).map(|field| field.data_type().clone());
        found.map_err(|why| node.fault(format!("{why} (the {side} input)")))
    };
    let (left, right) = match (of(left, &key.left, sides.0), of(right, &key.right, sides.1)) {
        (Ok(left), Ok(right)) => (left, right),
        (left, right) => return all_of(left.err().into_iter().chain(right.err()).collect()),
    };
    let comparable = family(&left).is_some() && family(&left) == family(&right);
    if left == DataType::Null || right == DataType::Null || comparable && key_type(&left, &right).is_some() {
        return Ok(());
    }
    Err(node.fault(format!(
        "{} key {:?} is of type {} and {} key {:?} of type {}, which cannot be equal; cast one of them before the join",
        sides.0,
        key.left,
        type_name(&left),
        sides.1,
        key.right,
        type_name(&right)
    )))
}

/// The keys of a join of `left` and `right`, each pair of one type.
pub fn keys(on: &[JoinKey], left: &LogicalPlan, right: &LogicalPlan) -> (Vec<Expr>, Vec<Expr>) {
    let pair = |key: &JoinKey| {
        let (one, other) = (data_type(left, &key.left), data_type(right, &key.right));
        let (left, right) = (Expr::Column(of("left", &key.left)), Expr::Column(of("right", &key.right)));
        match key_type(&one, &other) {
            Some(to) => (compared(left, &one, &to), compared(right, &other, &to)),
            None => (left, right),
        }
    };
    on.iter().map(pair).unzip()
}

fn data_type(side: &LogicalPlan, name: &str) -> DataType {
    side.schema().field_with_unqualified_name(name).map_or(DataType::Null, |field| field.data_type().clone())
}

/// The type by which keys of two types are compared, so that none is equal to another that is not quite the same.
fn key_type(one: &DataType, other: &DataType) -> Option<DataType> {
    together(one, other).or_else(|| match (one, other) {
        (float, exact) | (exact, float) if float.is_floating() => match exact {
            DataType::Int64 | DataType::Decimal128(..) => Some(exact.clone()),
            DataType::UInt64 => Some(DataType::Decimal128(20, 0)),
            _ => None,
        },
        _ => decimal_of_both(one, other).map(|(digits, scale)| DataType::Decimal256(digits, scale)),
    })
}

/// A key as one of `to`; null, which meets nothing, where a float is none of it.
fn compared(key: Expr, of: &DataType, to: &DataType) -> Expr {
    if of == to {
        key
    } else if of.is_floating() && !to.is_floating() {
        exactly(key, to.clone())
    } else {
        cast(key, to.clone())
    }
}

/// Types of one family can be compared.
pub fn family(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        _ if super::columns::is_text(data_type) => Some("text"),
        _ if data_type.is_numeric() => Some("number"),
        DataType::Boolean => Some("boolean"),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => Some("time"),
        DataType::Time32(_) | DataType::Time64(_) => Some("time of day"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Some("binary")
        }
        _ => None,
    }
}

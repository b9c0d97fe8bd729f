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
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, TimeUnit};
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
    let union = match <[_; 1]>::try_from(parts) {
        Ok([only]) => Arc::unwrap_or_clone(only),
        Err(parts) => LogicalPlan::Union(Union::try_new_with_loose_types(parts)?),
    };
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

/// A type that holds the values of both exactly; none where there is none without making texts of numbers.
pub fn together(one: &DataType, other: &DataType) -> Option<DataType> {
    match (one, other) {
        _ if one == other => Some(one.clone()),
        (DataType::Null, known) | (known, DataType::Null) => Some(known.clone()),
        _ if family(one).is_none() || family(one) != family(other) => None,
        _ if one.is_numeric() => number(one, other),
        (DataType::Timestamp(..), _) | (_, DataType::Timestamp(..)) => Some(time(one, other)),
        _ => comparison_coercion(one, other),
    }
}

/// A number that is one of either type. A double holds no bigint and no decimal to its last digit.
fn number(one: &DataType, other: &DataType) -> Option<DataType> {
    match (one.is_floating(), other.is_floating()) {
        (true, true) => comparison_coercion(one, other),
        (true, false) => is_short(other).then_some(DataType::Float64),
        (false, true) => is_short(one).then_some(DataType::Float64),
        (false, false) if one.is_integer() && other.is_integer() => comparison_coercion(one, other),
        (false, false) => {
            let (digits, scale) = decimal_of_both(one, other)?;
            match (one, other) {
                (DataType::Decimal256(..), _) | (_, DataType::Decimal256(..)) => {
                    Some(DataType::Decimal256(digits, scale))
                }
                _ => (digits <= DECIMAL128_MAX_PRECISION).then_some(DataType::Decimal128(digits, scale)),
            }
        }
    }
}

/// The digits and the scale of a decimal that is one of either type, which are no floats; none where it has too many.
pub fn decimal_of_both(one: &DataType, other: &DataType) -> Option<(u8, i8)> {
    let ((digits, scale), (more, longer)) = (digits(one)?, digits(other)?);
    let fraction = scale.max(longer);
    let whole = (i16::from(digits) - i16::from(scale)).max(i16::from(more) - i16::from(longer));
    let all = u8::try_from(whole + i16::from(fraction)).ok()?;
    (all <= DECIMAL256_MAX_PRECISION).then_some((all, fraction))
}

/// Whether the whole numbers of a type have 32 bits at most.
fn is_short(data_type: &DataType) -> bool {
    data_type.is_integer() && !matches!(data_type, DataType::Int64 | DataType::UInt64)
}

/// The digits of a number and how many of them are behind the point.
fn digits(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Int8 | DataType::UInt8 => Some((3, 0)),
        DataType::Int16 | DataType::UInt16 => Some((5, 0)),
        DataType::Int32 | DataType::UInt32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::UInt64 => Some((20, 0)),
        DataType::Decimal128(digits, scale) | DataType::Decimal256(digits, scale) => Some((*digits, *scale)),
        _ => None,
    }
}

/// A time in microseconds: nanoseconds end in 2262, and a date such as 9999-12-31 would be none any more.
fn time(one: &DataType, other: &DataType) -> DataType {
    let zone = |of: &DataType| match of {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let zone = match (zone(one), zone(other)) {
        (Some(one), Some(other)) if one != other => Some("UTC".into()),
        (one, other) => one.or(other),
    };
    DataType::Timestamp(TimeUnit::Microsecond, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_types_go_together_where_one_holds_all_values_of_both() {
        use DataType::{
            Date32, Decimal128, Decimal256, Float32, Float64, Int16, Int32, Int64, Timestamp, UInt64, Utf8,
        };
        let micros = |zone: Option<&str>| Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        for (one, other, both) in [
            (Int32, Int64, Some(Int64)),
            (Int32, Float64, Some(Float64)),
            (Int16, Float32, Some(Float64)),
            (Int64, Float64, None),
            (Decimal128(4, 2), Float64, None),
            (Float32, Float64, Some(Float64)),
            (Decimal128(4, 2), Int32, Some(Decimal128(12, 2))),
            (Decimal128(38, 10), UInt64, Some(Decimal128(38, 10))),
            (Decimal128(38, 10), Decimal128(38, 0), None),
            (Decimal256(38, 10), Decimal128(38, 0), Some(Decimal256(48, 10))),
            (Decimal128(4, 2), Utf8, None),
            (Date32, micros(None), Some(micros(None))),
            (Date32, micros(Some("UTC")), Some(micros(Some("UTC")))),
            (micros(None), micros(Some("UTC")), Some(micros(Some("UTC")))),
            (micros(Some("+02:00")), micros(Some("+03:00")), Some(micros(Some("UTC")))),
            (Timestamp(TimeUnit::Nanosecond, None), micros(None), Some(micros(None))),
            (DataType::Null, Utf8, Some(Utf8)),
        ] {
            assert_eq!(together(&one, &other), both, "{one} and {other}");
            assert_eq!(together(&other, &one), both, "{other} and {one}");
        }
    }
}

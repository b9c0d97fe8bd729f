//! The columns that go from node to node: which there are, and what people call their types.

use crate::engine::expressions::missing;
use crate::engine::graph::GraphNode;
use crate::engine::progress::ROW_COLUMN;
use crate::error::RunError;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, TimeUnit};
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};
use std::sync::Arc;

/// The columns that users see, in order.
pub fn visible(schema: &DFSchema) -> impl Iterator<Item = &FieldRef> {
    schema.fields().iter().filter(|field| field.name() != ROW_COLUMN)
}

/// Whether rows still know where they came from.
pub fn has_rows(schema: &DFSchema) -> bool {
    schema.has_column_with_unqualified_name(ROW_COLUMN)
}

/// The column `name`.
///
/// # Errors
/// A sentence that names the nearest column and those that there are.
pub fn find<'a>(schema: &'a DFSchema, name: &str) -> Result<&'a FieldRef, String> {
    visible(schema)
        .find(|field| field.name() == name)
        .ok_or_else(|| missing(name, visible(schema).map(|f| f.name().as_str())))
}

/// The column `name` of what comes into `node`.
///
/// # Errors
/// `Kind::Definition` that names the node.
pub fn require<'a>(node: &GraphNode, plan: &'a LogicalPlan, name: &str) -> Result<&'a FieldRef, RunError> {
    find(plan.schema(), name).map_err(|why| node.fault(why))
}

/// The same, with the place in the node's config that names the column.
///
/// # Errors
/// As [`require`].
pub fn require_in<'a>(
    node: &GraphNode,
    plan: &'a LogicalPlan,
    name: &str,
    place: impl AsRef<str>,
) -> Result<&'a FieldRef, RunError> {
    find(plan.schema(), name).map_err(|why| node.fault_in(place, why))
}

/// Whether users may give a column this name.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn may_be_named(name: &str) -> Result<(), String> {
    if name.starts_with("__flowgate") {
        return Err(format!("a column may not be named {name:?}; names that begin with __flowgate are Flowgate's own"));
    }
    if name.is_empty() { Err("a column must have a name".to_owned()) } else { Ok(()) }
}

/// The mark of a column whose type cannot be told.
const UNKNOWN: &str = "flowgate.unknown";

/// A column that a faulty step would give: whatever it is used for fits it, so that one fault is told once.
pub fn unknown(name: &str) -> Field {
    Field::new(name, DataType::Null, true).with_metadata([(UNKNOWN.to_owned(), String::new())].into())
}

/// Whether a column is one of [`unknown`].
pub fn is_unknown(field: &Field) -> bool {
    field.metadata().contains_key(UNKNOWN)
}

/// Whether `message` names one of `columns`.
pub fn names_any<'a>(message: &str, columns: impl IntoIterator<Item = &'a str>) -> bool {
    let part_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
    columns.into_iter().filter(|name| !name.is_empty()).any(|name| {
        message.match_indices(name).any(|(at, _)| {
            let (before, after) = (message.get(..at).unwrap_or_default(), message.get(at + name.len()..));
            !before.ends_with(part_of_a_name) && !after.unwrap_or_default().starts_with(part_of_a_name)
        })
    })
}

/// A reference to a column by its exact name.
pub fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// A value in which the two zeros of floating point are one: -0.0 + 0.0 is 0.0.
pub fn one_zero(value: Expr, data_type: &DataType) -> Expr {
    match data_type {
        DataType::Float32 => value + lit(0.0_f32),
        DataType::Float64 => value + lit(0.0_f64),
        _ => value,
    }
}

/// The same of a key that is compared: -0.0 and 0.0 are equal, as everywhere in SQL.
///
/// # Errors
/// Where `schema` lacks the key's column.
pub fn one_zero_key(key: Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Arc<dyn PhysicalExpr>> {
    let zero = match key.data_type(schema)? {
        DataType::Float32 => ScalarValue::Float32(Some(0.0)),
        DataType::Float64 => ScalarValue::Float64(Some(0.0)),
        _ => return Ok(key),
    };
    Ok(Arc::new(BinaryExpr::new(key, Operator::Plus, Arc::new(Literal::new(zero)))))
}

/// A type as people know it.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Dictionary(_, value) => type_name(value),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint".to_owned(),
        DataType::Int32 | DataType::UInt16 => "integer".to_owned(),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint".to_owned(),
        DataType::Float16 | DataType::Float32 => "real".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Date32 | DataType::Date64 => "date".to_owned(),
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
            zone,
        ) => if zone.is_some() { "timestamptz" } else { "timestamp" }.to_owned(),
        DataType::Null => "null".to_owned(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "a list".to_owned(),
        DataType::Struct(_) | DataType::Map(..) => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// Whether a type's values are texts.
pub fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, value) => is_text(value),
        _ => false,
    }
}

//! Pivot: one row an index, one column a value of a field.

use super::aggregate;
use super::columns::{column, may_be_named, one_zero, require, type_name};
use super::deduplicate::can_be_key;
use super::ledger::{Ledger, text_at};
use super::ops::constant;
use super::step::follow;
use super::tap::{Count, Tap};
use crate::engine::exact::fits;
use crate::engine::graph::GraphNode;
use crate::error::RunError;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use futures::StreamExt;
use shared::models::node::{Measure, PivotConfig};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The most values that become columns.
const MAX_VALUES: usize = 1_000;

/// Plans a pivot of `input`. `read` are the values that were read first, where the config gives none. A row whose value
/// is not among them is in its index's row, and in no column.
///
/// # Errors
/// `Kind::Definition` where a field is not there or cannot be measured so, or two columns would have one name.
pub fn plan(
    node: &GraphNode,
    config: &PivotConfig,
    read: Option<&[ScalarValue]>,
    input: LogicalPlan,
    ledger: Ledger,
) -> Result<LogicalPlan, RunError> {
    let of = field_type(node, config, &input)?;
    let mut names = HashSet::new();
    let mut groups = Vec::with_capacity(config.index.len());
    for name in &config.index {
        let field = require(node, &input, name)?;
        if !can_be_key(field.data_type()) {
            let held = type_name(field.data_type());
            return Err(node.fault(format!("column {name:?} holds {held}, by which rows cannot be grouped")));
        }
        if !names.insert(name.clone()) {
            return Err(node.fault(format!("index names {name:?} twice")));
        }
        groups.push(column(name));
    }
    let values = match (&config.pivot_values, read) {
        (Some(given), _) => given_values(node, config, given, &of)?,
        (None, Some(read)) => read.to_vec(),
        (None, None) => return Err(node.fault("its values have not been read, so its columns are not known yet")),
    };
    let measure = Measure { r#fn: config.r#fn, field: config.values.clone(), r#as: String::new() };
    let (measured, result) = aggregate::measured(node, &measure, &input, &aggregate::order(&input))?;
    let (mut cells, mut output) = (Vec::with_capacity(values.len()), groups.clone());
    for (at, value) in values.into_iter().enumerate() {
        let name = name_of(&value)?;
        let of_value = || format!("the value {name:?} of {:?} becomes a column", config.columns);
        may_be_named(&name).map_err(|why| node.fault(format!("{}: {why}", of_value())))?;
        if !names.insert(name.clone()) {
            return Err(
                node.fault(format!("{}, and there is another one of that name; rename or map it before", of_value()))
            );
        }
        let hidden = format!("__flowgate_cell_{at}");
        cells.push(only(measured.clone(), is(&config.columns, &of, value)).alias(&hidden));
        let cell = match &result {
            Some(result) => fits(column(&hidden), result.clone(), aggregate::what(node, &measure)),
            None => column(&hidden),
        };
        output.push(cell.alias(name));
    }
    let input = follow(input, Arc::new(Tap::new(Count::In, ledger.clone())));
    let builder = LogicalPlanBuilder::from(input);
    let grouped =
        if cells.is_empty() { builder.project(groups)?.distinct()? } else { builder.aggregate(groups, cells)? };
    Ok(follow(grouped.project(output)?.build()?, Arc::new(Tap::new(Count::Out, ledger))))
}

/// The field of `input` whose values are to be read first, and nothing else.
///
/// # Errors
/// `Kind::Definition` where it is not there, or its values cannot become columns.
pub fn only_values(node: &GraphNode, config: &PivotConfig, input: LogicalPlan) -> Result<LogicalPlan, RunError> {
    let of = field_type(node, config, &input)?;
    let values = one_zero(column(&config.columns), &of).alias(&config.columns);
    Ok(LogicalPlanBuilder::from(input).project([values])?.build()?)
}

/// Reads the different values of `rows`, which have one column; sorted, null last.
///
/// # Errors
/// `Kind::Definition` where there are more than can become columns; what reading ends with.
pub async fn read_values(
    node: &GraphNode,
    config: &PivotConfig,
    mut rows: SendableRecordBatchStream,
) -> Result<Vec<ScalarValue>, RunError> {
    let data_type = rows.schema().field(0).data_type().clone();
    let last = SortOptions { descending: false, nulls_first: false };
    let converter = RowConverter::new(vec![SortField::new_with_options(data_type, last)]).map_err(broken)?;
    let mut found: BTreeMap<OwnedRow, ScalarValue> = BTreeMap::new();
    while let Some(batch) = rows.next().await {
        add_values(&converter, &batch?, &mut found)?;
        if found.len() > MAX_VALUES {
            return Err(node.fault(format!(
                "column {:?} has more than {MAX_VALUES} different values, and at most {MAX_VALUES} can become columns; \
                 give those that are wanted in pivotValues, or filter the others out before",
                config.columns
            )));
        }
    }
    Ok(found.into_values().collect())
}

fn add_values(
    converter: &RowConverter,
    batch: &RecordBatch,
    found: &mut BTreeMap<OwnedRow, ScalarValue>,
) -> Result<(), RunError> {
    let values = batch.column(0);
    let keys = converter.convert_columns(std::slice::from_ref(values)).map_err(broken)?;
    let mut seen = HashSet::new();
    for (at, key) in keys.iter().enumerate() {
        if seen.insert(key) && found.len() <= MAX_VALUES {
            let value = ScalarValue::try_from_array(values, at)?;
            found.entry(key.owned()).or_insert(value);
        }
    }
    Ok(())
}

fn field_type(node: &GraphNode, config: &PivotConfig, input: &LogicalPlan) -> Result<DataType, RunError> {
    let of = require(node, input, &config.columns)?.data_type().clone();
    if of.is_nested() || !can_be_key(&of) {
        let held = type_name(&of);
        return Err(node.fault(format!("column {:?} holds {held}, which cannot become columns", config.columns)));
    }
    Ok(of)
}

fn given_values(
    node: &GraphNode,
    config: &PivotConfig,
    given: &[serde_json::Value],
    of: &DataType,
) -> Result<Vec<ScalarValue>, RunError> {
    let typed = |(at, value)| {
        constant(value, of).map_err(|why| {
            let column = &config.columns;
            node.fault(format!(
                "pivotValues, number {}: {why}, as column {column:?} of type {} has them",
                at + 1,
                type_name(of)
            ))
        })
    };
    given.iter().enumerate().map(typed).collect()
}

/// What the column of a value is called: the value's text.
fn name_of(value: &ScalarValue) -> Result<String, RunError> {
    Ok(text_at(&value.to_array()?, 0).unwrap_or_else(|| "null".to_owned()))
}

/// Whether a row has the value.
fn is(name: &str, of: &DataType, value: ScalarValue) -> Expr {
    let field = one_zero(column(name), of);
    if value.is_null() { field.is_null() } else { field.eq(one_zero(lit(value), of)) }
}

/// A measure of those rows only for which `condition` is true.
fn only(measure: Expr, condition: Expr) -> Expr {
    match measure {
        Expr::AggregateFunction(mut function) => {
            function.params.filter = Some(Box::new(condition));
            Expr::AggregateFunction(function)
        }
        other => other,
    }
}

fn broken(error: datafusion::arrow::error::ArrowError) -> RunError {
    RunError::from(DataFusionError::from(error))
}

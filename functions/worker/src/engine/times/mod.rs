//! Dates and times of all years that people write, 0001 to 9999, in microseconds: DataFusion's own functions and casts
//! go by nanoseconds, and these end in 2262.

mod bin;
mod now;
mod read;
mod trunc;

#[cfg(test)]
mod tests;

use datafusion::arrow::array::{ArrayRef, AsArray, PrimitiveArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::expr::{Between, BinaryExpr, Cast, TryCast};
use datafusion::logical_expr::{ColumnarValue, Expr, ExprSchemable, Operator, ScalarUDF, cast as cast_to};
use std::sync::Arc;

/// The scalar functions by default, with our own in the place of those that go by nanoseconds.
pub fn functions() -> Vec<Arc<ScalarUDF>> {
    let own: [ScalarUDF; 5] = [trunc::function(), bin::function(), now::function(), read::timestamp(), read::micros()];
    let mut functions = SessionStateDefaults::default_scalar_functions();
    functions.retain(|function| own.iter().all(|own| own.name() != function.name()));
    functions.extend(own.map(Arc::new));
    functions
}

/// Casts to microseconds where SQL's own type would be of nanoseconds, and a date as such a time where it meets one.
///
/// # Errors
/// None; it fits the walk over an expression.
pub fn in_micros(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::Cast(cast) => match micros(cast.field.data_type()) {
            Some(to) => Transformed::yes(Expr::Cast(Cast::new(cast.expr, to))),
            None => Transformed::no(Expr::Cast(cast)),
        },
        Expr::TryCast(cast) => match micros(cast.field.data_type()) {
            Some(to) => Transformed::yes(Expr::TryCast(TryCast::new(cast.expr, to))),
            None => Transformed::no(Expr::TryCast(cast)),
        },
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if op.supports_propagation() || op == Operator::Minus || op == Operator::NotEq =>
        {
            let [left, right] = beside([*left, *right], schema);
            Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let [expr, low, high] = beside([*expr, *low, *high], schema);
            Transformed::yes(Expr::Between(Between::new(Box::new(expr), negated, Box::new(low), Box::new(high))))
        }
        other => Transformed::no(other),
    })
}

/// The type in microseconds for one in nanoseconds.
fn micros(of: &DataType) -> Option<DataType> {
    match of {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        _ => None,
    }
}

/// Dates as times in microseconds, where one of the values is such a time.
fn beside<const N: usize>(values: [Expr; N], schema: &DFSchema) -> [Expr; N] {
    let time = values.iter().find_map(|value| match value.get_type(schema) {
        Ok(of @ DataType::Timestamp(TimeUnit::Microsecond, _)) => Some(of),
        _ => None,
    });
    let Some(time) = time else { return values };
    values.map(|value| match value.get_type(schema) {
        Ok(DataType::Date32) => cast_to(value, time.clone()),
        _ => value,
    })
}

/// The rows of a time as microseconds, without a zone.
fn as_micros(values: &ArrayRef) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let zone = match values.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micros = cast(values, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    Ok(micros.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<Arc<str>>))
}

/// Works on the array of a function's value; a single value stays one.
fn over(value: &ColumnarValue, work: impl FnOnce(&ArrayRef) -> Result<ArrayRef>) -> Result<ColumnarValue> {
    match value {
        ColumnarValue::Array(values) => work(values).map(ColumnarValue::Array),
        ColumnarValue::Scalar(value) => {
            let result = work(&value.to_array()?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        }
    }
}

/// The one text that an argument is.
fn text<'a>(value: &'a ColumnarValue, what: &str) -> Result<&'a str> {
    match value {
        ColumnarValue::Scalar(
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)),
        ) => Ok(text),
        _ => exec_err!("{what} must be a text in quotes"),
    }
}

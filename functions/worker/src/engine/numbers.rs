//! One NaN and one zero. Processors give NaNs with a sign, which would be the smallest number of all instead of the
//! largest; and the two zeros are equal, though DataFusion tells them apart where it sorts, and in long lists.

use crate::nodes::columns::one_zero;
use datafusion::arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{InList, ScalarFunction, Sort};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// Makes the value of `expr` have no NaN but the one, where it is calculated.
///
/// # Errors
/// None; it fits the walk over an expression.
pub fn one_nan(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let calculated = match &expr {
        Expr::Negative(_) => true,
        Expr::BinaryExpr(binary) => matches!(
            binary.op,
            Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo
        ),
        Expr::ScalarFunction(function) => function.name() != NAME,
        _ => false,
    };
    if !calculated || !is_float(&expr, schema) {
        return Ok(Transformed::no(expr));
    }
    let function = Arc::new(ScalarUDF::from(OneNan { signature: Signature::any(1, Volatility::Immutable) }));
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![expr]))))
}

/// Makes `expr` take the two zeros for one: in a list, and in the partitions and the order of a window.
///
/// # Errors
/// None; it fits the walk over an expression.
pub fn zeros_are_one(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::InList(InList { expr, list, negated }) if is_float(&expr, schema) => {
            let list = list.into_iter().map(|value| unsigned(value, schema)).collect();
            Transformed::yes(Expr::InList(InList { expr: Box::new(unsigned(*expr, schema)), list, negated }))
        }
        Expr::WindowFunction(mut window) => {
            let params = &mut window.params;
            let signed = params.partition_by.iter().chain(params.order_by.iter().map(|key| &key.expr));
            if !signed.into_iter().any(|key| is_float(key, schema)) {
                return Ok(Transformed::no(Expr::WindowFunction(window)));
            }
            let keys = std::mem::take(&mut params.partition_by);
            params.partition_by = keys.into_iter().map(|key| unsigned(key, schema)).collect();
            params.order_by = unsigned_keys(std::mem::take(&mut params.order_by), schema);
            Transformed::yes(Expr::WindowFunction(window))
        }
        other => Transformed::no(other),
    })
}

/// The keys of a sort, in which the two zeros are one.
pub fn unsigned_keys(keys: Vec<Sort>, schema: &DFSchema) -> Vec<Sort> {
    keys.into_iter().map(|key| Sort { expr: unsigned(key.expr, schema), ..key }).collect()
}

fn unsigned(value: Expr, schema: &DFSchema) -> Expr {
    match value {
        // A list of plain values stays one.
        Expr::Literal(ScalarValue::Float64(Some(v)), more) => Expr::Literal(ScalarValue::Float64(Some(v + 0.0)), more),
        Expr::Literal(ScalarValue::Float32(Some(v)), more) => Expr::Literal(ScalarValue::Float32(Some(v + 0.0)), more),
        value => match value.get_type(schema) {
            Ok(of) => one_zero(value, &of),
            Err(_) => value,
        },
    }
}

/// Whether the type of `expr` is known and one of floating point.
pub fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|of| matches!(of, DataType::Float32 | DataType::Float64))
}

const NAME: &str = "one_nan";

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneNan {
    signature: Signature,
}

impl ScalarUDFImpl for OneNan {
    fn name(&self) -> &str {
        NAME
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [of] => Ok(of.clone()),
            _ => internal_err!("{NAME} takes one number"),
        }
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(plain(values))),
            [ColumnarValue::Scalar(value)] => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&plain(&value.to_array()?), 0)?))
            }
            _ => internal_err!("{NAME} takes one number"),
        }
    }
}

fn plain(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Float64 => mapped::<Float64Type>(values, |v| v.is_nan() && v.is_sign_negative(), f64::NAN),
        DataType::Float32 => mapped::<Float32Type>(values, |v| v.is_nan() && v.is_sign_negative(), f32::NAN),
        _ => Arc::clone(values),
    }
}

fn mapped<T: ArrowPrimitiveType>(values: &ArrayRef, odd: impl Fn(T::Native) -> bool, nan: T::Native) -> ArrayRef {
    let numbers = values.as_primitive::<T>();
    if !numbers.values().iter().any(|&value| odd(value)) {
        return Arc::clone(values);
    }
    Arc::new(numbers.unary::<_, T>(|value| if odd(value) { nan } else { value }))
}

//! One NaN: processors give some with a sign, which would be the smallest number of all instead of the largest.

use datafusion::arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
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
    let float = |of: DataType| matches!(of, DataType::Float32 | DataType::Float64);
    if !calculated || !expr.get_type(schema).is_ok_and(float) {
        return Ok(Transformed::no(expr));
    }
    let function = Arc::new(ScalarUDF::from(OneNan { signature: Signature::any(1, Volatility::Immutable) }));
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![expr]))))
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

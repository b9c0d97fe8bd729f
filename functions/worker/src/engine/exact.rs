//! Sums that are made with room to spare and then brought back to their type: a sum that its type does not hold is an
//! error, and never a wrong number.

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{Result, exec_err};
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use std::sync::Arc;

/// Digits that a sum has more than its values, by which it holds ten thousand million of them.
const MORE_DIGITS: u8 = 10;

/// The type in which values of `data_type` are summed so that nothing overflows; none where their own sum's type is wide
/// enough.
pub fn wide(data_type: &DataType) -> Option<DataType> {
    match data_type {
        of if of.is_integer() => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)),
        DataType::Decimal128(precision, scale) if precision + MORE_DIGITS > DECIMAL128_MAX_PRECISION => {
            Some(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale))
        }
        _ => None,
    }
}

/// `value` as `to`, or an error that begins with `what`.
pub fn fits(value: Expr, to: DataType, what: String) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let function = Arc::new(ScalarUDF::from(Fits { to, what, signature }));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![value]))
}

/// Casts what was made wide.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Fits {
    to: DataType,
    /// Whose value it is, for messages.
    what: String,
    signature: Signature,
}

impl Fits {
    fn cast(&self, wide: &ArrayRef) -> Result<ArrayRef> {
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let result = cast_with_options(wide, &self.to, &options)?;
        let too_large = (0..result.len()).find(|&row| result.is_null(row) && wide.is_valid(row));
        let Some(row) = too_large else { return Ok(result) };
        let (value, what) = (array_value_to_string(wide, row)?, &self.what);
        match self.to {
            DataType::Decimal128(precision, _) => exec_err!(
                "{what} is {value}, which is more than the {precision} digits of a decimal; cast the values to double before"
            ),
            _ => exec_err!(
                "{what} is {value}, which is more than a bigint holds (overflow); cast the values to decimal before"
            ),
        }
    }
}

impl ScalarUDFImpl for Fits {
    fn name(&self) -> &str {
        "fits"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        make_scalar_function(|args: &[ArrayRef]| self.cast(&args[0]), Vec::new())(&args.args)
    }
}

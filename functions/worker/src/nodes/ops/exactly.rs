//! Floats as the whole numbers or decimals that they are, to be compared with such: null where one is none.

use super::Misfit;
use super::convert::{To, convert};
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::functions::utils::make_scalar_function;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use shared::models::node::DataTypeName;
use std::sync::Arc;

/// `value`, a float, as one of `to`, which is `Int64` or `Decimal128`.
pub fn exactly(value: Expr, to: DataType) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    let function = Arc::new(ScalarUDF::from(Exactly { to, signature }));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![value]))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Exactly {
    to: DataType,
    signature: Signature,
}

impl Exactly {
    fn values(&self, floats: &ArrayRef) -> Result<ArrayRef> {
        let to = match self.to {
            DataType::Decimal128(precision, scale) => {
                To { name: DataTypeName::Decimal, precision: Some(precision), scale: Some(scale) }
            }
            _ => To { name: DataTypeName::Bigint, precision: None, scale: None },
        };
        let mut misfits: Vec<Misfit> = Vec::new();
        Ok(convert(floats, to, "", &mut misfits)?)
    }
}

impl ScalarUDFImpl for Exactly {
    fn name(&self) -> &str {
        "exactly"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        make_scalar_function(|args: &[ArrayRef]| self.values(&args[0]), Vec::new())(&args.args)
    }
}

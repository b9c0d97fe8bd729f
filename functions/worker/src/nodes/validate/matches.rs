//! Whether texts match a regular expression, which is compiled once and not with each batch, as DataFusion does it.

use datafusion::arrow::array::{AsArray, BooleanArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use regex::Regex;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Whether `pattern` is found in a text; null of null.
///
/// # Errors
/// Where it is no regular expression.
pub fn matches(text: Expr, pattern: &str) -> Result<Expr, regex::Error> {
    let matches = Matches { pattern: Regex::new(pattern)?, signature: Signature::any(1, Volatility::Immutable) };
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(matches)), vec![text])))
}

#[derive(Debug)]
struct Matches {
    pattern: Regex,
    signature: Signature,
}

impl PartialEq for Matches {
    fn eq(&self, other: &Self) -> bool {
        self.pattern.as_str() == other.pattern.as_str()
    }
}
impl Eq for Matches {}
impl Hash for Matches {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.pattern.as_str().hash(state);
    }
}

impl ScalarUDFImpl for Matches {
    fn name(&self) -> &'static str {
        "matches"
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text] = args.args.as_slice() else { return exec_err!("a regular expression is matched with one text") };
        let texts = cast(&text.to_array(args.number_rows)?, &DataType::Utf8)?;
        let found = texts.as_string::<i32>().iter().map(|text| text.map(|text| self.pattern.is_match(text)));
        Ok(ColumnarValue::Array(Arc::new(found.collect::<BooleanArray>())))
    }
}

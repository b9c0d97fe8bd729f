//! `to_timestamp` and `to_timestamp_micros` in microseconds.

use super::over;
use crate::sources::{forms, parse};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_datafusion_err, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

const TYPE: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// `to_timestamp`: numbers are seconds since 1970.
pub fn timestamp() -> ScalarUDF {
    named("to_timestamp", 1_000_000)
}

/// `to_timestamp_micros`: numbers are microseconds since 1970.
pub fn micros() -> ScalarUDF {
    named("to_timestamp_micros", 1)
}

fn named(name: &'static str, unit: i64) -> ScalarUDF {
    ScalarUDF::from(Read { name, unit, signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Read {
    name: &'static str,
    /// Microseconds that a number one is.
    unit: i64,
    signature: Signature,
}

impl ScalarUDFImpl for Read {
    fn name(&self) -> &str {
        self.name
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let Some((of, formats)) = types.split_first() else { return plan_err!("{} takes a value", self.name) };
        let is_text = |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let of = match of {
            of if is_text(of) => DataType::Utf8,
            of if of.is_integer() => DataType::Int64,
            of if of.is_floating() || of.is_decimal() => DataType::Float64,
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            DataType::Date32 | DataType::Date64 | DataType::Null => TYPE,
            other => return plan_err!("{} does not make a time of a value of type {other}", self.name),
        };
        if !formats.iter().all(is_text) || (of != DataType::Utf8 && !formats.is_empty()) {
            return plan_err!("{} takes a text and the formats of it, which are texts", self.name);
        }
        Ok(std::iter::once(of).chain(formats.iter().map(|_| DataType::Utf8)).collect())
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.first() {
            Some(of @ DataType::Timestamp(..)) => Ok(of.clone()),
            _ => Ok(TYPE),
        }
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((value, formats)) = args.args.split_first() else {
            return internal_err!("{} takes a value", self.name);
        };
        let rows = args.number_rows;
        let formats: Vec<ArrayRef> = formats.iter().map(|format| format.to_array(rows)).collect::<Result<_>>()?;
        if formats.is_empty() {
            return over(value, |values| self.times(values, &[]));
        }
        Ok(ColumnarValue::Array(self.times(&value.to_array(rows)?, &formats)?))
    }
}

impl Read {
    fn times(&self, values: &ArrayRef, formats: &[ArrayRef]) -> Result<ArrayRef> {
        let times: PrimitiveArray<TimestampMicrosecondType> = match values.data_type() {
            DataType::Utf8 => (0..values.len())
                .map(|row| {
                    let texts = values.as_string::<i32>();
                    if texts.is_null(row) { Ok(None) } else { self.text(texts.value(row), row, formats).map(Some) }
                })
                .collect::<Result<_>>()?,
            DataType::Int64 => {
                let range = |value: i64| exec_datafusion_err!("{} has no time for {value}", self.name);
                let numbers = values.as_primitive::<Int64Type>();
                numbers.try_unary(|value| value.checked_mul(self.unit).ok_or_else(|| range(value)))?
            }
            DataType::Float64 => values.as_primitive::<Float64Type>().try_unary(|value| {
                let micros = (value * self.unit as f64).round();
                if micros.abs() < 9.2e18 {
                    Ok(micros as i64)
                } else {
                    exec_err!("{} has no time for {value}", self.name)
                }
            })?,
            _ => return Ok(cast(values, values.data_type())?),
        };
        Ok(Arc::new(times))
    }

    /// The time in one text: by the first format that fits, or as people write it.
    fn text(&self, text: &str, row: usize, formats: &[ArrayRef]) -> Result<i64> {
        let read = if formats.is_empty() {
            parse::timestamp(text)
        } else {
            let formats = formats.iter().map(|formats| formats.as_string::<i32>());
            formats.filter(|formats| formats.is_valid(row)).find_map(|formats| forms::micros(text, formats.value(row)))
        };
        read.ok_or_else(|| {
            let form = if formats.is_empty() { "time such as 2024-05-31T23:59:59Z" } else { "time of its formats" };
            exec_datafusion_err!("{} finds no {form} in {}", self.name, parse::quoted(text))
        })
    }
}

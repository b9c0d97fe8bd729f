//! `date_bin` in microseconds.

use super::{as_micros, over, trunc::naive};
use chrono::{Datelike, Months, NaiveDateTime};
use datafusion::arrow::array::{ArrayRef, PrimitiveArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, IntervalDayTimeType, IntervalMonthDayNanoType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, internal_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;

const NAME: &str = "date_bin";
const DAY: i128 = 86_400_000_000_000;

/// The function.
pub fn function() -> ScalarUDF {
    ScalarUDF::from(Bin { signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bin {
    signature: Signature,
}

impl ScalarUDFImpl for Bin {
    fn name(&self) -> &str {
        NAME
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let (size, rest) = match types {
            [size, rest @ ..] if matches!(rest.len(), 1 | 2) => (size, rest),
            _ => {
                return plan_err!(
                    "{NAME} takes an interval, a time and, where it is not 1970, the time of a beginning"
                );
            }
        };
        let size = match size {
            DataType::Interval(_) => size.clone(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Duration(_) => {
                DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano)
            }
            other => return plan_err!("{NAME} takes an interval first, and not a value of type {other}"),
        };
        let mut coerced = vec![size];
        for of in rest {
            coerced.push(match of {
                DataType::Timestamp(TimeUnit::Second | TimeUnit::Millisecond, zone) => {
                    DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
                }
                DataType::Timestamp(..) => of.clone(),
                DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Null => {
                    DataType::Timestamp(TimeUnit::Microsecond, None)
                }
                other => return plan_err!("{NAME} takes times, and not a value of type {other}"),
            });
        }
        Ok(coerced)
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, of, ..] => Ok(of.clone()),
            _ => internal_err!("{NAME} takes an interval and a time"),
        }
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [size, value, begin @ ..] = args.args.as_slice() else {
            return internal_err!("{NAME} takes an interval and a time");
        };
        let begin = match begin.first() {
            None => 0,
            Some(ColumnarValue::Scalar(begin)) => {
                let micros = as_micros(&begin.to_array()?)?;
                if micros.iter().next().flatten().is_none() {
                    return Ok(ColumnarValue::Scalar(ScalarValue::try_from(&value.data_type())?));
                }
                micros.value(0)
            }
            Some(ColumnarValue::Array(_)) => {
                return exec_err!("the beginning in {NAME} must be one time, and no column");
            }
        };
        match Size::of(size)? {
            None => Ok(ColumnarValue::Scalar(ScalarValue::try_from(&value.data_type())?)),
            Some(size) => over(value, |values| binned(values, size, begin)),
        }
    }
}

/// How long a bin is.
#[derive(Clone, Copy)]
enum Size {
    Nanos(i128),
    Months(i64),
}

impl Size {
    fn of(size: &ColumnarValue) -> Result<Option<Self>> {
        let size = match size {
            ColumnarValue::Scalar(size) if size.is_null() => return Ok(None),
            ColumnarValue::Scalar(ScalarValue::IntervalDayTime(Some(size))) => {
                let (days, millis) = IntervalDayTimeType::to_parts(*size);
                Self::Nanos(i128::from(days) * DAY + i128::from(millis) * 1_000_000)
            }
            ColumnarValue::Scalar(ScalarValue::IntervalYearMonth(Some(months))) => Self::Months(i64::from(*months)),
            ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(size))) => {
                match IntervalMonthDayNanoType::to_parts(*size) {
                    (0, days, nanos) => Self::Nanos(i128::from(days) * DAY + i128::from(nanos)),
                    (months, 0, 0) => Self::Months(i64::from(months)),
                    _ => {
                        return exec_err!(
                            "the interval in {NAME} must be of months, or of days and less, and not of both"
                        );
                    }
                }
            }
            _ => return exec_err!("the interval in {NAME} must be one, such as INTERVAL '15 minutes', and no column"),
        };
        match size {
            Self::Nanos(nanos) if nanos <= 0 => exec_err!("the interval in {NAME} must be longer than nothing"),
            Self::Months(months) if months <= 0 => exec_err!("the interval in {NAME} must be longer than nothing"),
            size => Ok(Some(size)),
        }
    }
}

fn binned(values: &ArrayRef, size: Size, begin: i64) -> Result<ArrayRef> {
    let zone = match values.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        other => return exec_err!("{NAME} takes times, and not values of type {other}"),
    };
    let bins: PrimitiveArray<TimestampMicrosecondType> = as_micros(values)?.try_unary(|value| {
        let bin = match size {
            Size::Nanos(nanos) => {
                let since = (i128::from(value) - i128::from(begin)) * 1_000;
                let bin = i128::from(begin) * 1_000 + since.div_euclid(nanos) * nanos;
                i64::try_from(bin.div_euclid(1_000)).ok()
            }
            Size::Months(months) => months_bin(value, months, begin),
        };
        bin.ok_or_else(|| exec_datafusion_err!("{NAME} cannot place the time {value} µs from 1970"))
    })?;
    let bins: ArrayRef = Arc::new(bins.with_timezone_opt(zone));
    Ok(cast(&bins, values.data_type())?)
}

fn months_bin(micros: i64, months: i64, begin: i64) -> Option<i64> {
    let (time, begin) = (naive(micros)?, naive(begin)?);
    let of = |time: NaiveDateTime| i64::from(time.year()) * 12 + i64::from(time.month0());
    let bin = (of(time) - of(begin)).div_euclid(months) * months;
    let start = match later(begin, bin)? {
        start if start > time => later(begin, bin - months)?,
        start => start,
    };
    Some(start.and_utc().timestamp_micros())
}

fn later(begin: NaiveDateTime, months: i64) -> Option<NaiveDateTime> {
    let by = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
    if months < 0 { begin.checked_sub_months(by) } else { begin.checked_add_months(by) }
}

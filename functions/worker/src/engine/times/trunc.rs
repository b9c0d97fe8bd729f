//! `date_trunc` in microseconds.

use super::{as_micros, over, text};
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{ArrayRef, PrimitiveArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::types::{NativeType, logical_date, logical_string};
use datafusion::common::{Result, exec_datafusion_err, exec_err, internal_err};
use datafusion::logical_expr::{
    Coercion, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    TypeSignatureClass, Volatility,
};
use std::str::FromStr;
use std::sync::Arc;

const NAME: &str = "date_trunc";

/// The function.
pub fn function() -> ScalarUDF {
    ScalarUDF::from(Trunc { signature: signature(), aliases: vec!["datetrunc".to_owned()] })
}

fn signature() -> Signature {
    let unit = Coercion::new_exact(TypeSignatureClass::Native(logical_string()));
    let from = vec![TypeSignatureClass::Native(logical_string()), TypeSignatureClass::Native(logical_date())];
    let micros = NativeType::Timestamp(TimeUnit::Microsecond, None);
    let time = Coercion::new_implicit(TypeSignatureClass::Timestamp, from, micros);
    let of_day = Coercion::new_exact(TypeSignatureClass::Time);
    let times = TypeSignature::Coercible(vec![unit.clone(), time]);
    Signature::one_of(vec![times, TypeSignature::Coercible(vec![unit, of_day])], Volatility::Immutable)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Trunc {
    signature: Signature,
    aliases: Vec<String>,
}

impl ScalarUDFImpl for Trunc {
    fn name(&self) -> &str {
        NAME
    }
    fn aliases(&self) -> &[String] {
        &self.aliases
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, DataType::Null] => Ok(DataType::Timestamp(TimeUnit::Microsecond, None)),
            [_, of] => Ok(of.clone()),
            _ => internal_err!("{NAME} takes a unit and a time"),
        }
    }
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [unit, value] = args.args.as_slice() else { return internal_err!("{NAME} takes a unit and a time") };
        let unit = Unit::from_str(text(unit, "the unit of date_trunc")?)?;
        over(value, |values| truncated(values, unit))
    }
}

/// What a time is cut to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// So many microseconds, of a time of any zone.
    Fixed(i64),
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
}

impl FromStr for Unit {
    type Err = datafusion::common::DataFusionError;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.to_lowercase().as_str() {
            "microsecond" => Self::Fixed(1),
            "millisecond" => Self::Fixed(1_000),
            "second" => Self::Fixed(1_000_000),
            "minute" => Self::Fixed(60_000_000),
            "hour" => Self::Hour,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "quarter" => Self::Quarter,
            "year" => Self::Year,
            _ => {
                return exec_err!(
                    "date_trunc does not know the unit {text:?}; it knows microsecond, millisecond, second, minute, hour, \
                     day, week, month, quarter and year"
                );
            }
        })
    }
}

fn truncated(values: &ArrayRef, unit: Unit) -> Result<ArrayRef> {
    let zone = match values.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        DataType::Time32(_) | DataType::Time64(_) => return of_day(values, unit),
        DataType::Null => None,
        other => return exec_err!("date_trunc cuts times, and not values of type {other}"),
    };
    let zoned = zone.as_deref().map(Tz::from_str).transpose()?;
    let micros = as_micros(values)?;
    let cut: PrimitiveArray<TimestampMicrosecondType> = match (unit, zoned) {
        (Unit::Fixed(size), _) => micros.unary(|value| value - value.rem_euclid(size)),
        (unit, None) => micros.try_unary(|value| {
            let floor = naive(value).and_then(|local| floor(local, unit));
            floor.map(|floor| floor.and_utc().timestamp_micros()).ok_or_else(|| out_of_range(value))
        })?,
        (unit, Some(zone)) => {
            micros.try_unary(|value| in_zone(value, zone, unit).ok_or_else(|| out_of_range(value)))?
        }
    };
    let cut: ArrayRef = Arc::new(cut.with_timezone_opt(zone));
    Ok(if values.data_type() == &DataType::Null { cut } else { cast(&cut, values.data_type())? })
}

fn of_day(values: &ArrayRef, unit: Unit) -> Result<ArrayRef> {
    let size = match unit {
        Unit::Fixed(size) => size,
        Unit::Hour => 3_600_000_000,
        other => return exec_err!("date_trunc cannot cut a time of day to {other:?}"),
    };
    let micros = cast(&cast(values, &DataType::Time64(TimeUnit::Microsecond))?, &DataType::Int64)?;
    let micros = datafusion::arrow::array::AsArray::as_primitive::<datafusion::arrow::datatypes::Int64Type>(&micros);
    let cut: ArrayRef = Arc::new(
        micros.unary::<_, datafusion::arrow::datatypes::Time64MicrosecondType>(|value| value - value.rem_euclid(size)),
    );
    Ok(cast(&cut, values.data_type())?)
}

fn out_of_range(micros: i64) -> datafusion::common::DataFusionError {
    exec_datafusion_err!("date_trunc cannot cut the time {micros} µs from 1970")
}

pub(super) fn naive(micros: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(micros).map(|time| time.naive_utc())
}

/// The largest time of the unit that is not behind `time`.
fn floor(time: NaiveDateTime, unit: Unit) -> Option<NaiveDateTime> {
    let date = time.date();
    let first = |month| NaiveDate::from_ymd_opt(date.year(), month, 1);
    let date = match unit {
        Unit::Fixed(_) => return Some(time),
        Unit::Hour => return date.and_hms_opt(time.hour(), 0, 0),
        Unit::Day => Some(date),
        Unit::Week => date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday()))),
        Unit::Month => first(date.month()),
        Unit::Quarter => first(date.month0() / 3 * 3 + 1),
        Unit::Year => first(1),
    };
    Some(date?.and_time(NaiveTime::MIN))
}

/// The same by the clocks of a zone.
fn in_zone(micros: i64, zone: Tz, unit: Unit) -> Option<i64> {
    let time = zone.from_utc_datetime(&naive(micros)?);
    let floor = floor(time.naive_local(), unit)?;
    let instant = match zone.from_local_datetime(&floor) {
        chrono::LocalResult::Single(instant) => instant,
        // The hour that comes twice: the one that the time was in.
        chrono::LocalResult::Ambiguous(one, other) => {
            if one.offset().fix() == time.offset().fix() {
                one
            } else {
                other
            }
        }
        // Clocks leapt over it: the first moment behind the leap.
        chrono::LocalResult::None => {
            let before = floor.checked_sub_signed(TimeDelta::hours(3))?;
            zone.from_local_datetime(&before).earliest()?.checked_add_signed(TimeDelta::hours(3))?
        }
    };
    Some(instant.timestamp_micros())
}

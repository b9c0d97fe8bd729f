//! One value of MySQL's binary protocol, appended to its column.

use super::super::rows::{Misfit, Values};
use super::columns::{As, MysqlColumn};
use crate::sources::parse;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use mysql_async::Value;

/// Appends a value that is not null.
///
/// # Errors
/// Where the column's type does not hold it; nothing is appended then.
pub fn append(column: &MysqlColumn, value: Value, values: &mut Values) -> Result<(), Misfit> {
    match (column.read, value) {
        (As::Boolean, Value::Int(n)) => boolean(n, values),
        (As::Boolean, Value::UInt(n)) => boolean(i64::try_from(n).unwrap_or(i64::MAX), values),
        (As::Integer | As::Year, Value::Int(n)) => integer(i128::from(n), values),
        (As::Integer | As::Year, Value::UInt(n)) => integer(i128::from(n), values),
        (As::Float, Value::Float(n)) => float(f64::from(n), n, values),
        (As::Float, Value::Double(n)) => float(n, n as f32, values),
        (As::Decimal, Value::Bytes(bytes)) => decimal(column, &bytes, values),
        (As::Date, Value::Date(y, m, d, ..)) => date(y, m, d, values),
        (As::Micros, Value::Date(y, m, d, h, i, s, us)) => micros((y, m, d), (h, i, s, us), values),
        (As::Time(digits), Value::Time(negative, days, h, i, s, us)) => {
            text(&span(negative, u64::from(days) * 24 + u64::from(h), (i, s, us), digits), values)
        }
        (As::Bits, Value::Bytes(bytes)) => bits(&bytes, values),
        (As::Hex, Value::Bytes(bytes)) => text(&hex::encode(bytes), values),
        (As::Text, Value::Bytes(bytes)) => match std::str::from_utf8(&bytes) {
            Ok(word) => text(word, values),
            Err(_) => Err(Misfit::new(String::from_utf8_lossy(&bytes), "the text is not UTF-8")),
        },
        (_, other) => Err(unknown(&other)),
    }
}

fn unknown(value: &Value) -> Misfit {
    Misfit::new(value.as_sql(true), "the database sent the value in a form that is not known")
}

fn boolean(number: i64, values: &mut Values) -> Result<(), Misfit> {
    match (number, values) {
        (0 | 1, Values::Boolean(b)) => b.append_value(number == 1),
        _ => {
            let why = "is no boolean; give the field a number's type to keep it, or cast it in a query";
            return Err(Misfit::new(number.to_string(), format!("{number} in a tinyint(1) {why}")));
        }
    }
    Ok(())
}

fn integer(number: i128, values: &mut Values) -> Result<(), Misfit> {
    let long = || Misfit::new(number.to_string(), format!("{number} does not fit its column's type"));
    match values {
        Values::Int16(b) => b.append_value(i16::try_from(number).map_err(|_| long())?),
        Values::Int32(b) => b.append_value(i32::try_from(number).map_err(|_| long())?),
        Values::Int64(b) => b.append_value(i64::try_from(number).map_err(|_| long())?),
        Values::UInt64(b) => b.append_value(u64::try_from(number).map_err(|_| long())?),
        _ => return Err(long()),
    }
    Ok(())
}

fn float(double: f64, single: f32, values: &mut Values) -> Result<(), Misfit> {
    match values {
        Values::Float32(b) => b.append_value(single),
        Values::Float64(b) => b.append_value(double),
        _ => return Err(unknown(&Value::Double(double))),
    }
    Ok(())
}

fn decimal(column: &MysqlColumn, bytes: &[u8], values: &mut Values) -> Result<(), Misfit> {
    let word = std::str::from_utf8(bytes).map_err(|_| unknown(&Value::Bytes(bytes.to_vec())))?;
    match values {
        Values::Text(b) => b.append_value(word),
        Values::Float64(b) => match word.parse() {
            Ok(number) => b.append_value(number),
            Err(_) => return Err(unknown(&Value::Bytes(bytes.to_vec()))),
        },
        Values::Decimal(b, precision, scale) => match parse::decimal(word, *precision, *scale) {
            Some(units) => b.append_value(units),
            None => return Err(Misfit::new(word, parse::why(word, &column.data_type))),
        },
        _ => return Err(unknown(&Value::Bytes(bytes.to_vec()))),
    }
    Ok(())
}

fn text(word: &str, values: &mut Values) -> Result<(), Misfit> {
    let Values::Text(b) = values else { return Err(unknown(&Value::Bytes(word.into()))) };
    b.append_value(word);
    Ok(())
}

fn no_date(y: u16, m: u8, d: u8) -> Misfit {
    let word = format!("{y:04}-{m:02}-{d:02}");
    let why = format!("{word} is no date; write a query that says what it should become, such as NULLIF");
    Misfit::new(word, why)
}

fn date(y: u16, m: u8, d: u8, values: &mut Values) -> Result<(), Misfit> {
    let day = day(y, m, d).ok_or_else(|| no_date(y, m, d))?;
    let Values::Date(b) = values else { return Err(no_date(y, m, d)) };
    b.append_value(i32::try_from((day - NaiveDate::default()).num_days()).map_err(|_| no_date(y, m, d))?);
    Ok(())
}

fn day(y: u16, m: u8, d: u8) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::from(y), u32::from(m), u32::from(d)).filter(|_| y > 0)
}

fn micros((y, m, d): (u16, u8, u8), (h, i, s, us): (u8, u8, u8, u32), values: &mut Values) -> Result<(), Misfit> {
    let time = NaiveTime::from_hms_micro_opt(u32::from(h), u32::from(i), u32::from(s), us);
    let time = day(y, m, d).zip(time).map(|(day, time)| day.and_time(time).and_utc().timestamp_micros());
    let (Some(time), Values::Micros(b)) = (time, values) else { return Err(no_date(y, m, d)) };
    b.append_value(time);
    Ok(())
}

fn span(negative: bool, hours: u64, (i, s, us): (u8, u8, u32), digits: u8) -> String {
    let sign = if negative { "-" } else { "" };
    let mut word = format!("{sign}{hours:02}:{i:02}:{s:02}");
    if digits > 0 {
        let fraction = format!("{us:06}");
        word = format!("{word}.{}", fraction.get(..usize::from(digits)).unwrap_or(&fraction));
    }
    word
}

fn bits(bytes: &[u8], values: &mut Values) -> Result<(), Misfit> {
    let number = bytes.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    match values {
        Values::Boolean(b) => b.append_value(number == 1),
        Values::UInt64(b) => b.append_value(number),
        _ => return Err(unknown(&Value::UInt(number))),
    }
    Ok(())
}

/// A day after 1970 as a literal writes it.
pub fn date_text(days: i128) -> String {
    let days = i64::try_from(days).unwrap_or_default();
    NaiveDate::default().checked_add_signed(TimeDelta::days(days)).unwrap_or_default().to_string()
}

/// Microseconds after 1970 as a literal writes them.
pub fn time_text(micros: i128) -> String {
    let time = DateTime::from_timestamp_micros(i64::try_from(micros).unwrap_or_default()).unwrap_or_default();
    time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_literals_are_written_as_the_server_does() {
        assert_eq!(span(true, 838, (59, 58, 120_000), 2), "-838:59:58.12");
        assert_eq!(span(false, 1, (2, 3, 0), 0), "01:02:03");
        assert_eq!(
            (date_text(-1).as_str(), time_text(1_500_000).as_str()),
            ("1969-12-31", "1970-01-01 00:00:01.500000")
        );
    }

    #[test]
    fn zero_dates_are_no_dates() {
        assert!(day(0, 0, 0).is_none() && day(2026, 0, 1).is_none() && day(2026, 2, 30).is_none());
        assert!(day(2024, 2, 29).is_some());
    }
}

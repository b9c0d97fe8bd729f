//! Times of all years that people write.

use crate::engine::expressions::Expressions;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::DFSchema;
use serde_json::Map;
use std::sync::Arc;

/// The value of `sql` over `u`, a time without a zone, `z`, the same in UTC, `b`, in Berlin, and `d`, its date.
fn value(time: &str, sql: &str) -> Result<String, String> {
    let text: ArrayRef = Arc::new(StringArray::from(vec![time]));
    let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    let u = cast(&text, &micros(None)).unwrap();
    let z = cast(&u, &micros(Some("UTC"))).unwrap();
    let b = cast(&z, &micros(Some("Europe/Berlin"))).unwrap();
    let d = cast(&u, &DataType::Date32).unwrap();
    let columns = [("t", text), ("u", u), ("z", z), ("b", b), ("d", d)];
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), columns.map(|(_, array)| array).to_vec()).unwrap();
    let schema = DFSchema::try_from(schema).unwrap();
    let expressions = Expressions::new(Map::new());
    let compiled = expressions.compile(sql, &schema)?;
    let bound = expressions.bind(&compiled, &schema).map_err(|e| e.to_string())?;
    let array = bound.evaluate(&batch).and_then(|v| v.into_array(1)).map_err(|e| e.to_string())?;
    array_value_to_string(&array, 0).map_err(|e| e.to_string())
}

const FIRST: &str = "0001-01-01T00:00:00.000001";
const LAST: &str = "9999-12-31T23:59:59.999999";
const OLD: &str = "1500-05-17T12:34:56";
const LEAP: &str = "2024-02-29T12:34:56.123456";

#[test]
fn times_are_cut_in_all_years() {
    for (time, sql, expected) in [
        (FIRST, "date_trunc('month', u)", "0001-01-01T00:00:00"),
        (LAST, "date_trunc('month', u)", "9999-12-01T00:00:00"),
        (OLD, "date_trunc('year', u)", "1500-01-01T00:00:00"),
        (OLD, "date_trunc('week', u)", "1500-05-14T00:00:00"),
        (OLD, "date_trunc('QUARTER', z)", "1500-04-01T00:00:00Z"),
        (LAST, "date_trunc('hour', z)", "9999-12-31T23:00:00Z"),
        (FIRST, "date_trunc('second', u)", "0001-01-01T00:00:00"),
        (LAST, "date_trunc('year', d)", "9999-01-01T00:00:00"),
        (OLD, "date_trunc('day', t)", "1500-05-17T00:00:00"),
        // By the clocks there: half past midnight in Berlin is still the day before in UTC.
        ("2024-06-30T22:30:00", "date_trunc('day', b)", "2024-07-01T00:00:00+02:00"),
        ("3024-06-30T22:30:00", "date_trunc('month', z)", "3024-06-01T00:00:00Z"),
        // The hour that came twice in October, the first time and the second.
        ("2024-10-27T00:30:00", "date_trunc('hour', b)", "2024-10-27T02:00:00+02:00"),
        ("2024-10-27T01:30:00", "date_trunc('hour', b)", "2024-10-27T02:00:00+01:00"),
        (LEAP, "date_trunc('minute', u)", "2024-02-29T12:34:00"),
        (LEAP, "date_trunc('hour', CAST('12:34:56' AS TIME))", "12:00:00"),
    ] {
        assert_eq!(value(time, sql).as_deref(), Ok(expected), "{sql} of {time}");
    }
    assert!(value(OLD, "date_trunc('decade', u)").unwrap_err().contains("does not know the unit"));
}

#[test]
fn times_are_put_into_bins_in_all_years() {
    for (time, sql, expected) in [
        (FIRST, "date_bin(INTERVAL '1 day', u)", "0001-01-01T00:00:00"),
        (LAST, "date_bin(INTERVAL '15 minutes', u)", "9999-12-31T23:45:00"),
        (OLD, "date_bin(INTERVAL '1 month', u)", "1500-05-01T00:00:00"),
        (OLD, "date_bin(INTERVAL '7 days', z, TIMESTAMP '2020-01-01')", "1500-05-16T00:00:00Z"),
        (LEAP, "date_bin(INTERVAL '7 days', z, TIMESTAMP '2020-01-01')", "2024-02-28T00:00:00Z"),
        (LEAP, "date_bin(INTERVAL '3 months', u, TIMESTAMP '2020-02-15')", "2024-02-15T00:00:00"),
        ("2024-02-14T00:00:00", "date_bin(INTERVAL '3 months', u, TIMESTAMP '2020-02-15')", "2023-11-15T00:00:00"),
    ] {
        assert_eq!(value(time, sql).as_deref(), Ok(expected), "{sql} of {time}");
    }
    assert!(value(OLD, "date_bin(INTERVAL '0 days', u)").unwrap_err().contains("longer than nothing"));
}

#[test]
fn times_are_read_and_cast_in_all_years() {
    for time in [FIRST, LAST, OLD, LEAP] {
        for sql in [
            "to_timestamp(t)",
            "to_timestamp_micros(t)",
            "to_timestamp(t, '%d.%m.%Y', '%Y-%m-%dT%H:%M:%S%.f')",
            "CAST(t AS TIMESTAMP)",
            "TRY_CAST(t AS TIMESTAMP)",
            "t::timestamp",
            "coalesce(u, now())",
            "CASE WHEN true THEN u ELSE TIMESTAMP '2000-01-01' END",
        ] {
            assert_eq!(value(time, sql).as_deref(), Ok(time), "{sql}");
        }
    }
    for (time, sql, expected) in [
        (LAST, "to_timestamp(253402300799)", "9999-12-31T23:59:59"),
        (LAST, "to_timestamp(-1.5)", "1969-12-31T23:59:58.500"),
        (LAST, "to_timestamp_micros(1)", "1970-01-01T00:00:00.000001"),
        (OLD, "CAST(d AS TIMESTAMP)", "1500-05-17T00:00:00"),
        (OLD, "TIMESTAMP '0001-01-01T00:00:00'", "0001-01-01T00:00:00"),
        (LEAP, "u AT TIME ZONE 'Europe/Berlin'", "2024-02-29T12:34:56.123456+01:00"),
    ] {
        assert_eq!(value(time, sql).as_deref(), Ok(expected), "{sql}");
    }
    assert_eq!(value(OLD, "to_timestamp('31.12.24', '%d.%m.%Y', '%d.%m.%y')").as_deref(), Ok("2024-12-31T00:00:00"));
    assert!(value(OLD, "to_timestamp('31.12.24', '%d.%m.%Y')").unwrap_err().contains("no time of its formats"));
    assert!(value(OLD, "to_timestamp('soon')").unwrap_err().contains("no time such as"));
}

#[test]
fn times_are_compared_and_subtracted_in_all_years() {
    for time in [FIRST, LAST, OLD] {
        let after = if time == LAST { "true" } else { "false" };
        for sql in [
            "u > now()",
            "z > now()",
            "u > current_date",
            "u > TIMESTAMP '2000-01-01'",
            "u - DATE '2000-01-01' = u - u OR u > TIMESTAMP '2000-01-01'",
            "u BETWEEN DATE '2000-01-01' AND TIMESTAMP '9999-12-31T23:59:59.999999'",
            "d > TIMESTAMP '2000-01-01'",
            "greatest(u, TIMESTAMP '2000-01-01') = u",
        ] {
            assert_eq!(value(time, sql).as_deref(), Ok(after), "{sql} of {time}");
        }
    }
    assert_eq!(value(LAST, "date_part('year', u)").as_deref(), Ok("9999"));
    assert_eq!(value(FIRST, "extract(epoch from u)").as_deref(), Ok("-62135596800.0"));
    assert_eq!(value(OLD, "u + INTERVAL '1 month'").as_deref(), Ok("1500-06-17T12:34:56"));
}

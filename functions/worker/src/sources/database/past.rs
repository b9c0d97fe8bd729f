//! Which rows an incremental load asks a database for.

use super::Column;
use crate::databases::Dialect;
use crate::sources::Past;
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta};
use datafusion::arrow::datatypes::{DataType, Decimal128Type, DecimalType};
use datafusion::scalar::ScalarValue;

/// The condition of the rows that must come; none where only reading them all can tell: texts, whose order the server may
/// see otherwise, and columns whose values the cast to the target's type may raise to the watermark.
pub fn condition(dialect: Dialect, columns: &[Column], past: &Past) -> Option<String> {
    let column = columns.iter().find(|column| column.name == past.column)?;
    let literal = literal(dialect, &column.data_type, &past.from.scalar(&past.field).ok()?)?;
    let quoted = dialect.quote(&column.name);
    let no_times = first(dialect, &column.data_type).map(|first| format!(" OR {quoted} < {first}")).unwrap_or_default();
    Some(format!("({quoted} >= {literal} OR {quoted} IS NULL{no_times})"))
}

/// The first value of a type of MySQL's that can be read, as a literal: what lies before it, such as 0000-00-00, is no
/// time, and must come as null must, to be rejected. What is no time by its month or day alone, such as 2026-00-01, comes
/// where it is past the watermark: to find the others, the server would look at each row.
///
/// Unlike zeros, such a literal is valid in every `sql_mode`. One that the column cannot hold would keep the server from
/// its index.
fn first(dialect: Dialect, column: &DataType) -> Option<&'static str> {
    match (dialect, column) {
        (Dialect::Mysql, DataType::Date32) => Some("DATE '0001-01-01'"),
        (Dialect::Mysql, DataType::Timestamp(_, None)) => Some("TIMESTAMP '0001-01-01 00:00:00'"),
        (Dialect::Mysql, DataType::Timestamp(_, Some(_))) => Some("TIMESTAMP '1970-01-01 00:00:01'"),
        _ => None,
    }
}

/// The watermark as a literal of the column's own type.
fn literal(dialect: Dialect, column: &DataType, from: &ScalarValue) -> Option<String> {
    use ScalarValue as S;
    let is_whole = matches!(column, DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt64);
    match (column, from) {
        (_, S::Int16(Some(from))) if is_whole => Some(from.to_string()),
        (_, S::Int32(Some(from))) if is_whole => Some(from.to_string()),
        (_, S::Int64(Some(from))) if is_whole => Some(from.to_string()),
        (_, S::Decimal128(Some(from), precision, scale)) if is_whole && *scale >= 0 => {
            Some(Decimal128Type::format_decimal(*from, *precision, *scale))
        }
        // Fewer digits behind the point would round up to the watermark.
        (DataType::Decimal128(_, own), S::Decimal128(Some(from), precision, scale)) if scale >= own && *own >= 0 => {
            Some(Decimal128Type::format_decimal(*from, *precision, *scale))
        }
        (DataType::Date32, S::Date32(Some(days))) => {
            let day = NaiveDate::default().checked_add_signed(TimeDelta::days(i64::from(*days)))?;
            written(day).then(|| format!("DATE '{day}'"))
        }
        (DataType::Timestamp(_, zone), S::TimestampMicrosecond(Some(micros), _)) => {
            let time: NaiveDateTime = DateTime::from_timestamp_micros(*micros)?.naive_utc();
            let text = time.format("%Y-%m-%d %H:%M:%S%.6f");
            written(time.date()).then(|| match (dialect, zone) {
                (Dialect::Postgresql, Some(_)) => format!("TIMESTAMPTZ '{text}+00'"),
                // MySQL takes it in the session's zone, which is UTC.
                _ => format!("TIMESTAMP '{text}'"),
            })
        }
        _ => None,
    }
}

/// Whether both dialects write the year as we do.
fn written(day: NaiveDate) -> bool {
    (1..=9999).contains(&day.year())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Watermark;
    use datafusion::arrow::datatypes::TimeUnit;

    fn of(dialect: Dialect, column: &DataType, from: ScalarValue) -> Option<String> {
        literal(dialect, column, &from)
    }

    #[test]
    fn a_watermark_is_written_exactly() {
        use Dialect::{Mysql, Postgresql};
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let at = |n| ScalarValue::TimestampMicrosecond(Some(n), None);
        let text = |t: &str| Some(t.to_owned());
        assert_eq!(of(Mysql, &DataType::UInt64, ScalarValue::Int64(Some(-5))), text("-5"));
        let money = ScalarValue::Decimal128(Some(-1234), 10, 3);
        assert_eq!(of(Mysql, &DataType::Decimal128(8, 2), money.clone()), text("-1.234"));
        assert_eq!(of(Mysql, &DataType::Int32, money), text("-1.234"));
        assert_eq!(of(Postgresql, &DataType::Date32, ScalarValue::Date32(Some(-1))), text("DATE '1969-12-31'"));
        assert_eq!(of(Postgresql, &micros, at(-1)), text("TIMESTAMP '1969-12-31 23:59:59.999999'"));
        assert_eq!(of(Postgresql, &zoned, at(500_001)), text("TIMESTAMPTZ '1970-01-01 00:00:00.500001+00'"));
        assert_eq!(of(Mysql, &zoned, at(500_001)), text("TIMESTAMP '1970-01-01 00:00:00.500001'"));
    }

    #[test]
    fn what_is_no_time_to_mysql_comes_too() {
        let asked = |dialect, data_type: DataType, kind: &str| {
            let field = serde_json::from_value(serde_json::json!({"name": "at", "dataType": kind})).unwrap();
            let from = Watermark { r#type: kind.to_owned(), value: "1".to_owned(), run: "run_1".to_owned() };
            let column = Column { name: "at".to_owned(), data_type, fallible: true };
            condition(dialect, &[column], &Past { column: "at".to_owned(), field, from }).unwrap()
        };
        let micros = |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let cases = [
            (DataType::Date32, "date", "(`at` >= DATE '1970-01-02' OR `at` IS NULL OR `at` < DATE '0001-01-01')"),
            (
                micros(None),
                "timestamp",
                "(`at` >= TIMESTAMP '1970-01-01 00:00:00.000001' OR `at` IS NULL OR `at` < TIMESTAMP '0001-01-01 00:00:00')",
            ),
            (
                micros(Some("UTC")),
                "timestamptz",
                "(`at` >= TIMESTAMP '1970-01-01 00:00:00.000001' OR `at` IS NULL OR `at` < TIMESTAMP '1970-01-01 00:00:01')",
            ),
            (DataType::Int64, "bigint", "(`at` >= 1 OR `at` IS NULL)"),
        ];
        for (data_type, kind, wanted) in cases {
            assert_eq!(asked(Dialect::Mysql, data_type, kind), wanted);
        }
        let postgresql = asked(Dialect::Postgresql, DataType::Date32, "date");
        assert_eq!(postgresql, "(\"at\" >= DATE '1970-01-02' OR \"at\" IS NULL)");
    }

    #[test]
    fn what_only_reading_can_tell_is_read() {
        let mysql = |column: DataType, from| of(Dialect::Mysql, &column, from);
        assert_eq!(mysql(DataType::Utf8, ScalarValue::Utf8(Some("b".into()))), None);
        assert_eq!(mysql(DataType::Utf8, ScalarValue::Int64(Some(1))), None);
        // 1.26 would become 1.3.
        assert_eq!(mysql(DataType::Decimal128(8, 2), ScalarValue::Decimal128(Some(13), 8, 1)), None);
        assert_eq!(mysql(DataType::Float64, ScalarValue::Int64(Some(1))), None);
        assert_eq!(mysql(DataType::Date32, ScalarValue::Date32(Some(i32::MAX))), None);
    }
}

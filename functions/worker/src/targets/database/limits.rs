//! Values that a field can have and its column in the database cannot.

use super::table::{Column, Table};
use crate::databases::Dialect;
use crate::targets::cast::{Charset, Limit, Limits};
use shared::models::node::DataTypeName;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The limits of the columns of a table, by name.
pub fn of(table: &Table) -> Limits {
    let limits = table.columns.iter().zip(&table.fields).filter_map(|(column, field)| {
        let limit = match table.dialect {
            Dialect::Postgresql => postgres(field.data_type),
            Dialect::Mysql => mysql(field.data_type, column),
        };
        Some((column.name.clone(), limit?))
    });
    limits.collect()
}

fn postgres(kind: DataTypeName) -> Option<Limit> {
    use DataTypeName as D;
    Some(match kind {
        D::Varchar | D::Text => Limit::NoZeros,
        D::Json => Limit::SoundJson,
        // 4713 BC to 294276 AD.
        D::Timestamp | D::Timestamptz => Limit::Between(-210_866_803_200_000_000, i64::MAX, "4713 BC to 294276"),
        D::Date => Limit::Between(-2_440_588, 2_145_042_541, "4713 BC to 5874897"),
        _ => return None,
    })
}

fn mysql(kind: DataTypeName, column: &Column) -> Option<Limit> {
    use DataTypeName as D;
    /// The first day of the year 1 and the day after the year 9999.
    const YEARS: (i64, i64) = (-719_162, 2_932_897);
    Some(match kind {
        D::Varchar | D::Text | D::Json => return text(column),
        D::Real | D::Double => Limit::Finite,
        D::Date => Limit::Between(YEARS.0, YEARS.1 - 1, "the years 1 to 9999"),
        D::Timestamptz if column.kind == "timestamp" => Limit::Between(
            1_000_000,
            2_147_483_647_999_999,
            "1970-01-01 00:00:01 to 2038-01-19 03:14:07 (make the column datetime(6) to hold more)",
        ),
        D::Timestamp | D::Timestamptz => Limit::Between(YEARS.0 * DAY, YEARS.1 * DAY - 1, "the years 1 to 9999"),
        _ => return None,
    })
}

/// What the character set of a column has, and the bytes that a `text` takes.
fn text(column: &Column) -> Option<Limit> {
    let charset = Charset::of(column.charset.as_deref().unwrap_or_default());
    let bytes = column.length.filter(|_| column.kind.ends_with("text")).and_then(|bytes| usize::try_from(bytes).ok());
    (charset != Charset::Other || bytes.is_some()).then_some(Limit::Encoded(charset, bytes))
}

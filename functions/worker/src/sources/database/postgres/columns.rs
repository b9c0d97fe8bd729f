//! PostgreSQL's types as columns: how each is asked for, and what it becomes.

use crate::databases::Dialect;
use crate::sources::parse::{field_type, utc_timestamp};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use shared::models::node::DataTypeName;
use shared::models::schema::Field;
use std::collections::HashMap;
use tokio_postgres::types::{Kind, Type};

/// The Arrow type of a numeric whose precision nobody knows.
pub const ANY_DECIMAL: DataType = DataType::Decimal128(38, 10);

/// How the bytes of a value are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    Boolean,
    Int2,
    Int4,
    Int8,
    /// A number without a sign, of 32 bits.
    Oid,
    Float4,
    Float8,
    Numeric,
    Date,
    /// A timestamp, with or without a zone.
    Micros,
    Uuid,
    /// Bytes, as hexadecimal text.
    Hex,
    Text,
}

/// How a column is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Plain,
    /// As the server writes it.
    Text,
    /// As JSON text.
    Json,
}

/// A column of a table or a query.
#[derive(Debug, Clone)]
pub struct PostgresColumn {
    pub name: String,
    pub data_type: DataType,
    pub read: As,
    asked: Asked,
}

/// How the values of a column are divided into ranges of equal width, in SQL over `lo`, `hi` and `k` of `{n}`.
pub struct Width {
    pub cast: &'static str,
    pub finite: &'static str,
    pub step: &'static str,
    /// Whether a bound is written in quotes.
    pub quoted: bool,
}

/// The columns of a prepared statement. A field of the target's schema decides what a numeric without a precision is read
/// as.
pub fn of(columns: &[tokio_postgres::Column], expected: &HashMap<String, Field>) -> Vec<PostgresColumn> {
    columns
        .iter()
        .map(|column| {
            let (read, asked, data_type) = mapped(column.type_(), column.type_modifier(), expected.get(column.name()));
            PostgresColumn { name: column.name().to_owned(), data_type, read, asked }
        })
        .collect()
}

fn mapped(kind: &Type, modifier: i32, field: Option<&Field>) -> (As, Asked, DataType) {
    let plain = |read, data_type| (read, Asked::Plain, data_type);
    match *kind {
        Type::BOOL => plain(As::Boolean, DataType::Boolean),
        Type::INT2 => plain(As::Int2, DataType::Int16),
        Type::INT4 => plain(As::Int4, DataType::Int32),
        Type::INT8 => plain(As::Int8, DataType::Int64),
        Type::OID => plain(As::Oid, DataType::Int64),
        Type::FLOAT4 => plain(As::Float4, DataType::Float32),
        Type::FLOAT8 => plain(As::Float8, DataType::Float64),
        Type::NUMERIC => plain(As::Numeric, numeric(modifier, field)),
        Type::DATE => plain(As::Date, DataType::Date32),
        Type::TIMESTAMP => plain(As::Micros, DataType::Timestamp(TimeUnit::Microsecond, None)),
        Type::TIMESTAMPTZ => plain(As::Micros, utc_timestamp()),
        Type::UUID => plain(As::Uuid, DataType::Utf8),
        Type::BYTEA => plain(As::Hex, DataType::Utf8),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON => plain(As::Text, DataType::Utf8),
        _ => match kind.kind() {
            Kind::Array(_) | Kind::Composite(_) => (As::Text, Asked::Json, DataType::Utf8),
            _ => (As::Text, Asked::Text, DataType::Utf8),
        },
    }
}

fn numeric(modifier: i32, field: Option<&Field>) -> DataType {
    if let Some((precision, scale)) = precision_and_scale(modifier)
        && let (Ok(precision @ 1..=38), Ok(scale)) = (u8::try_from(precision), i8::try_from(scale))
        && scale >= 0
        && scale.unsigned_abs() <= precision
    {
        return DataType::Decimal128(precision, scale);
    }
    match field.map(|f| (f.data_type, f)) {
        Some((DataTypeName::Decimal, field)) => field_type(field),
        Some((DataTypeName::Varchar | DataTypeName::Text, _)) => DataType::Utf8,
        Some((DataTypeName::Double, _)) => DataType::Float64,
        _ => ANY_DECIMAL,
    }
}

/// What is declared in `numeric(p, s)`; none where nothing is.
pub fn precision_and_scale(modifier: i32) -> Option<(i32, i32)> {
    let packed = modifier.checked_sub(4).filter(|packed| *packed >= 0)?;
    // Eleven bits with a sign, since the scale may be negative.
    let scale = ((packed & 0x7ff) ^ 0x400) - 0x400;
    Some((packed >> 16 & 0xffff, scale))
}

impl PostgresColumn {
    /// Whether it may hold what its Arrow type does not.
    pub fn fallible(&self) -> bool {
        match self.read {
            As::Date | As::Micros => true,
            As::Numeric => self.data_type != DataType::Utf8,
            _ => false,
        }
    }

    /// What stands behind SELECT.
    pub fn expression(&self) -> String {
        let name = Dialect::Postgresql.quote(&self.name);
        match self.asked {
            Asked::Plain => name,
            Asked::Text => format!("{name}::text"),
            Asked::Json => format!("to_json({name})::text"),
        }
    }

    /// How ranges of it are made; none where it has no measure of width.
    pub fn width(&self) -> Option<Width> {
        match self.read {
            As::Int2 | As::Int4 | As::Int8 | As::Oid => Some(Width {
                cast: "::numeric",
                finite: "true",
                step: "lo + floor((hi - lo) * k / {n})",
                quoted: false,
            }),
            As::Numeric => Some(Width {
                cast: "",
                finite: "c::text NOT IN ('NaN', 'Infinity', '-Infinity')",
                step: "lo + (hi - lo) * k / {n}",
                quoted: false,
            }),
            As::Date => Some(Width {
                cast: "",
                finite: "isfinite(c)",
                step: "lo + ((hi - lo)::bigint * k / {n})::integer",
                quoted: true,
            }),
            As::Micros => Some(Width {
                cast: "",
                finite: "isfinite(c)",
                step: "lo + (hi - lo) * (k::double precision / {n})",
                quoted: true,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numeric_without_a_precision_is_what_the_schema_says() {
        let field = |data_type, precision, scale| Field { precision, scale, ..Field::new("n", data_type) };
        let any = |field: Option<&Field>| numeric(-1, field);
        assert_eq!(any(None), ANY_DECIMAL);
        assert_eq!(any(Some(&field(DataTypeName::Decimal, Some(12), Some(3)))), DataType::Decimal128(12, 3));
        assert_eq!(any(Some(&field(DataTypeName::Text, None, None))), DataType::Utf8);
        assert_eq!(any(Some(&field(DataTypeName::Integer, None, None))), ANY_DECIMAL);
        // numeric(10,2), numeric(40,2) and numeric(5,-2).
        assert_eq!(numeric((10 << 16 | 2) + 4, None), DataType::Decimal128(10, 2));
        assert_eq!(numeric((40 << 16 | 2) + 4, None), ANY_DECIMAL);
        assert_eq!(precision_and_scale((5 << 16 | 0x7fe) + 4), Some((5, -2)));
        assert_eq!(numeric((5 << 16 | 0x7fe) + 4, None), ANY_DECIMAL);
    }
}

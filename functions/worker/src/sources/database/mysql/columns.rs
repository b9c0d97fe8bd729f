//! MySQL's types as columns.

use crate::sources::parse::{field_type, utc_timestamp};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use mysql_async::Column;
use mysql_async::consts::{ColumnFlags, ColumnType};
use shared::models::node::DataTypeName;
use shared::models::schema::Field;
use std::collections::HashMap;

/// The Arrow type of a decimal with more digits than Arrow's have.
const ANY_DECIMAL: DataType = DataType::Decimal128(38, 10);
/// The character set of bytes.
const BINARY: u16 = 63;

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    Boolean,
    Integer,
    /// Digits as text.
    Decimal,
    Float,
    Date,
    Micros,
    /// A time of the day, or a span, with so many digits behind the second.
    Time(u8),
    Year,
    /// Up to 64 bits in as many bytes as they need.
    Bits,
    /// Bytes, as hexadecimal text.
    Hex,
    Text,
}

/// A column of a table or a query.
#[derive(Debug, Clone)]
pub struct MysqlColumn {
    pub name: String,
    pub data_type: DataType,
    pub read: As,
}

impl MysqlColumn {
    /// Whether it may hold what its Arrow type does not.
    pub fn fallible(&self) -> bool {
        match self.read {
            As::Boolean | As::Date | As::Micros => true,
            As::Decimal => self.data_type != DataType::Utf8,
            _ => false,
        }
    }
}

/// The columns of a prepared statement. A field of the target's schema decides what a decimal of more than 38 digits and a
/// `tinyint(1)` are read as.
pub fn of(columns: &[Column], expected: &HashMap<String, Field>) -> Vec<MysqlColumn> {
    columns
        .iter()
        .map(|column| {
            let name = column.name_str().into_owned();
            let (read, data_type) = mapped(column, expected.get(&name));
            MysqlColumn { name, data_type, read }
        })
        .collect()
}

fn mapped(column: &Column, field: Option<&Field>) -> (As, DataType) {
    use ColumnType as T;
    let unsigned = column.flags().contains(ColumnFlags::UNSIGNED_FLAG);
    let integer = |signed, other| (As::Integer, if unsigned { other } else { signed });
    match column.column_type() {
        T::MYSQL_TYPE_TINY if column.column_length() == 1 && !unsigned && !wants_number(field) => {
            (As::Boolean, DataType::Boolean)
        }
        T::MYSQL_TYPE_TINY => integer(DataType::Int16, DataType::Int16),
        T::MYSQL_TYPE_SHORT => integer(DataType::Int16, DataType::Int32),
        T::MYSQL_TYPE_INT24 => integer(DataType::Int32, DataType::Int32),
        T::MYSQL_TYPE_LONG => integer(DataType::Int32, DataType::Int64),
        T::MYSQL_TYPE_LONGLONG => integer(DataType::Int64, DataType::UInt64),
        T::MYSQL_TYPE_YEAR => (As::Year, DataType::Int16),
        T::MYSQL_TYPE_FLOAT => (As::Float, DataType::Float32),
        T::MYSQL_TYPE_DOUBLE => (As::Float, DataType::Float64),
        T::MYSQL_TYPE_DECIMAL | T::MYSQL_TYPE_NEWDECIMAL => (As::Decimal, decimal(column, unsigned, field)),
        T::MYSQL_TYPE_DATE | T::MYSQL_TYPE_NEWDATE => (As::Date, DataType::Date32),
        T::MYSQL_TYPE_DATETIME | T::MYSQL_TYPE_DATETIME2 => {
            (As::Micros, DataType::Timestamp(TimeUnit::Microsecond, None))
        }
        T::MYSQL_TYPE_TIMESTAMP | T::MYSQL_TYPE_TIMESTAMP2 => (As::Micros, utc_timestamp()),
        T::MYSQL_TYPE_TIME | T::MYSQL_TYPE_TIME2 => (As::Time(column.decimals().min(6)), DataType::Utf8),
        T::MYSQL_TYPE_BIT if column.column_length() == 1 => (As::Bits, DataType::Boolean),
        T::MYSQL_TYPE_BIT => (As::Bits, DataType::UInt64),
        T::MYSQL_TYPE_GEOMETRY | T::MYSQL_TYPE_VECTOR => (As::Hex, DataType::Utf8),
        T::MYSQL_TYPE_JSON => (As::Text, DataType::Utf8),
        _ if column.character_set() == BINARY && column.column_type().is_character_type() => (As::Hex, DataType::Utf8),
        _ if column.character_set() == BINARY && is_blob(column.column_type()) => (As::Hex, DataType::Utf8),
        _ => (As::Text, DataType::Utf8),
    }
}

fn is_blob(kind: ColumnType) -> bool {
    use ColumnType as T;
    matches!(kind, T::MYSQL_TYPE_TINY_BLOB | T::MYSQL_TYPE_BLOB | T::MYSQL_TYPE_MEDIUM_BLOB | T::MYSQL_TYPE_LONG_BLOB)
}

fn wants_number(field: Option<&Field>) -> bool {
    use DataTypeName as D;
    field
        .is_some_and(|f| matches!(f.data_type, D::Smallint | D::Integer | D::Bigint | D::Decimal | D::Real | D::Double))
}

fn decimal(column: &Column, unsigned: bool, field: Option<&Field>) -> DataType {
    let scale = column.decimals();
    let around = u32::from(scale > 0) + u32::from(!unsigned);
    let precision = column.column_length().saturating_sub(around);
    if let (Ok(precision @ 1..=38), Ok(scale)) = (u8::try_from(precision), i8::try_from(scale))
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

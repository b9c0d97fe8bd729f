//! Rows in the binary form of PostgreSQL's COPY.

use super::table::Column;
use bytes::{BufMut, Bytes, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};

/// What comes before the first row.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What comes after the last row.
pub const TRAILER: &[u8] = b"\xff\xff";
/// Days and microseconds from 1970 to 2000, where PostgreSQL's time begins.
const DAYS: i32 = 10_957;
const MICROS: i64 = 946_684_800_000_000;

/// The rows of a batch whose columns are those of the table.
///
/// # Errors
/// The column whose values have no binary form.
pub fn rows(batch: &RecordBatch, columns: &[Column]) -> Result<Bytes, String> {
    let mut out = BytesMut::with_capacity(batch.num_rows() * (batch.num_columns() * 12 + 2));
    let count = i16::try_from(batch.num_columns()).map_err(|_| "too many columns".to_owned())?;
    let writers: Vec<(&ArrayRef, Write)> = batch
        .columns()
        .iter()
        .zip(columns)
        .map(|(array, column)| Ok((array, writer(array.data_type(), column)?)))
        .collect::<Result<_, String>>()?;
    for row in 0..batch.num_rows() {
        out.put_i16(count);
        for (array, write) in &writers {
            if array.is_null(row) {
                out.put_i32(-1);
            } else {
                write(array, row, &mut out);
            }
        }
    }
    Ok(out.freeze())
}

/// Writes one value that is not null, with its length before it.
type Write = fn(&ArrayRef, usize, &mut BytesMut);

fn writer(data_type: &DataType, column: &Column) -> Result<Write, String> {
    Ok(match (data_type, column.kind.as_str()) {
        (DataType::Boolean, _) => |array, row, out| sized(out, &[u8::from(array.as_boolean().value(row))]),
        (DataType::Int16, _) => |a, row, out| sized(out, &a.as_primitive::<Int16Type>().value(row).to_be_bytes()),
        (DataType::Int32, _) => |a, row, out| sized(out, &a.as_primitive::<Int32Type>().value(row).to_be_bytes()),
        (DataType::Int64, _) => |a, row, out| sized(out, &a.as_primitive::<Int64Type>().value(row).to_be_bytes()),
        (DataType::Float32, _) => |a, row, out| sized(out, &a.as_primitive::<Float32Type>().value(row).to_be_bytes()),
        (DataType::Float64, _) => |a, row, out| sized(out, &a.as_primitive::<Float64Type>().value(row).to_be_bytes()),
        (DataType::Decimal128(..), _) => |a, row, out| {
            let scale = if let DataType::Decimal128(_, scale) = a.data_type() { *scale } else { 0 };
            numeric(a.as_primitive::<Decimal128Type>().value(row), scale.unsigned_abs(), out);
        },
        (DataType::Date32, _) => |a, row, out| {
            sized(out, &a.as_primitive::<Date32Type>().value(row).saturating_sub(DAYS).to_be_bytes());
        },
        (DataType::Timestamp(..), _) => |a, row, out| {
            let micros = a.as_primitive::<TimestampMicrosecondType>().value(row).saturating_sub(MICROS);
            sized(out, &micros.to_be_bytes());
        },
        (DataType::Utf8, "uuid") => |a, row, out| {
            // The cast has written it, so it is one.
            let id = uuid::Uuid::parse_str(a.as_string::<i32>().value(row)).unwrap_or_default();
            sized(out, id.as_bytes());
        },
        (DataType::Utf8, "jsonb") => |a, row, out| {
            let text = a.as_string::<i32>().value(row);
            out.put_i32(i32::try_from(text.len() + 1).unwrap_or(i32::MAX));
            out.put_u8(1);
            out.put_slice(text.as_bytes());
        },
        (DataType::Utf8, _) => |a, row, out| sized(out, a.as_string::<i32>().value(row).as_bytes()),
        (other, _) => return Err(format!("the column {:?} holds {other}", column.name)),
    })
}

fn sized(out: &mut BytesMut, bytes: &[u8]) {
    // A batch's texts have offsets of 32 bits.
    out.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    out.put_slice(bytes);
}

/// Digits of base 10,000, the first one with its power.
fn numeric(units: i128, scale: u8, out: &mut BytesMut) {
    let text = units.unsigned_abs().to_string();
    let behind = usize::from(scale);
    let text = format!("{text:0>width$}", width = behind + 1);
    let (whole, fraction) = text.split_at(text.len() - behind);
    // Groups of four are counted from the point.
    let whole = format!("{}{whole}", "0".repeat((4 - whole.len() % 4) % 4));
    let fraction = format!("{fraction}{}", "0".repeat((4 - behind % 4) % 4));
    let groups = whole.as_bytes().chunks(4).chain(fraction.as_bytes().chunks(4));
    let mut digits: Vec<i16> =
        groups.map(|group| group.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'))).collect();
    let mut weight = i16::try_from(whole.len() / 4).unwrap_or(0) - 1;
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..leading);
    weight -= i16::try_from(leading).unwrap_or(0);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.is_empty() {
        weight = 0;
    }
    out.put_i32(8 + 2 * i32::try_from(digits.len()).unwrap_or(0));
    out.put_i16(i16::try_from(digits.len()).unwrap_or(0));
    out.put_i16(weight);
    out.put_u16(if units < 0 { 0x4000 } else { 0 });
    out.put_u16(u16::from(scale));
    digits.iter().for_each(|digit| out.put_i16(*digit));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(units: i128, scale: u8) -> Vec<i16> {
        let mut out = BytesMut::new();
        numeric(units, scale, &mut out);
        out.get(4..).unwrap().chunks(2).map(|w| i16::from_be_bytes([w[0], w[1]])).collect()
    }

    #[test]
    fn decimals_are_groups_of_four_digits_around_the_point() {
        assert_eq!(words(-123_456_789, 3), [3, 1, 0x4000, 3, 12, 3456, 7890]);
        assert_eq!(words(123, 7), [1, -2, 0, 7, 1230]);
        assert_eq!(words(500_000_000, 0), [1, 2, 0, 0, 5]);
        assert_eq!(words(0, 2), [0, 0, 0, 2]);
        let most = words(10_i128.pow(38) - 1, 38);
        assert_eq!((most[0], most[1], most.last()), (10, -1, Some(&9900)));
    }
}

//! Rows as MySQL takes them: lines of LOAD DATA, or tuples of an INSERT.

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, TimeDelta};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::arrow::util::display::array_value_to_string;

/// Bytes of a piece, about.
const PIECE: usize = 512 << 10;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Fields with a tab between them, for LOAD DATA.
    Lines,
    /// `('a', NULL), …`, for INSERT.
    Tuples,
}

/// The rows of a batch in pieces, each with its number of rows.
///
/// # Errors
/// What Arrow cannot show.
pub fn pieces(batch: &RecordBatch, form: Form) -> Result<Vec<(Bytes, u64)>, String> {
    let mut pieces = Vec::new();
    let (mut out, mut count) = (Vec::with_capacity(PIECE + PIECE / 4), 0);
    for row in 0..batch.num_rows() {
        if form == Form::Tuples {
            out.extend_from_slice(if count == 0 { b"(" } else { b",(" });
        }
        for (index, array) in batch.columns().iter().enumerate() {
            if index > 0 {
                out.push(if form == Form::Lines { b'\t' } else { b',' });
            }
            if array.is_null(row) {
                out.extend_from_slice(if form == Form::Lines { b"\\N" } else { b"NULL" });
            } else {
                escape(&text(array, row)?, form, &mut out);
            }
        }
        out.push(if form == Form::Lines { b'\n' } else { b')' });
        count += 1;
        if out.len() >= PIECE {
            pieces.push((Bytes::from(std::mem::take(&mut out)), std::mem::take(&mut count)));
        }
    }
    if count > 0 {
        pieces.push((Bytes::from(out), count));
    }
    Ok(pieces)
}

fn escape(text: &str, form: Form, out: &mut Vec<u8>) {
    if form == Form::Tuples {
        out.push(b'\'');
    }
    for byte in text.bytes() {
        match (byte, form) {
            (b'\\', _) => out.extend_from_slice(b"\\\\"),
            (0, _) => out.extend_from_slice(b"\\0"),
            (b'\t', Form::Lines) => out.extend_from_slice(b"\\t"),
            (b'\n', Form::Lines) => out.extend_from_slice(b"\\n"),
            (b'\'', Form::Tuples) => out.extend_from_slice(b"\\'"),
            _ => out.push(byte),
        }
    }
    if form == Form::Tuples {
        out.push(b'\'');
    }
}

/// A value as MySQL reads it back exactly.
fn text(array: &ArrayRef, row: usize) -> Result<String, String> {
    Ok(match array.data_type() {
        DataType::Boolean => u8::from(array.as_boolean().value(row)).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => format!("{:e}", array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => format!("{:e}", array.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => {
            let days = TimeDelta::days(array.as_primitive::<Date32Type>().value(row).into());
            NaiveDate::default().checked_add_signed(days).unwrap_or_default().to_string()
        }
        DataType::Timestamp(..) => {
            let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = DateTime::from_timestamp_micros(micros).unwrap_or_default();
            time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string()
        }
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        _ => array_value_to_string(array, row).map_err(|e| e.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Float32Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn rows_are_escaped_so_that_they_come_back_as_they_were() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a\tb\\\n'c'\0"), None]));
        let floats: ArrayRef = Arc::new(Float32Array::from(vec![0.1, 1e30]));
        let batch = RecordBatch::try_from_iter_with_nullable([("t", texts, true), ("f", floats, true)]).unwrap();
        let lines = pieces(&batch, Form::Lines).unwrap();
        assert_eq!(lines, [(Bytes::from_static(b"a\\tb\\\\\\n'c'\\0\t1e-1\n\\N\t1e30\n"), 2)]);
        let tuples = pieces(&batch, Form::Tuples).unwrap();
        assert_eq!(tuples, [(Bytes::from_static(b"('a\tb\\\\\n\\'c\\'\\0','1e-1'),(NULL,'1e30')"), 2)]);
    }
}

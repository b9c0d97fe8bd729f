//! One value of PostgreSQL's binary form, appended to its column.

use super::super::rows::{Misfit, Values};
use super::columns::As;
use super::numeric::Numeric;
use crate::sources::parse;
use datafusion::arrow::datatypes::DataType;
use uuid::Uuid;

/// Days and microseconds from 1970 to 2000, where PostgreSQL's time begins.
const DAYS: i32 = 10_957;
const MICROS: i64 = 946_684_800_000_000;

/// Appends the value in `bytes`.
///
/// # Errors
/// Where the column's type does not hold it; nothing is appended then.
pub fn append(read: As, bytes: &[u8], values: &mut Values) -> Result<(), Misfit> {
    match (read, values) {
        (As::Boolean, Values::Boolean(b)) => b.append_value(bytes != [0]),
        (As::Int2, Values::Int16(b)) => b.append_value(i16::from_be_bytes(fixed(bytes)?)),
        (As::Int4, Values::Int32(b)) => b.append_value(i32::from_be_bytes(fixed(bytes)?)),
        (As::Int8, Values::Int64(b)) => b.append_value(i64::from_be_bytes(fixed(bytes)?)),
        (As::Oid, Values::Int64(b)) => b.append_value(i64::from(u32::from_be_bytes(fixed(bytes)?))),
        (As::Float4, Values::Float32(b)) => b.append_value(f32::from_be_bytes(fixed(bytes)?)),
        (As::Float8, Values::Float64(b)) => b.append_value(f64::from_be_bytes(fixed(bytes)?)),
        (As::Numeric, values) => return numeric(bytes, values),
        (As::Date, Values::Date(b)) => match i32::from_be_bytes(fixed(bytes)?) {
            i32::MAX => return Err(infinite("infinity", "date")),
            i32::MIN => return Err(infinite("-infinity", "date")),
            days => match days.checked_add(DAYS) {
                Some(days) => b.append_value(days),
                None => return Err(Misfit::new(format!("{days} days after 2000"), "the date is too far away")),
            },
        },
        (As::Micros, Values::Micros(b)) => match i64::from_be_bytes(fixed(bytes)?) {
            i64::MAX => return Err(infinite("infinity", "time")),
            i64::MIN => return Err(infinite("-infinity", "time")),
            micros => match micros.checked_add(MICROS) {
                Some(micros) => b.append_value(micros),
                None => return Err(Misfit::new(format!("{micros} µs after 2000"), "the time is too far away")),
            },
        },
        (As::Uuid, Values::Text(b)) => b.append_value(Uuid::from_bytes(fixed(bytes)?).hyphenated().to_string()),
        (As::Hex, Values::Text(b)) => b.append_value(hex::encode(bytes)),
        (As::Text, Values::Text(b)) => match std::str::from_utf8(bytes) {
            Ok(text) => b.append_value(text),
            Err(_) => return Err(Misfit::new(String::from_utf8_lossy(bytes), "the text is not UTF-8")),
        },
        _ => return Err(unknown(bytes)),
    }
    Ok(())
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Misfit> {
    bytes.try_into().map_err(|_| unknown(bytes))
}

fn unknown(bytes: &[u8]) -> Misfit {
    Misfit::new(hex::encode(bytes), "the database sent the value in a form that is not known")
}

fn infinite(word: &str, what: &str) -> Misfit {
    Misfit::new(word, format!("{word} is no {what} that can be kept; write a query that says what it should become"))
}

fn numeric(bytes: &[u8], values: &mut Values) -> Result<(), Misfit> {
    let number = Numeric::read(bytes).ok_or_else(|| unknown(bytes))?;
    match values {
        Values::Text(b) => b.append_value(number.text()),
        Values::Float64(b) => {
            let text = number.text();
            match parse::double(&text) {
                Some(value) => b.append_value(value),
                None => {
                    let reason = format!("{} is larger than a double holds", parse::quoted(&text));
                    return Err(Misfit::new(text, reason));
                }
            }
        }
        Values::Decimal(b, precision, scale) => match number.units(*precision, *scale) {
            Some(units) => b.append_value(units),
            None => {
                let text = number.text();
                let mut reason = parse::why(&text, &DataType::Decimal128(*precision, *scale));
                if super::columns::ANY_DECIMAL == DataType::Decimal128(*precision, *scale) {
                    reason.push_str("; round a numeric without a precision in a query, such as round(x, 10)");
                }
                return Err(Misfit::new(text, reason));
            }
        },
        _ => return Err(unknown(bytes)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Float64Builder;

    #[test]
    fn a_numeric_beyond_all_doubles_is_a_misfit() {
        let mut values = Values::Float64(Float64Builder::new());
        let mut append = |weight: u16, sign: u16, digits: &[u16]| {
            let head = [digits.len() as u16, weight, sign, 0];
            let bytes: Vec<u8> = head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect();
            super::append(As::Numeric, &bytes, &mut values)
        };
        assert_eq!(append(2, 0, &[15]), Ok(()));
        assert_eq!(append(0, 0xd000, &[]), Ok(()));
        let misfit = append(100, 0x4000, &[1]).unwrap_err();
        assert!(misfit.value.starts_with("-1000") && misfit.reason.contains("larger than a double"), "{misfit:?}");
        let Values::Float64(mut values) = values else { panic!("the column has another type") };
        assert_eq!(values.finish().values(), &[1_500_000_000.0, f64::INFINITY]);
    }
}

//! Casts a field to a type.

pub(super) use super::convert::To;

use super::convert::{convert, texts_of};
use super::{Compute, Computed, Misfit, Op, broken, column, find};
use crate::error::RunError;
use crate::nodes::columns::{is_text, type_name};
use crate::sources::{forms, parse};
use chrono::DateTime;
use datafusion::arrow::array::{ArrayRef, AsArray, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use shared::models::node::{DataTypeName, OnCastError};
use shared::strftime;
use std::fmt::Write;
use std::sync::Arc;

#[derive(Debug)]
struct Cast {
    name: String,
    place: usize,
    to: To,
    /// How the dates and times are written where they are texts.
    format: Option<Format>,
}

#[derive(Debug)]
enum Format {
    /// Texts are read by it.
    Read(String),
    /// Texts are written by it.
    Write(String),
}

pub(super) fn build(
    schema: &SchemaRef,
    field: &str,
    to: To,
    format: Option<&str>,
    on_error: OnCastError,
) -> Result<Box<dyn Op>, String> {
    let (place, from) = find(schema, field)?;
    if from.is_nested() && !matches!(to.name, DataTypeName::Text | DataTypeName::Varchar | DataTypeName::Json) {
        return Err(format!("{field:?} holds {}, which is cast to text only", type_name(&from)));
    }
    if to.scale.unwrap_or(0) > to.precision.map_or(38, |p| i8::try_from(p).unwrap_or(38)) {
        return Err("the scale must not be larger than the precision".to_owned());
    }
    let format = match format {
        None => None,
        Some(format) => Some(checked_format(format, field, &from, to.name)?),
    };
    let cast = Cast { name: field.to_owned(), place, to, format };
    Computed::with_policy(schema, vec![(field, to.arrow())], cast, on_error)
}

fn checked_format(format: &str, field: &str, from: &DataType, to: DataTypeName) -> Result<Format, String> {
    if !strftime::is_form(format) {
        return Err(format!("format {format:?} is not a strftime form such as %d.%m.%Y or %Y-%m-%d %H:%M:%S"));
    }
    if matches!(to, DataTypeName::Timestamp | DataTypeName::Timestamptz)
        && let Some(why) = strftime::leaves_open(format)
    {
        return Err(format!("format {format:?}: {why}"));
    }
    let from_time = matches!(from, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..));
    match to {
        DataTypeName::Date | DataTypeName::Timestamp | DataTypeName::Timestamptz
            if is_text(from) || *from == DataType::Null =>
        {
            Ok(Format::Read(format.to_owned()))
        }
        // Numbers such as 20260115 are guessed to be integers and mean dates nevertheless.
        DataTypeName::Date | DataTypeName::Timestamp | DataTypeName::Timestamptz if from.is_integer() => {
            Ok(Format::Read(format.to_owned()))
        }
        DataTypeName::Text | DataTypeName::Varchar if from_time => Ok(Format::Write(format.to_owned())),
        _ => Err(format!(
            "a format is for texts that become dates or times, or the other way round; {field:?} is {} and becomes {}",
            type_name(from),
            format!("{to:?}").to_lowercase()
        )),
    }
}

impl Compute for Cast {
    fn compute(&self, batch: &RecordBatch, misfits: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let values = match &self.format {
            None => convert(column(batch, self.place)?, self.to, &self.name, misfits).map_err(broken)?,
            Some(Format::Read(format)) => self.read(&texts_of(batch, self.place)?, format, misfits),
            Some(Format::Write(format)) => self.write(column(batch, self.place)?, format, misfits)?,
        };
        Ok(vec![values])
    }
}

impl Cast {
    fn read(&self, texts: &StringArray, format: &str, misfits: &mut Vec<Misfit>) -> ArrayRef {
        let mut misfit = |row: usize, text: &str| {
            let reason = format!("{} is not written as {format}", parse::quoted(text));
            misfits.push(Misfit { row, column: self.name.clone(), value: Some(text.to_owned()), reason });
        };
        if self.to.name == DataTypeName::Date {
            let days = texts.iter().enumerate().map(|(row, text)| {
                let days = forms::days(text?.trim(), format);
                if let (Some(text), None) = (text, days) {
                    misfit(row, text);
                }
                days
            });
            return Arc::new(days.collect::<Date32Array>());
        }
        let instants = texts.iter().enumerate().map(|(row, text)| {
            let micros = forms::micros(text?.trim(), format);
            if let (Some(text), None) = (text, micros) {
                misfit(row, text);
            }
            micros
        });
        let zone = (self.to.name == DataTypeName::Timestamptz).then(|| Arc::from("UTC"));
        Arc::new(instants.collect::<TimestampMicrosecondArray>().with_timezone_opt::<Arc<str>>(zone))
    }

    fn write(&self, array: &ArrayRef, format: &str, misfits: &mut Vec<Misfit>) -> Result<ArrayRef, RunError> {
        let to = To { name: DataTypeName::Timestamp, precision: None, scale: None };
        let instants = convert(array, to, &self.name, misfits).map_err(broken)?;
        let texts = instants.as_primitive::<TimestampMicrosecondType>().iter().enumerate().map(|(row, micros)| {
            let at = DateTime::from_timestamp_micros(micros?)?;
            let mut text = String::new();
            // A date has no time of day to write, so a form that asks for what is not there fails.
            if write!(text, "{}", at.format(format)).is_err() {
                let reason = format!("it cannot be written as {format}");
                misfits.push(Misfit { row, column: self.name.clone(), value: Some(at.to_rfc3339()), reason });
                return None;
            }
            Some(text)
        });
        Ok(Arc::new(texts.collect::<StringArray>()))
    }
}

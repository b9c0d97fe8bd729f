//! Takes a value out of a JSON text by a path.

use super::convert::{To, convert, texts_of};
use super::{Compute, Computed, Misfit, Op, broken, find};
use crate::error::RunError;
use crate::nodes::columns::{is_text, type_name};
use crate::sources::fields;
use crate::sources::parse::{self, quoted};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde_json::value::RawValue;
use shared::json_path::{self, Step};
use shared::models::node::DataTypeName;
use std::sync::Arc;

#[derive(Debug)]
struct ParseJson {
    name: String,
    place: usize,
    path: Vec<Step>,
    to: To,
}

pub(super) fn build(
    schema: &SchemaRef,
    field: &str,
    path: &str,
    into: &str,
    name: DataTypeName,
) -> Result<Box<dyn Op>, String> {
    let (place, from) = find(schema, field)?;
    if !is_text(&from) && from != DataType::Null {
        return Err(format!("{field:?} is of type {}; JSON is parsed out of texts", type_name(&from)));
    }
    let to = To { name, precision: None, scale: None };
    let path = json_path::parse(path).map_err(|why| format!("path {why}"))?;
    let compute = ParseJson { name: field.to_owned(), place, path, to };
    Computed::boxed(schema, vec![(into, to.arrow())], compute)
}

/// The raw value at `path` in a JSON text; none where nothing is there.
///
/// # Errors
/// Why the text is not JSON.
fn walk<'a>(text: &'a str, path: &[Step]) -> Result<Option<&'a str>, String> {
    let whole: &'a RawValue = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut found = whole.get();
    for step in path {
        let next = match (step, found.as_bytes().first()) {
            (Step::Key(key), Some(b'{')) => fields::member(found, key)?,
            (Step::Index(index), Some(b'[')) => fields::elements(found).get(*index).copied(),
            _ => None,
        };
        let Some(next) = next else { return Ok(None) };
        found = next;
    }
    Ok(Some(found))
}

impl ParseJson {
    /// The value at the path as it is written, so that no digit is lost; a text is without its quotes and escapes.
    fn taken(&self, text: &str) -> Result<Option<String>, String> {
        let Some(raw) = walk(text, &self.path)? else { return Ok(None) };
        Ok(match raw.as_bytes().first() {
            Some(b'n') => None,
            Some(b'"') if self.to.name != DataTypeName::Json => {
                Some(serde_json::from_str(raw).map_err(|e| e.to_string())?)
            }
            Some(b'{' | b'[') => {
                let mut compact = String::with_capacity(raw.len());
                fields::compact(raw, &mut compact);
                Some(compact)
            }
            _ => Some(self.plain(raw)),
        })
    }

    /// A number, without its exponent where it is to be a whole one and is.
    fn plain(&self, raw: &str) -> String {
        let whole = matches!(self.to.name, DataTypeName::Smallint | DataTypeName::Integer | DataTypeName::Bigint)
            && raw.starts_with(|first: char| first == '-' || first.is_ascii_digit())
            && raw.contains(['e', 'E']);
        let number = if whole { parse::decimal(raw, 38, 0) } else { None };
        number.map_or_else(|| raw.to_owned(), |number| number.to_string())
    }
}

impl Compute for ParseJson {
    fn compute(&self, batch: &RecordBatch, misfits: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = texts_of(batch, self.place)?;
        let found = texts.iter().enumerate().map(|(row, text)| {
            let text = text?;
            self.taken(text).unwrap_or_else(|why| {
                let reason = format!("{} is not JSON: {why}", quoted(text));
                misfits.push(Misfit { row, column: self.name.clone(), value: Some(text.to_owned()), reason });
                None
            })
        });
        let found: ArrayRef = Arc::new(found.collect::<StringArray>());
        Ok(vec![convert(&found, self.to, &self.name, misfits).map_err(broken)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str, path: &str, name: DataTypeName) -> Result<Option<String>, String> {
        let to = To { name, precision: None, scale: None };
        ParseJson { name: "j".to_owned(), place: 0, path: json_path::parse(path).unwrap(), to }.taken(text)
    }

    #[test]
    fn values_are_taken_as_they_are_written() {
        let text = r#" {"a": {"n": 1}, "a": {"n": 1.234567890123456789, "id": 98765432109876543210, "v": 1.10},
            "k\u00e9y": [1e400, "q\"\u00e9", null, -0], "deep": {"x y": [0.10, " "]}} "#;
        for (path, name, expected) in [
            ("a.n", DataTypeName::Text, Some("1.234567890123456789")),
            ("a.id", DataTypeName::Text, Some("98765432109876543210")),
            ("a.v", DataTypeName::Decimal, Some("1.10")),
            ("kéy[0]", DataTypeName::Text, Some("1e400")),
            ("kéy[1]", DataTypeName::Text, Some("q\"é")),
            ("kéy[1]", DataTypeName::Json, Some(r#""q\"\u00e9""#)),
            ("kéy[2]", DataTypeName::Json, None),
            ("kéy[3]", DataTypeName::Text, Some("-0")),
            ("kéy[4]", DataTypeName::Text, None),
            ("kéy.n", DataTypeName::Text, None),
            ("deep[0]", DataTypeName::Text, None),
            ("deep", DataTypeName::Json, Some(r#"{"x y":[0.10," "]}"#)),
        ] {
            assert_eq!(taken(text, path, name), Ok(expected.map(str::to_owned)), "{path} as {name:?}");
        }
        assert!(taken("{} x", "a", DataTypeName::Text).is_err());
        assert!(taken(r#"["\ud800"]"#, "[0]", DataTypeName::Text).is_err());
        let deep = format!("{}7{}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(taken(&deep, "$", DataTypeName::Json), Ok(Some(deep.clone())));
    }

    #[test]
    fn whole_numbers_may_have_an_exponent() {
        for (text, expected) in [("1e2", "100"), ("1.5E1", "15"), ("-2e0", "-2"), ("15e-1", "15e-1")] {
            assert_eq!(taken(text, "$", DataTypeName::Integer), Ok(Some(expected.to_owned())), "{text}");
        }
        assert_eq!(taken("1e2", "$", DataTypeName::Text), Ok(Some("1e2".to_owned())));
    }
}

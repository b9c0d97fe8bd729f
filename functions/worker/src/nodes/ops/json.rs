//! Takes a value out of a JSON text by a path.

use super::convert::{To, convert, texts_of};
use super::{Compute, Computed, Misfit, Op, broken, find};
use crate::error::RunError;
use crate::nodes::columns::{is_text, type_name};
use crate::sources::parse::quoted;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use serde_json::Value;
use shared::models::node::DataTypeName;
use std::sync::Arc;

#[derive(Debug)]
struct ParseJson {
    name: String,
    place: usize,
    path: Vec<Piece>,
    to: To,
}

/// One step into a value.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Key(String),
    Index(usize),
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
    let compute = ParseJson { name: field.to_owned(), place, path: parse_path(path)?, to };
    Computed::boxed(schema, vec![(into, to.arrow())], compute)
}

/// The pieces of a path such as `a.b[0]`, `$.a` or `["a key"]`.
fn parse_path(path: &str) -> Result<Vec<Piece>, String> {
    let wrong = |what: &str| format!("path {path:?}: {what}; a path is such as a.b[0] or [\"a key\"].b");
    let mut pieces = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix("[\"") {
            let (key, after) = inside.split_once("\"]").ok_or_else(|| wrong("a [\" is not closed"))?;
            pieces.push(Piece::Key(key.to_owned()));
            rest = after;
        } else if let Some(inside) = rest.strip_prefix('[') {
            let (index, after) = inside.split_once(']').ok_or_else(|| wrong("a [ is not closed"))?;
            pieces.push(Piece::Index(
                index.trim().parse().map_err(|_| wrong("between [ and ] must be a number from 0"))?,
            ));
            rest = after;
        } else {
            let name = rest.strip_prefix('.').unwrap_or(rest);
            let end = name.find(['.', '[']).unwrap_or(name.len());
            let (key, after) = name.split_at(end);
            if key.is_empty() {
                return Err(wrong("a name is missing"));
            }
            pieces.push(Piece::Key(key.to_owned()));
            rest = after;
        }
    }
    Ok(pieces)
}

fn walk<'a>(value: &'a Value, path: &[Piece]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, piece| match piece {
        Piece::Key(key) => value.get(key),
        Piece::Index(index) => value.get(index),
    })
}

impl Compute for ParseJson {
    fn compute(&self, batch: &RecordBatch, misfits: &mut Vec<Misfit>) -> Result<Vec<ArrayRef>, RunError> {
        let texts = texts_of(batch, self.place)?;
        let found = texts.iter().enumerate().map(|(row, text)| {
            let text = text?;
            match serde_json::from_str::<Value>(text) {
                Ok(json) => match walk(&json, &self.path)? {
                    Value::Null => None,
                    Value::String(inner) if self.to.name != DataTypeName::Json => Some(inner.clone()),
                    other => Some(other.to_string()),
                },
                Err(e) => {
                    let reason = format!("{} is not JSON: {e}", quoted(text));
                    misfits.push(Misfit { row, column: self.name.clone(), value: Some(text.to_owned()), reason });
                    None
                }
            }
        });
        let found: ArrayRef = Arc::new(found.collect::<StringArray>());
        Ok(vec![convert(&found, self.to, &self.name, misfits).map_err(broken)?])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_through_keys_and_indices() {
        let json: Value = serde_json::json!({"a": {"b": [1, {"c d": "x"}]}});
        let at = |path: &str| parse_path(path).ok().and_then(|p| walk(&json, &p).cloned());
        assert_eq!(at("a.b[0]"), Some(serde_json::json!(1)));
        assert_eq!(at("$.a.b[1][\"c d\"]"), Some(serde_json::json!("x")));
        assert_eq!(at("$"), Some(json.clone()));
        assert_eq!(at("a.x"), None);
    }

    #[test]
    fn a_broken_path_says_what_is_right() {
        for path in ["a..b", "a[", "a[x]", "a[\"b"] {
            assert!(parse_path(path).unwrap_err().contains("a path is such as a.b[0]"), "{path}");
        }
    }
}

//! Puts a run's parameters into node configs, as values only: `${name}` reads one, `$${` is a plain `${`.

use crate::error::{Kind, RunError};
use serde_json::{Map, Value};
use shared::error::nearest;

/// Configs that are SQL expressions; parameters go into their parsed form (`engine/expressions.rs`), never into
/// their text.
const EXPRESSIONS: [&str; 2] = ["condition", "expr"];
/// Configs that are values of any JSON type, so that a parameter which is all of one keeps its type.
const VALUES: [&str; 7] = ["value", "default", "mapping", "min", "max", "values", "pivotValues"];

/// A piece of a text with parameters in it.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Text(&'a str),
    Parameter(&'a str),
}

/// The pieces of `text`.
///
/// # Errors
/// A sentence, where a `${` is not closed or its name is empty.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            pieces.push(Piece::Text(before));
            pieces.push(Piece::Text("${"));
            rest = after.get(2..).unwrap_or_default();
            continue;
        }
        let inside = after.get(2..).unwrap_or_default();
        let Some((name, next)) = inside.split_once('}') else {
            return Err(format!("the parameter in {text:?} is not closed by }}; write $${{ for a plain ${{"));
        };
        if name.trim().is_empty() {
            return Err(format!("the parameter in {text:?} has no name"));
        }
        pieces.push(Piece::Text(before));
        pieces.push(Piece::Parameter(name.trim()));
        rest = next;
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    Ok(pieces)
}

/// The value of the parameter `name`.
///
/// # Errors
/// A sentence that says which parameters the run has.
pub fn find<'a>(name: &str, parameters: &'a Map<String, Value>) -> Result<&'a Value, String> {
    parameters.get(name).ok_or_else(|| {
        let hint = match nearest(name, parameters.keys().map(String::as_str)) {
            Some(near) => format!("did you mean ${{{near}}}?"),
            None if parameters.is_empty() => "the run was started without parameters".to_owned(),
            None => format!("it has {}", parameters.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
        };
        format!("the run has no parameter {name:?}; {hint}")
    })
}

/// A parameter's value inside a text.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `text` with the parameters' values in it.
///
/// # Errors
/// A sentence, where a parameter is unknown or not closed.
pub fn fill(text: &str, parameters: &Map<String, Value>) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    for piece in pieces(text)? {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Parameter(name) => filled.push_str(&as_text(find(name, parameters)?)),
        }
    }
    Ok(filled)
}

/// A node's config with the parameters' values in all texts but expressions.
///
/// # Errors
/// `Kind::Definition` that names the node and the config.
pub fn fill_config(
    node: &str,
    config: &Map<String, Value>,
    parameters: &Map<String, Value>,
) -> Result<Map<String, Value>, RunError> {
    fill_map(config, parameters, false).map_err(|(at, why)| fault(node, &at, &why))
}

/// What is wrong with a parameter in the config of `node`, at this pointer of it.
pub fn fault(node: &str, at: &str, why: &str) -> RunError {
    RunError::new(Kind::Definition, format!("node {node:?}, config {at}: {why}")).within(format!("/config{at}"))
}

type Place = (String, String);

fn fill_map(
    map: &Map<String, Value>,
    parameters: &Map<String, Value>,
    typed: bool,
) -> Result<Map<String, Value>, Place> {
    map.iter()
        .map(|(key, value)| {
            // Inside of a value names are the users' own, such as the keys of a mapping.
            if !typed && EXPRESSIONS.contains(&key.as_str()) && value.is_string() {
                return Ok((key.clone(), value.clone()));
            }
            let typed = typed || VALUES.contains(&key.as_str());
            let value = fill_value(value, parameters, typed).map_err(|(at, why)| (format!("/{key}{at}"), why))?;
            Ok((key.clone(), value))
        })
        .collect()
}

fn fill_value(value: &Value, parameters: &Map<String, Value>, typed: bool) -> Result<Value, Place> {
    let here = |why| (String::new(), why);
    match value {
        Value::String(text) => match pieces(text).map_err(here)?.as_slice() {
            [Piece::Parameter(name)] if typed => find(name, parameters).cloned().map_err(here),
            _ => fill(text, parameters).map(Value::String).map_err(here),
        },
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| fill_value(item, parameters, typed).map_err(|(at, why)| (format!("/{i}{at}"), why)))
            .collect(),
        Value::Object(map) => fill_map(map, parameters, typed).map(Value::Object),
        other => Ok(other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn texts_are_filled_and_a_doubled_dollar_escapes() {
        let parameters = map(json!({"day": "2026-01-15", "n": 3}));
        assert_eq!(fill("in/${day}/${ n }.csv", &parameters).unwrap(), "in/2026-01-15/3.csv");
        assert_eq!(fill("cost $${day} $5", &parameters).unwrap(), "cost ${day} $5");
    }

    #[test]
    fn an_unknown_parameter_names_the_nearest_one() {
        let why = fill("${dya}", &map(json!({"day": 1}))).unwrap_err();
        assert_eq!(why, "the run has no parameter \"dya\"; did you mean ${day}?");
        assert!(fill("${day", &Map::new()).unwrap_err().contains("not closed"));
    }

    #[test]
    fn a_value_keeps_the_parameters_type_and_expressions_stay_as_they_are() {
        let config = map(json!({
            "ops": [{"op": "add_field", "field": "f", "type": "integer", "value": "${n}"},
                    {"op": "expression", "field": "g", "expr": "a > ${n}"}],
            "path": "${n}"
        }));
        let filled = fill_config("x", &config, &map(json!({"n": 7}))).unwrap();
        assert_eq!(
            Value::Object(filled),
            json!({
                "ops": [{"op": "add_field", "field": "f", "type": "integer", "value": 7},
                        {"op": "expression", "field": "g", "expr": "a > ${n}"}],
                "path": "7"
            })
        );
    }

    #[test]
    fn a_mapping_may_have_keys_that_are_called_as_expressions_are() {
        let config =
            map(json!({"ops": [{"op": "map_values", "field": "f", "mapping": {"expr": "${n}", "condition": "x"}}]}));
        let filled = fill_config("x", &config, &map(json!({"n": 7}))).unwrap();
        let mapping = json!({"expr": 7, "condition": "x"});
        assert_eq!(Value::Object(filled), json!({"ops": [{"op": "map_values", "field": "f", "mapping": mapping}]}));
    }

    #[test]
    fn the_place_of_a_faulty_parameter_is_named() {
        let config = map(json!({"ops": [{"op": "hash", "field": "f", "salt": "${s}"}]}));
        let error = fill_config("mask", &config, &Map::new()).unwrap_err();
        assert_eq!(
            error.message,
            "node \"mask\", config /ops/0/salt: the run has no parameter \"s\"; the run was started without parameters"
        );
    }
}

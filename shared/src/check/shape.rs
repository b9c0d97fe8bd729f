//! Validates a value against the JSON Schema of a Rust type and reads it into that type.

use super::formats;
use super::verdict::Words;
use crate::Fault;
use jsonschema::{Keyword, ValidationError, Validator};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::any::TypeId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries of an array that are looked at; no array of a body may be that long.
const MAX_ITEMS: usize = 1200;

/// How strictly a value must have a type's shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Mode {
    /// No field of the root is required, as in a body that changes something.
    pub(super) partial: bool,
    /// Faults never show values.
    pub(super) secret: bool,
}

/// A compiled schema with what it was compiled from.
struct Shape {
    schema: Value,
    validator: Validator,
}

/// Shapes by type, and whether they are partial.
type Shapes = HashMap<(TypeId, bool), Arc<Shape>>;

/// Compiled once each, when first needed: a function needs few of them, and starts cold.
static SHAPES: Mutex<Option<Shapes>> = Mutex::new(None);

/// The JSON Schema of `T` as schemars derives it.
pub(super) fn schema_of<T: JsonSchema>() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().into()
}

/// Reads `value` as a `T`; its faults go to `faults`, with pointers below `prefix`.
pub(super) fn read<T: JsonSchema + DeserializeOwned + 'static>(
    value: &Value,
    prefix: &str,
    mode: Mode,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    check::<T>(value, prefix, mode, faults).then(|| of_checked(value, prefix, mode, faults)).flatten()
}

/// Whether `value` has the shape of `T`; its faults go to `faults`.
pub(super) fn check<T: JsonSchema + 'static>(value: &Value, prefix: &str, mode: Mode, faults: &mut Vec<Fault>) -> bool {
    let shape = match shape::<T>(mode.partial) {
        Ok(shape) => shape,
        Err(e) => {
            faults.push(Fault::new(prefix, "invalid", format!("cannot be checked: {e}")));
            return false;
        }
    };
    let words = Words { schema: &shape.schema, document: value, prefix, secret: mode.secret };
    let before = faults.len();
    for error in shape.validator.iter_errors(&cut(value)).take(super::MAX_FAULTS + 1) {
        words.add(&error, faults);
    }
    faults.len() == before
}

/// The value with its longest arrays cut: that they are too long is a fault, and what comes behind would take its time.
fn cut(value: &Value) -> Cow<'_, Value> {
    if !has_long_array(value) {
        return Cow::Borrowed(value);
    }
    Cow::Owned(match value {
        Value::Array(items) => items.iter().take(MAX_ITEMS).map(|item| cut(item).into_owned()).collect(),
        Value::Object(object) => object.iter().map(|(key, item)| (key.clone(), cut(item).into_owned())).collect(),
        other => other.clone(),
    })
}

fn has_long_array(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.len() > MAX_ITEMS || items.iter().any(has_long_array),
        Value::Object(object) => object.values().any(has_long_array),
        _ => false,
    }
}

/// Reads what has been checked. A type that serde takes differently than its schema says is still a fault.
pub(super) fn of_checked<T: DeserializeOwned>(
    value: &Value,
    prefix: &str,
    mode: Mode,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    match T::deserialize(value) {
        Ok(read) => Some(read),
        Err(_) if mode.secret => {
            faults.push(Fault::new(prefix, "invalid", "is not valid"));
            None
        }
        Err(e) => {
            faults.push(Fault::new(prefix, "invalid", e.to_string()));
            None
        }
    }
}

fn shape<T: JsonSchema + 'static>(partial: bool) -> Result<Arc<Shape>, String> {
    let key = (TypeId::of::<T>(), partial);
    let mut shapes = SHAPES.lock().unwrap_or_else(PoisonError::into_inner);
    let shapes = shapes.get_or_insert_default();
    if let Some(shape) = shapes.get(&key) {
        return Ok(Arc::clone(shape));
    }
    let mut schema = schema_of::<T>();
    if partial && let Some(root) = schema.as_object_mut() {
        root.remove("required");
    }
    let validator = compile(&mut schema)?;
    let shape = Arc::new(Shape { schema, validator });
    shapes.insert(key, Arc::clone(&shape));
    Ok(shape)
}

fn compile(schema: &mut Value) -> Result<Validator, String> {
    demand_whole_numbers(schema);
    let mut options =
        jsonschema::draft202012::options().should_validate_formats(true).with_keyword("x-whole", |_, _, _| {
            let whole: Box<dyn for<'i> Keyword<'i>> = Box::new(Whole);
            Ok(whole)
        });
    for (name, check) in formats::ALL {
        options = options.with_format(*name, move |text: &str| check(text).is_none());
    }
    options.build(schema).map_err(|e| e.to_string())
}

/// JSON Schema takes 1.0 and 1e300 for integers, and schemars bounds no 32 bits; serde does both.
fn demand_whole_numbers(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(demand_whole_numbers),
        Value::Object(object) => {
            let integer = match object.get("type") {
                Some(Value::String(one)) => one == "integer",
                Some(Value::Array(several)) => several.iter().any(|t| t == "integer"),
                _ => false,
            };
            if integer {
                object.insert("x-whole".into(), json!(true));
                if object.get("format").is_some_and(|format| format == "uint32") {
                    object.entry("maximum").or_insert(json!(u32::MAX));
                }
            }
            object.values_mut().for_each(demand_whole_numbers);
        }
        _ => {}
    }
}

/// A number without point and exponent.
struct Whole;

impl Whole {
    /// What has a fraction is already told by `type`.
    fn wrong(number: &serde_json::Number) -> Option<String> {
        let whole = number.is_f64() && number.as_f64().is_some_and(|float| float.fract() == 0.0);
        whole.then(|| format!("expected a whole number without point and exponent, found {number}"))
    }
}

impl<'i> Keyword<'i> for Whole {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match instance.as_number().and_then(Whole::wrong) {
            Some(wrong) => Err(ValidationError::custom(wrong)),
            None => Ok(()),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_number().is_none_or(|number| Whole::wrong(number).is_none())
    }
}

/// `value` without the fields `names`: what a client may send back and nobody reads.
pub(super) fn without(value: &Value, names: &[&str]) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object
                .iter()
                .filter(|(k, _)| !names.contains(&k.as_str()))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

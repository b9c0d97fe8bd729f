//! Bodies that create and change schemas, and which changes a table survives.

use super::defaults::{self, Column};
use super::pipeline::field;
use super::shape::{self, Mode};
use super::{Body, ops, pointer, verdict};
use crate::Fault;
use crate::models::node::DataTypeName;
use crate::models::schema::Field;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

/// Fields of a schema's answer that a client may send back on PUT; they change nothing.
pub const READ_ONLY: &[&str] = &["id", "tenantId", "version", "createdAt", "updatedAt"];

/// A new schema.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchemaInput {
    /// Unique in the tenant.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_]*$"), length(max = 63))]
    pub name: String,
    #[schemars(length(max = 200))]
    pub display_name: Option<String>,
    #[schemars(length(max = 2000))]
    pub description: Option<String>,
    #[schemars(length(min = 1, max = 1000))]
    pub fields: Vec<Field>,
}

/// A change of a schema: the outer `None` keeps what is stored, an inner one clears it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SchemaPatch {
    pub name: Option<String>,
    pub display_name: Option<Option<String>>,
    pub description: Option<Option<String>>,
    pub fields: Option<Vec<Field>>,
}

/// Checks a new schema.
pub fn create(body: &Body) -> (Option<SchemaInput>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = body.value();
    shape::check::<SchemaInput>(value, "", Mode::default(), &mut faults);
    check_fields(value, &mut faults);
    let input = if faults.is_empty() { shape::of_checked(value, "", Mode::default(), &mut faults) } else { None };
    (input, faults)
}

/// Checks a change; read-only fields are accepted and ignored.
pub fn update(body: &Body) -> (Option<SchemaPatch>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = &shape::without(body.value(), READ_ONLY);
    shape::check::<SchemaInput>(value, "", Mode { partial: true, secret: false }, &mut faults);
    check_fields(value, &mut faults);
    if !faults.is_empty() {
        return (None, faults);
    }
    let patch = SchemaPatch {
        name: field(value, "name", &mut faults),
        display_name: field(value, "displayName", &mut faults),
        description: field(value, "description", &mut faults),
        fields: field(value, "fields", &mut faults),
    };
    (faults.is_empty().then_some(patch), faults)
}

fn check_fields(value: &Value, faults: &mut Vec<Fault>) {
    let fields = value.get("fields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut seen: HashMap<String, &str> = HashMap::new();
    for (index, field) in fields.iter().enumerate() {
        let at = pointer::at("/fields", index);
        if let Some(name) = field.get("name").and_then(Value::as_str) {
            match seen.get(&name.to_lowercase()) {
                Some(same) if *same == name => {
                    let detail = format!("the field {} is there twice", verdict::quote(name));
                    faults.push(Fault::new(pointer::push(&at, "name"), "duplicate", detail));
                }
                Some(other) => {
                    let detail = format!(
                        "{} and {} differ in case only, which a table cannot keep apart",
                        verdict::quote(name),
                        verdict::quote(other)
                    );
                    faults.push(Fault::new(pointer::push(&at, "name"), "duplicate", detail));
                }
                None => {
                    seen.insert(name.to_lowercase(), name);
                }
            }
        }
        if let Ok(field) = Field::deserialize(field) {
            check_field(&field, &at, faults);
        }
    }
}

fn check_field(field: &Field, at: &str, faults: &mut Vec<Fault>) {
    if field.name.to_ascii_lowercase().starts_with("__flowgate") {
        let detail = "names that start with \"__flowgate\" are kept for the engine";
        faults.push(Fault::new(pointer::push(at, "name"), "format", detail));
    }
    if field.length.is_some() && field.data_type != DataTypeName::Varchar {
        faults.push(Fault::new(
            pointer::push(at, "length"),
            "contradiction",
            "length means something for varchar only",
        ));
    }
    ops::digits(field.data_type, field.precision, field.scale, at, faults);
    if field.is_primary_key == Some(true) && field.is_nullable == Some(true) {
        faults.push(Fault::new(pointer::push(at, "isNullable"), "contradiction", "a primary key is never nullable"));
    }
    if let Some(value) = &field.default_value {
        let column = Column { data_type: field.data_type, length: field.length, decimal: field.decimal() };
        if let Err(wrong) = defaults::fits(value, column) {
            faults.push(Fault::new(pointer::push(at, "defaultValue"), "type", wrong));
        }
    }
}

/// Why a table with the fields `old` cannot become one with `new` without losing data; empty where it can.
pub fn evolution(old: &[Field], new: &[Field]) -> Vec<String> {
    let mut reasons = Vec::new();
    for before in old {
        match new.iter().find(|after| after.name == before.name) {
            None => reasons.push(format!("the field {:?} would be dropped with its data", before.name)),
            Some(after) => reasons.extend(change(before, after)),
        }
    }
    for added in new.iter().filter(|field| !old.iter().any(|before| before.name == field.name)) {
        if !added.nullable() {
            reasons.push(format!(
                "the new field {:?} is not nullable, and the rows that are there have no value for it",
                added.name
            ));
        }
    }
    reasons
}

/// Why one field cannot change so; all reasons.
fn change(before: &Field, after: &Field) -> Vec<String> {
    let name = &before.name;
    let mut reasons = Vec::new();
    if !widens(before, after) {
        reasons.push(format!(
            "the field {name:?} would change from {} to {}{}",
            type_name(before),
            type_name(after),
            instead(before)
        ));
    }
    if let Some(most) = after.length.filter(|most| before.length.is_none_or(|had| had > *most)) {
        reasons.push(format!("the field {name:?} would be cut to {most} characters"));
    }
    if before.nullable() && !after.nullable() {
        reasons.push(format!("the field {name:?} would not be nullable any more, and rows may have null in it"));
    }
    reasons
}

/// Whether each value of the one type is one of the other. Tables are changed by the same rule.
pub fn widens(before: &Field, after: &Field) -> bool {
    use DataTypeName::{Bigint, Decimal, Double, Integer, Real, Smallint, Text, Varchar};
    match (before.data_type, after.data_type) {
        (Decimal, Decimal) => {
            let ((digits, scale), (more, same)) = (before.decimal(), after.decimal());
            scale == same && digits <= more
        }
        (Smallint, Integer | Bigint) | (Integer, Bigint) | (Real, Double) | (Varchar, Text) | (Text, Varchar) => true,
        (one, other) => one == other,
    }
}

/// What the type could become.
fn instead(field: &Field) -> String {
    match field.data_type {
        DataTypeName::Smallint => ", but only integer and bigint hold all that is in it".to_owned(),
        DataTypeName::Integer => ", but only bigint holds all that is in it".to_owned(),
        DataTypeName::Real => ", but only double holds all that is in it".to_owned(),
        DataTypeName::Varchar => ", but only a longer varchar and text hold all that is in it".to_owned(),
        DataTypeName::Decimal => {
            format!(
                ", but only decimals of more digits with {} after the point hold all that is in it",
                field.decimal().1
            )
        }
        _ => String::new(),
    }
}

fn type_name(field: &Field) -> String {
    let name =
        serde_json::to_value(field.data_type).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    match field.data_type {
        DataTypeName::Decimal => format!("{name}({}, {})", field.decimal().0, field.decimal().1),
        _ => name,
    }
}

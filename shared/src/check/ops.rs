//! What a schema cannot say about the ops of a transform node.

use super::defaults::{self, Column};
use super::{nodes, pointer, verdict};
use crate::Fault;
use crate::json_path;
use crate::models::node::{DataTypeName, Mapping, TransformOp};
use crate::models::schema::decimal;
use crate::strftime;
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Adds the faults of the op at `at` (such as `/nodes/2/config/ops/0`).
pub(super) fn check(op: &TransformOp, at: &str, faults: &mut Vec<Fault>) {
    match op {
        TransformOp::Cast { r#type, format, precision, scale, .. } => {
            digits(*r#type, *precision, *scale, at, faults);
            if let Some(format) = format {
                time_format(*r#type, format, &pointer::push(at, "format"), faults);
            }
        }
        TransformOp::Rename { mappings } => renames(mappings, &pointer::push(at, "mappings"), faults),
        TransformOp::Drop { fields }
        | TransformOp::Select { fields }
        | TransformOp::Trim { fields }
        | TransformOp::Merge { fields, .. } => {
            nodes::duplicates(nodes::numbered(fields), &pointer::push(at, "fields"), faults);
        }
        TransformOp::Split { into, .. } => {
            nodes::duplicates(nodes::numbered(into), &pointer::push(at, "into"), faults);
        }
        TransformOp::AddField { value, r#type, .. } => added(value, *r#type, &pointer::push(at, "value"), faults),
        TransformOp::FillNull { value, .. } => {
            if value.is_null() {
                faults.push(Fault::new(
                    pointer::push(at, "value"),
                    "type",
                    "a value is expected in the place of null, found null",
                ));
            }
            scalar(value, &pointer::push(at, "value"), faults);
        }
        TransformOp::MapValues { mapping, default, .. } => mapped(mapping, default.as_ref(), at, faults),
        TransformOp::ParseJson { path, .. } => {
            if let Err(wrong) = json_path::parse(path) {
                faults.push(Fault::new(pointer::push(at, "path"), "format", wrong));
            }
        }
        TransformOp::Lookup { table, path, on, select, .. } => {
            nodes::duplicates(nodes::numbered(select), &pointer::push(at, "select"), faults);
            if table.is_some() && path.is_some() {
                let detail = "a table and a path are given; one of them says what is read";
                faults.push(Fault::new(pointer::push(at, "path"), "contradiction", detail));
            }
            nodes::repeated_pairs(on.iter().cloned().enumerate(), at, faults);
        }
        TransformOp::Expression { .. } | TransformOp::Hash { .. } | TransformOp::MaskPii { .. } => {}
    }
}

/// Precision and scale belong to decimals, and the one holds the other.
pub(super) fn digits(
    data_type: DataTypeName,
    precision: Option<u8>,
    scale: Option<i8>,
    at: &str,
    faults: &mut Vec<Fault>,
) {
    if data_type != DataTypeName::Decimal {
        for (name, given) in [("precision", precision.is_some()), ("scale", scale.is_some())] {
            if given {
                faults.push(Fault::new(
                    pointer::push(at, name),
                    "contradiction",
                    format!("{name} means something for decimal only"),
                ));
            }
        }
        return;
    }
    let (most, after) = decimal(precision, scale);
    if i16::from(after) > i16::from(most) {
        let detail = format!("a decimal of {most} digits cannot have {after} of them after the point");
        faults.push(Fault::new(pointer::push(at, "scale"), "range", detail));
    }
}

fn time_format(data_type: DataTypeName, format: &str, at: &str, faults: &mut Vec<Fault>) {
    // Texts may be written from dates and times by it.
    let has_format = [
        DataTypeName::Date,
        DataTypeName::Timestamp,
        DataTypeName::Timestamptz,
        DataTypeName::Text,
        DataTypeName::Varchar,
    ];
    if !has_format.contains(&data_type) {
        faults.push(Fault::new(at, "contradiction", "format means something for dates, times and texts only"));
    } else if format.is_empty() {
        faults.push(Fault::new(at, "length", "must not be empty"));
    } else if !strftime::is_form(format) {
        let detail = format!("{} is no time format; it is written like %d.%m.%Y %H:%M:%S", verdict::quote(format));
        faults.push(Fault::new(at, "format", detail));
    } else if matches!(data_type, DataTypeName::Timestamp | DataTypeName::Timestamptz)
        && let Some(why) = strftime::leaves_open(format)
    {
        faults.push(Fault::new(at, "format", why));
    }
}

fn renames(mappings: &[Mapping], at: &str, faults: &mut Vec<Fault>) {
    let (mut from, mut to) = (HashSet::new(), HashSet::new());
    for (index, mapping) in mappings.iter().enumerate() {
        let at = pointer::at(at, index);
        if !from.insert(&mapping.from) {
            let detail = format!("{} is renamed twice", verdict::quote(&mapping.from));
            faults.push(Fault::new(pointer::push(&at, "from"), "duplicate", detail));
        }
        if !to.insert(&mapping.to) {
            let detail = format!("two fields would be called {}", verdict::quote(&mapping.to));
            faults.push(Fault::new(pointer::push(&at, "to"), "duplicate", detail));
        }
    }
}

/// A constant has its column's type; what a parameter brings is known when it runs.
fn added(value: &Value, data_type: DataTypeName, at: &str, faults: &mut Vec<Fault>) {
    if value.as_str().is_some_and(|text| text.contains("${")) {
        return;
    }
    if let Err(wrong) = defaults::fits(value, Column { data_type, length: None, decimal: decimal(None, None) }) {
        faults.push(Fault::new(at, "type", wrong));
    }
}

fn mapped(mapping: &Map<String, Value>, default: Option<&Value>, at: &str, faults: &mut Vec<Fault>) {
    let mapping_at = pointer::push(at, "mapping");
    for (key, value) in mapping {
        scalar(value, &pointer::push(&mapping_at, key), faults);
    }
    if let Some(default) = default {
        scalar(default, &pointer::push(at, "default"), faults);
    }
}

fn scalar(value: &Value, at: &str, faults: &mut Vec<Fault>) {
    if value.is_object() || value.is_array() {
        let detail = format!("expected a string, a number or a boolean, found {}", verdict::kind_of(value));
        faults.push(Fault::new(at, "type", detail));
    }
}

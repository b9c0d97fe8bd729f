//! The config of each node, by its type: its shape, and what a schema cannot say about it.

use super::connector::table_or_query;
use super::shape::{self, Mode};
use super::{files, ops, pointer, rules, verdict};
use crate::Fault;
use crate::models::node::{
    AggregateConfig, AggregateFn, BranchConfig, DeduplicateConfig, FilterConfig, JoinConfig, JoinKey, LoadMode,
    NodeType, PivotConfig, SortConfig, SortKey, SourceConfig, SqlConfig, TargetConfig, TransformConfig, UnionConfig,
    UnpivotConfig, ValidateConfig,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashSet;

/// All node types, as `nodeType` names them.
pub(super) const ALL: &[&str] = &[
    "source",
    "filter",
    "transform",
    "join",
    "union",
    "aggregate",
    "sort",
    "deduplicate",
    "pivot",
    "unpivot",
    "branch",
    "sql",
    "validate",
    "target",
];

/// The node type that a raw node names.
pub(super) fn type_of(node: &Value) -> Option<NodeType> {
    NodeType::deserialize(node.get("nodeType")?).ok()
}

/// Adds the faults of the type and the config of the node at `at` (such as `/nodes/2`).
pub(super) fn check(node: &Value, at: &str, faults: &mut Vec<Fault>) {
    let Some(name) = node.get("nodeType").filter(|name| name.is_string()) else {
        return;
    };
    let Some(node_type) = type_of(node) else {
        faults.push(verdict::word(pointer::push(at, "nodeType"), name, ALL));
        return;
    };
    let Some(config) = node.get("config").filter(|config| config.is_object()) else {
        return;
    };
    let at = &pointer::push(at, "config");
    match node_type {
        NodeType::Source => meaning(config, at, faults, source),
        NodeType::Filter => meaning(config, at, faults, |_: &FilterConfig, _, _| ()),
        NodeType::Transform => transform(config, at, faults),
        NodeType::Join => meaning(config, at, faults, join),
        NodeType::Union => meaning(config, at, faults, |_: &UnionConfig, _, _| ()),
        NodeType::Aggregate => meaning(config, at, faults, aggregate),
        NodeType::Sort => {
            meaning(config, at, faults, |c: &SortConfig, at, faults| sort_keys(&c.by, &pointer::push(at, "by"), faults))
        }
        NodeType::Deduplicate => meaning(config, at, faults, deduplicate),
        NodeType::Target => meaning(config, at, faults, target),
        NodeType::Pivot => meaning(config, at, faults, pivot),
        NodeType::Unpivot => meaning(config, at, faults, unpivot),
        NodeType::Branch => meaning(config, at, faults, branch),
        NodeType::Sql => meaning(config, at, faults, |_: &SqlConfig, _, _| ()),
        NodeType::Validate => meaning(config, at, faults, |c: &ValidateConfig, at, faults| rules::check(c, at, faults)),
    }
}

/// Checks the shape of a config and, where it could be read, its meaning.
fn meaning<T: JsonSchema + DeserializeOwned + 'static>(
    config: &Value,
    at: &str,
    faults: &mut Vec<Fault>,
    rules: impl Fn(&T, &str, &mut Vec<Fault>),
) {
    shape::check::<T>(config, at, Mode::default(), faults);
    // Also where the shape has faults that serde does not mind: all faults in one answer.
    if let Ok(config) = T::deserialize(config) {
        rules(&config, at, faults);
    }
}

fn transform(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    shape::check::<TransformConfig>(config, at, Mode::default(), faults);
    let at = pointer::push(at, "ops");
    for (index, op) in config.get("ops").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if let Ok(op) = Deserialize::deserialize(op) {
            ops::check(&op, &pointer::at(&at, index), faults);
        }
    }
}

fn source(config: &SourceConfig, at: &str, faults: &mut Vec<Fault>) {
    if let Some(options) = &config.options {
        files::options(options, config.format, &pointer::push(at, "options"), faults);
    }
    table_or_query(at, config.table.as_deref(), config.query.as_deref(), faults);
    let of_files = [("path", config.path.is_some()), ("format", config.format.is_some())];
    if config.table.is_some() || config.query.is_some() {
        for (name, _) in of_files.into_iter().filter(|(_, given)| *given) {
            let detail = format!("{name} is for files, and a table or a query is for databases");
            faults.push(Fault::new(pointer::push(at, name), "contradiction", detail));
        }
    }
}

fn join(config: &JoinConfig, at: &str, faults: &mut Vec<Fault>) {
    repeated_pairs(&config.on, at, faults);
}

/// Adds a fault for each pair of keys in `on` that is there already.
pub(super) fn repeated_pairs(on: &[JoinKey], at: &str, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (index, pair) in on.iter().enumerate() {
        if !seen.insert((&pair.left, &pair.right)) {
            let detail =
                format!("the pair {} and {} is there twice", verdict::quote(&pair.left), verdict::quote(&pair.right));
            faults.push(Fault::new(pointer::at(&pointer::push(at, "on"), index), "duplicate", detail));
        }
    }
}

fn aggregate(config: &AggregateConfig, at: &str, faults: &mut Vec<Fault>) {
    if config.group_by.is_empty() && config.measures.is_empty() {
        let detail = "at least one measure is needed where groupBy is empty";
        faults.push(Fault::new(pointer::push(at, "measures"), "length", detail));
    }
    duplicates(&config.group_by, &pointer::push(at, "groupBy"), faults);
    let at = pointer::push(at, "measures");
    let mut names: HashSet<&String> = config.group_by.iter().collect();
    for (index, measure) in config.measures.iter().enumerate() {
        let at = pointer::at(&at, index);
        if measure.field == "*" && measure.r#fn != AggregateFn::Count {
            let detail = "\"*\" counts rows, with the function count only; name a field";
            faults.push(Fault::new(pointer::push(&at, "field"), "contradiction", detail));
        }
        if !names.insert(&measure.r#as) {
            let detail = format!("the name {} is there already", verdict::quote(&measure.r#as));
            faults.push(Fault::new(pointer::push(&at, "as"), "duplicate", detail));
        }
    }
}

fn sort_keys(keys: &[SortKey], at: &str, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (index, key) in keys.iter().enumerate() {
        if !seen.insert(&key.field) {
            let at = pointer::push(&pointer::at(at, index), "field");
            faults.push(Fault::new(
                at,
                "duplicate",
                format!("the field {} is there twice", verdict::quote(&key.field)),
            ));
        }
    }
}

fn deduplicate(config: &DeduplicateConfig, at: &str, faults: &mut Vec<Fault>) {
    duplicates(&config.keys, &pointer::push(at, "keys"), faults);
    if let Some(order) = &config.order_by {
        sort_keys(order, &pointer::push(at, "orderBy"), faults);
    }
}

fn pivot(config: &PivotConfig, at: &str, faults: &mut Vec<Fault>) {
    duplicates(&config.index, &pointer::push(at, "index"), faults);
    if config.index.contains(&config.columns) {
        let detail = format!("{} makes the rows, so it cannot make the columns, too", verdict::quote(&config.columns));
        faults.push(Fault::new(pointer::push(at, "columns"), "contradiction", detail));
    }
    if config.values == "*" && config.r#fn != AggregateFn::Count {
        let detail = "\"*\" counts rows, with the function count only; name a field";
        faults.push(Fault::new(pointer::push(at, "values"), "contradiction", detail));
    }
    let mut names: HashSet<String> = config.index.iter().cloned().collect();
    for (index, value) in config.pivot_values.iter().flatten().enumerate() {
        let at = pointer::at(&pointer::push(at, "pivotValues"), index);
        let name = match value {
            Value::Array(_) | Value::Object(_) => {
                let found = verdict::kind_of(value);
                let detail = format!("expected a string, a number, a boolean or null, found {found}");
                faults.push(Fault::new(at, "type", detail));
                continue;
            }
            Value::String(text) if text.contains("${") => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if let Some(wrong) = super::formats::explain("column", &name) {
            faults.push(Fault::new(&at, "format", wrong));
        }
        if !names.insert(name.clone()) {
            let detail = format!("the column {} would be there twice", verdict::quote(&name));
            faults.push(Fault::new(at, "duplicate", detail));
        }
    }
}

fn unpivot(config: &UnpivotConfig, at: &str, faults: &mut Vec<Fault>) {
    duplicates(&config.index, &pointer::push(at, "index"), faults);
    duplicates(&config.columns, &pointer::push(at, "columns"), faults);
    for (index, name) in config.columns.iter().enumerate().filter(|(_, name)| config.index.contains(name)) {
        let detail = format!("{} is kept in each row, so it cannot become rows, too", verdict::quote(name));
        faults.push(Fault::new(pointer::at(&pointer::push(at, "columns"), index), "contradiction", detail));
    }
    let mut names: HashSet<&String> = config.index.iter().collect();
    for (key, name) in [("nameTo", &config.name_to), ("valueTo", &config.value_to)] {
        if !names.insert(name) {
            let detail = format!("two fields would be called {}", verdict::quote(name));
            faults.push(Fault::new(pointer::push(at, key), "duplicate", detail));
        }
    }
}

fn branch(config: &BranchConfig, at: &str, faults: &mut Vec<Fault>) {
    let labels = config.routes.iter().enumerate();
    let labels = labels.map(|(index, route)| (format!("/routes/{index}/label"), &route.label));
    let mut seen = HashSet::new();
    for (below, label) in labels.chain(config.r#else.iter().map(|label| ("/else".to_owned(), label))) {
        let at = format!("{at}{below}");
        if label.trim().is_empty() {
            faults.push(Fault::new(&at, "format", "a label must have a character that can be seen"));
        }
        if !seen.insert(label) {
            let detail = format!("the label {} is there already", verdict::quote(label));
            faults.push(Fault::new(at, "duplicate", detail));
        }
    }
}

fn target(config: &TargetConfig, at: &str, faults: &mut Vec<Fault>) {
    let mode = config.load_mode.unwrap_or_default();
    if let Some(key) = &config.upsert_key {
        let at = pointer::push(at, "upsertKey");
        duplicates(key, &at, faults);
        if mode != LoadMode::Upsert {
            faults.push(Fault::new(at, "contradiction", "upsertKey means something with the load mode upsert only"));
        }
    }
    match (&config.watermark_column, mode) {
        (None, LoadMode::IncrementalWatermark) => {
            let detail = "the load mode incremental_watermark needs a watermarkColumn";
            faults.push(Fault::new(pointer::push(at, "watermarkColumn"), "required", detail));
        }
        (Some(_), LoadMode::IncrementalWatermark) | (None, _) => {}
        (Some(_), _) => {
            let detail = "watermarkColumn means something with the load mode incremental_watermark only";
            faults.push(Fault::new(pointer::push(at, "watermarkColumn"), "contradiction", detail));
        }
    }
    if config.allow_empty == Some(true) && mode != LoadMode::Truncate {
        let detail = "allowEmpty means something with the load mode truncate only";
        faults.push(Fault::new(pointer::push(at, "allowEmpty"), "contradiction", detail));
    }
}

/// Adds a fault for each name that is there already.
pub(super) fn duplicates(names: &[String], at: &str, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (index, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            faults.push(Fault::new(
                pointer::at(at, index),
                "duplicate",
                format!("{} is there twice", verdict::quote(name)),
            ));
        }
    }
}

//! The config of each node, by its type: its shape, and what a schema cannot say about it.

use super::connector::table_or_query;
use super::pipeline::array;
use super::shape::{self, Mode};
use super::{files, ops, pointer, rules, slips, verdict};
use crate::Fault;
use crate::models::node::{
    AggregateConfig, AggregateFn, BranchConfig, DeduplicateConfig, FilterConfig, JoinConfig, JoinKey, LoadMode,
    Measure, NodeType, PivotConfig, Route, SortConfig, SortKey, SourceConfig, SqlConfig, TargetConfig, TransformConfig,
    TransformOp, UnionConfig, UnpivotConfig, ValidateConfig,
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
        NodeType::Source => meaning::<SourceConfig>(config, at, faults, source),
        NodeType::Filter => meaning::<FilterConfig>(config, at, faults, |_, _, _| ()),
        NodeType::Transform => meaning::<TransformConfig>(config, at, faults, transform),
        NodeType::Join => meaning::<JoinConfig>(config, at, faults, join),
        NodeType::Union => meaning::<UnionConfig>(config, at, faults, |_, _, _| ()),
        NodeType::Aggregate => meaning::<AggregateConfig>(config, at, faults, aggregate),
        NodeType::Sort => meaning::<SortConfig>(config, at, faults, |c, at, faults| sort_keys(c, "by", at, faults)),
        NodeType::Deduplicate => meaning::<DeduplicateConfig>(config, at, faults, deduplicate),
        NodeType::Target => meaning::<TargetConfig>(config, at, faults, target),
        NodeType::Pivot => meaning::<PivotConfig>(config, at, faults, pivot),
        NodeType::Unpivot => meaning::<UnpivotConfig>(config, at, faults, unpivot),
        NodeType::Branch => meaning::<BranchConfig>(config, at, faults, branch),
        NodeType::Sql => meaning::<SqlConfig>(config, at, faults, |_, _, _| ()),
        NodeType::Validate => meaning::<ValidateConfig>(config, at, faults, rules::check),
    }
}

/// Checks the shape of a config, and its meaning as far as it can be read: all faults in one answer.
fn meaning<T: JsonSchema + DeserializeOwned + 'static>(
    config: &Value,
    at: &str,
    faults: &mut Vec<Fault>,
    rules: impl Fn(&Value, &str, &mut Vec<Fault>),
) {
    shape::check::<T>(config, at, Mode::default(), faults);
    slips::judge::<T>(config, faults, |config, faults| rules(config, at, faults));
}

/// The elements of the list at `key` that can be read, by their places.
pub(super) fn each<T: DeserializeOwned>(config: &Value, key: &str) -> impl Iterator<Item = (usize, T)> {
    let items = array(config, key).iter().enumerate();
    items.filter_map(|(index, item)| Some((index, T::deserialize(item).ok()?)))
}

/// The texts in the list at `key`, by their places.
fn texts<'v>(config: &'v Value, key: &str) -> impl Iterator<Item = (usize, &'v str)> {
    array(config, key).iter().enumerate().filter_map(|(index, item)| Some((index, item.as_str()?)))
}

fn text<'v>(config: &'v Value, key: &str) -> Option<&'v str> {
    config.get(key).and_then(Value::as_str)
}

fn transform(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    let at = pointer::push(at, "ops");
    for (index, op) in each::<TransformOp>(config, "ops") {
        ops::check(&op, &pointer::at(&at, index), faults);
    }
}

fn source(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    let Ok(config) = SourceConfig::deserialize(config) else { return };
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

fn join(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    repeated_pairs(each::<JoinKey>(config, "on"), at, faults);
}

/// Adds a fault for each pair of keys in `on` that is there already.
pub(super) fn repeated_pairs(on: impl IntoIterator<Item = (usize, JoinKey)>, at: &str, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (index, pair) in on {
        if let Some((left, right)) = seen.replace((pair.left, pair.right)) {
            let detail = format!("the pair {} and {} is there twice", verdict::quote(&left), verdict::quote(&right));
            faults.push(Fault::new(pointer::at(&pointer::push(at, "on"), index), "duplicate", detail));
        }
    }
}

fn aggregate(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    let is_empty = |key: &str| config.get(key).and_then(Value::as_array).is_some_and(Vec::is_empty);
    if is_empty("groupBy") && is_empty("measures") {
        let detail = "at least one measure is needed where groupBy is empty";
        faults.push(Fault::new(pointer::push(at, "measures"), "length", detail));
    }
    duplicates(texts(config, "groupBy"), &pointer::push(at, "groupBy"), faults);
    let at = pointer::push(at, "measures");
    let mut names: HashSet<String> = texts(config, "groupBy").map(|(_, name)| name.to_owned()).collect();
    for (index, measure) in each::<Measure>(config, "measures") {
        let at = pointer::at(&at, index);
        if measure.field == "*" && measure.r#fn != AggregateFn::Count {
            let detail = "\"*\" counts rows, with the function count only; name a field";
            faults.push(Fault::new(pointer::push(&at, "field"), "contradiction", detail));
        }
        if let Some(name) = names.replace(measure.r#as) {
            let detail = format!("the name {} is there already", verdict::quote(&name));
            faults.push(Fault::new(pointer::push(&at, "as"), "duplicate", detail));
        }
    }
}

/// Adds a fault for each key in the list at `list` that is there already.
fn sort_keys(config: &Value, list: &str, at: &str, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (index, key) in each::<SortKey>(config, list) {
        if let Some(field) = seen.replace(key.field) {
            let at = pointer::push(&pointer::at(&pointer::push(at, list), index), "field");
            faults.push(Fault::new(at, "duplicate", format!("the field {} is there twice", verdict::quote(&field))));
        }
    }
}

fn deduplicate(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    duplicates(texts(config, "keys"), &pointer::push(at, "keys"), faults);
    sort_keys(config, "orderBy", at, faults);
}

fn pivot(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    duplicates(texts(config, "index"), &pointer::push(at, "index"), faults);
    let mut names: HashSet<String> = texts(config, "index").map(|(_, name)| name.to_owned()).collect();
    if let Some(columns) = text(config, "columns").filter(|columns| names.contains(*columns)) {
        let detail = format!("{} makes the rows, so it cannot make the columns, too", verdict::quote(columns));
        faults.push(Fault::new(pointer::push(at, "columns"), "contradiction", detail));
    }
    let function = config.get("fn").and_then(|name| AggregateFn::deserialize(name).ok());
    if text(config, "values") == Some("*") && function.is_some_and(|function| function != AggregateFn::Count) {
        let detail = "\"*\" counts rows, with the function count only; name a field";
        faults.push(Fault::new(pointer::push(at, "values"), "contradiction", detail));
    }
    for (index, value) in array(config, "pivotValues").iter().enumerate() {
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
        if let Some(name) = names.replace(name) {
            let detail = format!("the column {} would be there twice", verdict::quote(&name));
            faults.push(Fault::new(at, "duplicate", detail));
        }
    }
}

fn unpivot(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    duplicates(texts(config, "index"), &pointer::push(at, "index"), faults);
    duplicates(texts(config, "columns"), &pointer::push(at, "columns"), faults);
    let mut names: HashSet<&str> = texts(config, "index").map(|(_, name)| name).collect();
    for (index, name) in texts(config, "columns").filter(|(_, name)| names.contains(name)) {
        let detail = format!("{} is kept in each row, so it cannot become rows, too", verdict::quote(name));
        faults.push(Fault::new(pointer::at(&pointer::push(at, "columns"), index), "contradiction", detail));
    }
    for key in ["nameTo", "valueTo"] {
        if let Some(name) = text(config, key).filter(|name| !names.insert(*name)) {
            let detail = format!("two fields would be called {}", verdict::quote(name));
            faults.push(Fault::new(pointer::push(at, key), "duplicate", detail));
        }
    }
}

fn branch(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    let routes = each::<Route>(config, "routes");
    let labels = routes.map(|(index, route)| (format!("/routes/{index}/label"), route.label));
    let other = text(config, "else").map(|label| ("/else".to_owned(), label.to_owned()));
    let mut seen = HashSet::new();
    for (below, label) in labels.chain(other) {
        let at = format!("{at}{below}");
        if label.trim().is_empty() {
            faults.push(Fault::new(&at, "format", "a label must have a character that can be seen"));
        }
        if let Some(label) = seen.replace(label) {
            let detail = format!("the label {} is there already", verdict::quote(&label));
            faults.push(Fault::new(at, "duplicate", detail));
        }
    }
}

fn target(config: &Value, at: &str, faults: &mut Vec<Fault>) {
    let Ok(config) = TargetConfig::deserialize(config) else { return };
    let mode = config.load_mode.unwrap_or_default();
    if let Some(key) = &config.upsert_key {
        let at = pointer::push(at, "upsertKey");
        duplicates(numbered(key), &at, faults);
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

/// Names with their places.
pub(super) fn numbered(names: &[String]) -> impl Iterator<Item = (usize, &str)> {
    names.iter().map(String::as_str).enumerate()
}

/// Adds a fault for each name that is there already.
pub(super) fn duplicates<'n>(names: impl IntoIterator<Item = (usize, &'n str)>, at: &str, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (index, name) in names {
        if !seen.insert(name) {
            let detail = format!("{} is there twice", verdict::quote(name));
            faults.push(Fault::new(pointer::at(at, index), "duplicate", detail));
        }
    }
}

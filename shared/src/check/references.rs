//! How many connectors and schemas a pipeline may name: each of them is marked as used in the transaction that saves it.

use super::Body;
use super::pipeline::{array, tables};
use crate::Fault;
use crate::models::pipeline::{Pipeline, connectors_of};
use serde_json::Value;
use std::collections::HashSet;

/// Most different connectors that a pipeline names.
const MAX_CONNECTORS: usize = 30;

/// Most connectors and tables together. Each takes two writes of a transaction, which has a hundred.
const MAX_REFERENCES: usize = 40;

/// Larger graphs are not looked at.
const MAX_NODES: usize = super::graph::MAX_NODES;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Named {
    Connector(String),
    /// Its own schema, by its id.
    Schema(String),
    /// A target's, by the schema's name.
    Table(String),
}

/// Faults where the pipeline that a body makes, or makes of the `stored` one, names more than it may.
pub fn too_many(body: &Body, stored: Option<&Pipeline>) -> Vec<Fault> {
    let (mut seen, mut connectors, mut tables) = (HashSet::new(), 0_usize, 0_usize);
    let mut faults = Vec::new();
    for (pointer, named) in named(body.value(), stored) {
        let connector = matches!(named, Named::Connector(_));
        if !seen.insert(named) {
            continue;
        }
        *(if connector { &mut connectors } else { &mut tables }) += 1;
        let all = connectors.min(MAX_CONNECTORS) + tables;
        let detail = if connector && connectors > MAX_CONNECTORS {
            format!("a pipeline names {MAX_CONNECTORS} connectors at most; this is number {connectors}")
        } else if all > MAX_REFERENCES {
            format!(
                "a pipeline names {MAX_REFERENCES} connectors and tables at most, its own included; this is number {all}"
            )
        } else {
            continue;
        };
        faults.push(Fault::new(pointer, "too_many", detail));
    }
    faults
}

/// What the pipeline names, with pointers into the body; what is stored comes before that which the body changes.
fn named(value: &Value, stored: Option<&Pipeline>) -> Vec<(String, Named)> {
    let given = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let connector = given("connectorId").or_else(|| stored.map(|stored| stored.connector_id.clone()));
    let schema = given("schemaId").or_else(|| stored.map(|stored| stored.schema_id.clone()));
    let own = [
        connector.map(|id| ("/connectorId".to_owned(), Named::Connector(id))),
        schema.map(|id| ("/schemaId".to_owned(), Named::Schema(id))),
    ];
    let own = own.into_iter().flatten();
    match stored {
        Some(stored) if value.get("nodes").is_none() => {
            let changes = ["connectorId", "schemaId"].into_iter().find(|key| value.get(*key).is_some());
            let Some(changes) = changes else { return Vec::new() };
            let at = format!("/{changes}");
            let connectors = stored.nodes.0.iter().flat_map(|node| connectors_of(&node.config));
            let connectors = connectors.map(|(_, id)| (at.clone(), Named::Connector(id.to_owned())));
            let tables = stored.tables.0.keys().map(|name| (at.clone(), Named::Table(name.clone())));
            connectors.chain(tables).chain(own).collect()
        }
        _ => {
            let nodes = array(value, "nodes").iter().enumerate().take(MAX_NODES);
            let connectors = nodes.flat_map(|(index, node)| {
                let config = node.get("config").and_then(Value::as_object);
                let named = config.into_iter().flat_map(connectors_of);
                named.map(move |(below, id)| (format!("/nodes/{index}/config{below}"), Named::Connector(id.to_owned())))
            });
            let tables = tables(value).map(|(pointer, _, name)| (pointer, Named::Table(name.to_owned())));
            own.chain(connectors).chain(tables).collect()
        }
    }
}

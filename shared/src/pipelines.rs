//! What creating and changing a pipeline have in common: what a body names must be there, and nodes get ids.

use crate::check::pipeline::{self, EdgeInput, NodeInput};
use crate::check::targets::{self, Tables};
use crate::check::{Body, connected};
use crate::context::Context;
use crate::error::{Error, Fault, Result};
use crate::id::{self, Prefix};
use crate::models::node::NodeType;
use crate::models::pipeline::{Edge, Node, connectors_of};
use crate::models::schema::Schema;
use crate::models::time::Time;
use crate::store::keys::Kind;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// A fault at each pointer whose connector or schema is not there.
///
/// # Errors
/// Where the store does not answer.
pub async fn missing_references(context: &Context, body: &Body) -> Result<Vec<Fault>> {
    let references = pipeline::references(body);
    let ids: Vec<&str> = references.connectors.iter().map(|(_, id)| id.as_str()).filter(|id| usable(id)).collect();
    let found = context.store.connectors(context.tenant(), &ids).await?;
    let missing = references.connectors.iter().filter(|(_, id)| !found.contains_key(id));
    let mut faults: Vec<Fault> = missing
        .map(|(pointer, id)| Fault::new(pointer, "not_found", format!("the connector {id:?} does not exist")))
        .collect();
    if let Some((pointer, id)) = &references.schema
        && find_schema(context, id).await?.is_none()
    {
        faults.push(Fault::new(pointer, "not_found", format!("the schema {id:?} does not exist")));
    }
    faults.extend(missing_tables(context, &references.tables).await?);
    Ok(faults)
}

/// A fault at each target whose table is that of no schema.
async fn missing_tables(context: &Context, tables: &[(String, String)]) -> Result<Vec<Fault>> {
    let names: Vec<&str> = tables.iter().map(|(_, name)| name.as_str()).collect();
    let found = context.store.schema_ids(context.tenant(), &names).await?;
    let missing: Vec<_> = tables.iter().filter(|(_, name)| !found.contains_key(name)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let known = context.store.schema_names(context.tenant()).await?;
    Ok(missing
        .into_iter()
        .map(|(pointer, name)| {
            let near = crate::error::nearest(name, known.iter().map(String::as_str));
            let near = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
            let why = "a target without a connectorId writes the table of a schema";
            Fault::new(pointer, "not_found", format!("{why}, and none has the name {name:?}{near}"))
        })
        .collect())
}

/// Faults that only the fields of the targets' schemas tell; none where a schema is not there, which is a fault of its
/// own.
///
/// # Errors
/// Where the store does not answer.
pub async fn schema_faults(
    context: &Context,
    schema: &str,
    nodes: impl IntoIterator<Item = (NodeType, &Map<String, Value>)>,
) -> Result<Vec<Fault>> {
    let nodes: Vec<_> = nodes.into_iter().collect();
    let own = find_schema(context, schema).await?;
    let named = context.store.schemas_by_name(context.tenant(), &table_names(&nodes)).await?;
    let mut faults = Vec::new();
    targets::check(nodes, &Tables { own, named }, &mut faults);
    Ok(faults)
}

/// The ids of the schemas whose tables the targets among `nodes` name, by that name: what a pipeline keeps, so that it
/// goes on writing the same table when a schema is renamed.
///
/// # Errors
/// Where the store does not answer.
pub async fn table_ids<'a>(
    context: &Context,
    nodes: impl IntoIterator<Item = (NodeType, &'a Map<String, Value>)>,
) -> Result<BTreeMap<String, String>> {
    let nodes: Vec<_> = nodes.into_iter().collect();
    Ok(context.store.schema_ids(context.tenant(), &table_names(&nodes)).await?.into_iter().collect())
}

/// The names of schemas in targets without a connector.
fn table_names<'a>(nodes: &[(NodeType, &'a Map<String, Value>)]) -> Vec<&'a str> {
    let targets = nodes.iter().filter(|(kind, _)| *kind == NodeType::Target);
    let of_the_lake = targets.filter(|(_, config)| config.get("connectorId").is_none_or(Value::is_null));
    of_the_lake.filter_map(|(_, config)| config.get("table").and_then(Value::as_str)).collect()
}

/// Faults that only the types of the connectors tell; `own` is the pipeline's connector.
///
/// # Errors
/// Where the store does not answer.
pub async fn connector_faults<'a>(
    context: &Context,
    own: &str,
    nodes: impl IntoIterator<Item = (NodeType, &'a Map<String, Value>)>,
) -> Result<Vec<Fault>> {
    let nodes: Vec<_> = nodes.into_iter().collect();
    let named = nodes.iter().flat_map(|(_, config)| connectors_of(config)).map(|(_, id)| id);
    let mut ids: Vec<&str> = named.chain([own]).filter(|id| usable(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    let connectors = context.store.connectors(context.tenant(), &ids).await?;
    Ok(connected::check(nodes, own, &connectors))
}

async fn find_schema(context: &Context, id: &str) -> Result<Option<Schema>> {
    match context.store.resource(context.tenant(), Kind::Schema, id).await {
        Ok(schema) => Ok(Some(schema)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn usable(id: &str) -> bool {
    !id.is_empty() && id.len() <= 100 && !id.contains('#')
}

/// Nodes and edges with ids of their own. A node that was sent with the id of one in `stored` keeps it.
pub fn stored_graph(
    nodes: Vec<NodeInput>,
    edges: Vec<EdgeInput>,
    stored: &[Node],
    now: Time,
) -> (Vec<Node>, Vec<Edge>) {
    let mut ids = HashMap::with_capacity(nodes.len());
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes {
        let before = stored.iter().find(|s| s.id == node.id);
        let new = before.map_or_else(|| id::new(Prefix::Node, now.0), |s| s.id.clone());
        ids.insert(node.id.clone(), new.clone());
        kept.push(Node {
            id: new,
            client_id: before.map_or(Some(node.id), |s| s.client_id.clone()),
            node_type: node.node_type,
            label: node.label,
            config: node.config,
            position: node.position,
        });
    }
    let stored_id = |id: String| ids.get(&id).cloned().unwrap_or(id);
    let edges = edges
        .into_iter()
        .map(|edge| Edge {
            id: id::new(Prefix::Edge, now.0),
            source: stored_id(edge.source),
            target: stored_id(edge.target),
            label: edge.label,
        })
        .collect();
    (kept, edges)
}

//! What creating and changing a pipeline have in common: what a body names must be there, and nodes get ids.

use crate::check::pipeline::{self, EdgeInput, NodeInput};
use crate::check::targets::{self, Tables};
use crate::check::{Body, connected, references};
use crate::context::Context;
use crate::error::{Error, Fault, Result};
use crate::id::{self, Prefix};
use crate::models::node::NodeType;
use crate::models::pipeline::{Edge, Node, Pipeline, connectors_of};
use crate::models::schema::Schema;
use crate::models::time::Time;
use crate::store::keys::Kind;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

/// What is wrong with the connectors and schemas that a body names; and with it, looked up once, the ids of the schemas whose
/// tables the targets name, by that name. `stored` is the pipeline that the body changes.
///
/// # Errors
/// Where the store does not answer.
pub async fn check(
    context: &Context,
    body: &Body,
    stored: Option<&Pipeline>,
) -> Result<(BTreeMap<String, String>, Vec<Fault>)> {
    let tables = table_ids(context, body, stored).await?;
    let mut faults = reference_faults(context, body, stored, &tables).await?;
    faults.extend(target_faults(context, body, stored, &tables).await?);
    faults.extend(connector_faults(context, body, stored).await?);
    Ok((tables, faults))
}

/// The answer to a save that the store refused with `error`: where it says that something that the pipeline uses went away
/// in this moment, the places of the body that name it.
pub async fn refused(context: &Context, body: &Body, stored: Option<&Pipeline>, error: Error) -> Error {
    if !matches!(error, Error::Invalid(_)) {
        return error;
    }
    match check(context, body, stored).await {
        Ok((_, faults)) => crate::check::finish(Some(()), faults).err().unwrap_or(error),
        Err(other) => other,
    }
}

/// A fault at each pointer whose connector or schema is not there, or is one too many.
async fn reference_faults(
    context: &Context,
    body: &Body,
    stored: Option<&Pipeline>,
    tables: &BTreeMap<String, String>,
) -> Result<Vec<Fault>> {
    let mut faults = references::too_many(body, stored);
    let references = pipeline::references(body);
    let ids: Vec<&str> = references.connectors.iter().map(|(_, id)| id.as_str()).filter(|id| usable(id)).collect();
    let found = context.store.connectors(context.tenant(), &ids).await?;
    let missing = references.connectors.iter().filter(|(_, id)| !found.contains_key(id));
    faults.extend(
        missing.map(|(pointer, id)| Fault::new(pointer, "not_found", format!("the connector {id:?} does not exist"))),
    );
    if let Some((pointer, id)) = &references.schema
        && find_schema(context, id).await?.is_none()
    {
        faults.push(Fault::new(pointer, "not_found", format!("the schema {id:?} does not exist")));
    }
    faults.extend(missing_tables(context, &references.tables, tables).await?);
    Ok(faults)
}

/// A fault at each target whose table is that of no schema.
async fn missing_tables(
    context: &Context,
    tables: &[(String, String)],
    found: &BTreeMap<String, String>,
) -> Result<Vec<Fault>> {
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

/// Faults that only the fields of the targets' schemas tell, also where other nodes cannot be read; none where a schema is
/// not there, which is a fault of its own. What is not changed was checked when it was saved.
async fn target_faults(
    context: &Context,
    body: &Body,
    stored: Option<&Pipeline>,
    tables: &BTreeMap<String, String>,
) -> Result<Vec<Fault>> {
    let kept = kept(body, stored);
    if kept.is_some() && given(body, "schemaId").is_none() {
        return Ok(Vec::new());
    }
    let own = match given(body, "schemaId").or(stored.map(|stored| stored.schema_id.as_str())) {
        Some(id) => find_schema(context, id).await?,
        None => None,
    };
    let schemas = context.store.schemas(context.tenant(), tables.values()).await?;
    let named = tables.iter().filter_map(|(name, id)| Some((name.clone(), schemas.get(id)?.clone()))).collect();
    let mut faults = Vec::new();
    let tables = Tables { own, named, own_only: kept.is_some() };
    targets::check(nodes(body, kept, |_| true), &tables, &mut faults);
    Ok(faults.into_iter().map(|fault| placed(fault, kept, "/schemaId")).collect())
}

/// The ids of the schemas whose tables the targets name, by that name: what a pipeline keeps, so that it goes on writing
/// the same table when a schema is renamed. A target that is sent back as it is stored still means that one.
async fn table_ids(context: &Context, body: &Body, stored: Option<&Pipeline>) -> Result<BTreeMap<String, String>> {
    let mut ids = kept_tables(body, stored);
    let named: Vec<&str> = pipeline::tables(body.value()).map(|(_, _, name)| name).collect();
    let new: Vec<&str> = named.into_iter().filter(|name| !ids.contains_key(*name)).collect();
    ids.extend(context.store.schema_ids(context.tenant(), &new).await?);
    Ok(ids)
}

/// The tables that a change leaves as they are.
fn kept_tables(body: &Body, stored: Option<&Pipeline>) -> BTreeMap<String, String> {
    if let Some(kept) = kept(body, stored) {
        return kept.tables.0.clone();
    }
    let Some(stored) = stored else { return BTreeMap::new() };
    let same = |node: &Value, name: &str| {
        let id = node.get("id").and_then(Value::as_str);
        let before = stored.nodes.0.iter().find(|before| Some(before.id.as_str()) == id);
        before.is_some_and(|before| pipeline::table_of(before.node_type, &before.config) == Some(name))
    };
    let kept = pipeline::tables(body.value()).filter(|(_, node, name)| same(node, name));
    kept.filter_map(|(_, _, name)| Some((name.to_owned(), stored.tables.0.get(name)?.clone()))).collect()
}

/// Faults that only the types of the connectors tell, also where other nodes cannot be read. What is not changed was
/// checked when it was saved.
async fn connector_faults(context: &Context, body: &Body, stored: Option<&Pipeline>) -> Result<Vec<Fault>> {
    let (kept, changed) = (kept(body, stored), given(body, "connectorId"));
    if kept.is_some() && changed.is_none() {
        return Ok(Vec::new());
    }
    let own = changed.or(stored.map(|stored| stored.connector_id.as_str())).unwrap_or_default();
    let nodes = nodes(body, kept, |node| {
        node.node_type == NodeType::Source && node.config.get("connectorId").is_none_or(Value::is_null)
    });
    let named = nodes.iter().flatten().flat_map(|(_, config)| connectors_of(config)).map(|(_, id)| id);
    let mut ids: Vec<&str> = named.chain([own]).filter(|id| usable(id)).collect();
    ids.sort_unstable();
    ids.dedup();
    let connectors = context.store.connectors(context.tenant(), &ids).await?;
    let at = if stored.is_some() && changed.is_none() { "/nodes" } else { "/connectorId" };
    Ok(connected::check(nodes, own, &connectors).into_iter().map(|fault| placed(fault, kept, at)).collect())
}

/// The stored pipeline, where the body leaves its nodes as they are.
fn kept<'a>(body: &Body, stored: Option<&'a Pipeline>) -> Option<&'a Pipeline> {
    stored.filter(|_| body.value().get("nodes").is_none())
}

/// The nodes that a pipeline has by this body, by their places; none where a node cannot be read, or is kept and not
/// `touched` by what changes.
fn nodes<'a>(
    body: &'a Body,
    kept: Option<&'a Pipeline>,
    touched: impl Fn(&Node) -> bool,
) -> Vec<Option<(NodeType, &'a Map<String, Value>)>> {
    let Some(kept) = kept else { return pipeline::readable_nodes(body) };
    kept.nodes.0.iter().map(|node| touched(node).then_some((node.node_type, &node.config))).collect()
}

/// The fault at a place that the body has: `at`, the field that changes what it means, where it is one of a node that is
/// kept, or of a connector that is.
fn placed(fault: Fault, kept: Option<&Pipeline>, at: &str) -> Fault {
    let index = fault.pointer.strip_prefix("/nodes/").and_then(|below| below.split('/').next()?.parse::<usize>().ok());
    match index.and_then(|index| kept?.nodes.0.get(index)) {
        Some(node) => {
            let detail = format!("the node {:?}, which stays, does not go with it: {}", node.name(), fault.detail);
            Fault::new(at, fault.code, detail)
        }
        None if fault.pointer == "/connectorId" => Fault { pointer: at.to_owned(), ..fault },
        None => fault,
    }
}

fn given<'a>(body: &'a Body, key: &str) -> Option<&'a str> {
    body.value().get(key).and_then(Value::as_str)
}

async fn find_schema(context: &Context, id: &str) -> Result<Option<Schema>> {
    if_there(context.store.resource(context.tenant(), Kind::Schema, id).await)
}

/// What was read, where it is there: that it is not is told after what else is wrong.
///
/// # Errors
/// All but that it is not there.
pub fn if_there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn usable(id: &str) -> bool {
    !id.is_empty() && id.len() <= 100 && !id.contains('#')
}

/// Nodes and edges with ids of their own, which follow from the pipeline's id and `version`. A node that was sent with the
/// id of one in `stored` keeps it.
pub fn stored_graph(
    nodes: Vec<NodeInput>,
    edges: Vec<EdgeInput>,
    stored: &[Node],
    version: (&str, u32),
    now: Time,
) -> (Vec<Node>, Vec<Edge>) {
    let mut ids = HashMap::with_capacity(nodes.len());
    let mut kept = Vec::with_capacity(nodes.len());
    for (place, node) in nodes.into_iter().enumerate() {
        let before = stored.iter().find(|s| s.id == node.id);
        let new = before.map_or_else(|| id::part(Prefix::Node, version, place, now.0), |s| s.id.clone());
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
        .enumerate()
        .map(|(place, edge)| Edge {
            id: id::part(Prefix::Edge, version, place, now.0),
            source: stored_id(edge.source),
            target: stored_id(edge.target),
            label: edge.label,
        })
        .collect();
    (kept, edges)
}

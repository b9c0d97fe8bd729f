//! Bodies that create and change pipelines.

use super::shape::{self, Mode};
use super::{Body, graph, nodes, pointer, slips};
use crate::Fault;
use crate::models::node::NodeType;
use crate::models::pipeline::{ExecutionConfig, Partitioning, Position, Retry, connectors_of};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Fields of a pipeline's answer that a client may send back on PUT; they change nothing.
pub const READ_ONLY: &[&str] = &[
    "id",
    "tenantId",
    "status",
    "version",
    "nextRunAt",
    "connector",
    "schema",
    "lastRunAt",
    "lastRunStatus",
    "createdAt",
    "updatedAt",
];

/// A new pipeline.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PipelineInput {
    /// 1 to 200 characters after trimming.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// The connector that sources read by default.
    pub connector_id: String,
    /// The schema whose table is the target.
    pub schema_id: String,
    #[schemars(length(max = 2000))]
    pub description: Option<String>,
    /// A POSIX cron expression of five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schemars(extend("format" = "cron"))]
    pub schedule: Option<String>,
    /// An IANA name; `UTC`.
    #[schemars(extend("format" = "timezone"))]
    pub timezone: Option<String>,
    /// False pauses the schedule; true.
    pub enabled: Option<bool>,
    pub execution_config: Option<ExecutionConfig>,
    /// None at all copies the connector's data into the schema, column by column by name.
    #[schemars(length(max = 100))]
    pub nodes: Option<Vec<NodeInput>>,
    #[schemars(length(max = 1000))]
    pub edges: Option<Vec<EdgeInput>>,
}

/// A node as a client sends it.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeInput {
    /// Temporary, or the stored id on PUT; edges name it.
    #[schemars(length(min = 1, max = 200))]
    pub id: String,
    #[schemars(with = "String")]
    pub node_type: NodeType,
    #[schemars(length(max = 200))]
    pub label: Option<String>,
    /// Its shape depends on `nodeType`.
    pub config: Map<String, Value>,
    pub position: Option<Position>,
}

/// An edge as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EdgeInput {
    /// The id of the node that gives rows.
    pub source: String,
    /// The id of the node that takes them.
    pub target: String,
    /// Which input it is where the target has several: `left` and `right` of a join, the table's name in an sql node's
    /// query. An edge that leaves a branch has the label of its route instead.
    #[schemars(length(max = 200))]
    pub label: Option<String>,
}

/// Nodes and edges of one body.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    pub nodes: Vec<NodeInput>,
    pub edges: Vec<EdgeInput>,
}

/// A change of a pipeline: the outer `None` keeps what is stored, an inner one clears it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PipelinePatch {
    pub name: Option<String>,
    pub connector_id: Option<String>,
    pub schema_id: Option<String>,
    pub description: Option<Option<String>>,
    pub schedule: Option<Option<String>>,
    pub timezone: Option<Option<String>>,
    pub enabled: Option<Option<bool>>,
    pub execution_config: Option<Option<ExecutionConfig>>,
    /// Replaces nodes **and** edges.
    pub graph: Option<Graph>,
}

/// Ids that a body names, also where it has faults: whether they exist is for the route to see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Pointers (`/connectorId`, `/nodes/3/config/connectorId`) with connector ids.
    pub connectors: Vec<(String, String)>,
    /// Pointer (`/schemaId`) with a schema id.
    pub schema: Option<(String, String)>,
    /// Pointers (`/nodes/3/config/table`) with the names of schemas whose tables targets write.
    pub tables: Vec<(String, String)>,
}

/// Checks a new pipeline.
pub fn create(body: &Body) -> (Option<PipelineInput>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = body.value();
    shape::check::<PipelineInput>(value, "", Mode::default(), &mut faults);
    meaning(value, &mut faults);
    if value.get("nodes").is_none_or(Value::is_null) && !array(value, "edges").is_empty() {
        faults.push(edges_alone());
    }
    if !faults.is_empty() {
        return (None, faults);
    }
    let input = shape::of_checked::<PipelineInput>(value, "", Mode::default(), &mut faults).map(|mut input| {
        input.name = input.name.trim().to_owned();
        input
    });
    (input, faults)
}

/// Checks a change; read-only fields, nodes' `clientId` and edges' `id` are accepted and ignored.
pub fn update(body: &Body) -> (Option<PipelinePatch>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = written(body.value());
    shape::check::<PipelineInput>(&value, "", Mode { partial: true, secret: false }, &mut faults);
    meaning(&value, &mut faults);
    // Without a word about nodes even an empty list would replace edges alone; null clears them, and leaves none to meet.
    let alone = match value.get("nodes") {
        None => value.get("edges").is_some(),
        Some(nodes) => nodes.is_null() && !array(&value, "edges").is_empty(),
    };
    if alone {
        faults.push(edges_alone());
    }
    if !faults.is_empty() {
        return (None, faults);
    }
    let patch = PipelinePatch {
        name: field::<String>(&value, "name", &mut faults).map(|name| name.trim().to_owned()),
        connector_id: field(&value, "connectorId", &mut faults),
        schema_id: field(&value, "schemaId", &mut faults),
        description: field(&value, "description", &mut faults),
        schedule: field(&value, "schedule", &mut faults),
        timezone: field(&value, "timezone", &mut faults),
        enabled: field(&value, "enabled", &mut faults),
        execution_config: field(&value, "executionConfig", &mut faults),
        graph: field::<Option<Vec<NodeInput>>>(&value, "nodes", &mut faults).map(|nodes| Graph {
            nodes: nodes.unwrap_or_default(),
            edges: field::<Option<Vec<EdgeInput>>>(&value, "edges", &mut faults).flatten().unwrap_or_default(),
        }),
    };
    (faults.is_empty().then_some(patch), faults)
}

/// The connectors and the schema that a body names.
pub fn references(body: &Body) -> References {
    let value = body.value();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let own = text(value, "connectorId").map(|id| ("/connectorId".to_owned(), id));
    let of_nodes = array(value, "nodes").iter().enumerate().take(graph::MAX_NODES).flat_map(|(index, node)| {
        let names = matches!(nodes::type_of(node), Some(NodeType::Source | NodeType::Transform | NodeType::Target));
        let config = node.get("config").and_then(Value::as_object).filter(|_| names);
        let named = config.into_iter().flat_map(connectors_of);
        named.map(move |(below, id)| (format!("/nodes/{index}/config{below}"), id.to_owned()))
    });
    References {
        connectors: own.into_iter().chain(of_nodes).collect(),
        schema: text(value, "schemaId").map(|id| ("/schemaId".to_owned(), id)),
        tables: tables(value).map(|(pointer, _, name)| (pointer, name.to_owned())).collect(),
    }
}

/// The tables of the lake that the targets of a body name: pointer, node and name.
pub(crate) fn tables(value: &Value) -> impl Iterator<Item = (String, &Value, &str)> {
    array(value, "nodes").iter().enumerate().take(graph::MAX_NODES).filter_map(|(index, node)| {
        let table = table_of(nodes::type_of(node)?, node.get("config")?.as_object()?)?;
        Some((format!("/nodes/{index}/config/table"), node, table))
    })
}

/// The table of the lake that a node names, where it is a target.
pub(crate) fn table_of(node_type: NodeType, config: &Map<String, Value>) -> Option<&str> {
    let of_the_lake = node_type == NodeType::Target && config.get("connectorId").is_none_or(Value::is_null);
    config.get("table").and_then(Value::as_str).filter(|_| of_the_lake)
}

/// The nodes of a body by their places, as far as type and config can be read: none where they cannot.
pub(crate) fn readable_nodes(body: &Body) -> Vec<Option<(NodeType, &Map<String, Value>)>> {
    fn read(node: &Value) -> Option<(NodeType, &Map<String, Value>)> {
        Some((nodes::type_of(node)?, node.get("config")?.as_object()?))
    }
    match body.value().get("nodes") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => all.iter().take(graph::MAX_NODES).map(read).collect(),
        Some(_) => vec![None],
    }
}

/// The body without what a client sends back and nobody reads.
fn written(value: &Value) -> Value {
    without_what_is_ignored(&shape::without(value, READ_ONLY))
}

/// The body without what its nodes and edges carry of an answer.
pub(super) fn without_what_is_ignored(value: &Value) -> Value {
    let mut value = value.clone();
    for (list, ignored) in [("nodes", "clientId"), ("edges", "id")] {
        for item in value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(object) = item.as_object_mut() {
                object.shift_remove(ignored);
            }
        }
    }
    value
}

/// What the schema of a pipeline's body does not say.
pub(super) fn meaning(value: &Value, faults: &mut Vec<Fault>) {
    let all = array(value, "nodes");
    // More nodes than that are a fault already.
    for (index, node) in all.iter().enumerate().take(graph::MAX_NODES) {
        nodes::check(node, &pointer::at("/nodes", index), faults);
    }
    if value.get("nodes").is_some_and(Value::is_array) {
        graph::check(all, array(value, "edges"), faults);
    }
    if let Some(config) = value.get("executionConfig") {
        execution(config, faults);
    }
}

fn execution(config: &Value, faults: &mut Vec<Fault>) {
    if let Some(partitioning) = config.get("partitioning") {
        slips::judge_whole(partitioning, faults, |partitioning: &Partitioning, faults| {
            if let Partitioning::Hash { columns, .. } = partitioning {
                nodes::duplicates(nodes::numbered(columns), "/executionConfig/partitioning/columns", faults);
            }
        });
    }
    if let Some(retry) = config.get("retry") {
        slips::judge_whole(retry, faults, delays);
    }
}

fn delays(retry: &Retry, faults: &mut Vec<Fault>) {
    let (first, longest) = (retry.initial_delay_seconds.unwrap_or(5), retry.max_delay_seconds.unwrap_or(300));
    if first > longest {
        let key = if retry.max_delay_seconds.is_some() { "maxDelaySeconds" } else { "initialDelaySeconds" };
        let detail = format!("the first delay, {first} seconds, is longer than the longest, {longest} seconds");
        faults.push(Fault::new(pointer::push("/executionConfig/retry", key), "contradiction", detail));
    }
}

pub(super) fn edges_alone() -> Fault {
    Fault::new("/edges", "contradiction", "edges are given without nodes; send both, they are replaced together")
}

/// A field of a checked body: None where it is left out.
pub(super) fn field<T: DeserializeOwned>(value: &Value, key: &str, faults: &mut Vec<Fault>) -> Option<T> {
    shape::of_checked(value.get(key)?, &pointer::push("", key), Mode::default(), faults)
}

pub(super) fn array<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

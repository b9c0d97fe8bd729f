//! The bodies that check a pipeline, or show what a sample of its rows becomes, before it is saved or run.

use super::pipeline::{self, EdgeInput, Graph, NodeInput, field};
use super::shape::{self, Mode};
use super::{Body, run};
use crate::Fault;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a check is asked for; the body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValidateInput {
    /// What `${name}` in node configs reads, as a run has it. At most 64 KB of JSON.
    #[schemars(extend("maxProperties" = 200))]
    pub parameters: Option<Map<String, Value>>,
    /// Looked at in the place of the stored one.
    pub connector_id: Option<String>,
    /// Looked at in the place of the stored one.
    pub schema_id: Option<String>,
    /// Looked at in the place of the stored ones, as a change would have them.
    #[schemars(length(max = 100))]
    pub nodes: Option<Vec<NodeInput>>,
    /// Those between `nodes`.
    #[schemars(length(max = 1000))]
    pub edges: Option<Vec<EdgeInput>>,
}

/// What a preview of rows is asked for; the body may be left out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SampleInput {
    /// The most rows shown of a node, 1 to 100; 20.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u32>,
    /// The only node that is wanted, by its id or `clientId`; all of them where it is left out.
    #[schemars(length(min = 1, max = 200))]
    pub node_id: Option<String>,
    /// What `${name}` in node configs reads, as a run has it. At most 64 KB of JSON.
    #[schemars(extend("maxProperties" = 200))]
    pub parameters: Option<Map<String, Value>>,
    /// Looked at in the place of the stored one.
    pub connector_id: Option<String>,
    /// Looked at in the place of the stored one.
    pub schema_id: Option<String>,
    /// Looked at in the place of the stored ones, as a change would have them.
    #[schemars(length(max = 100))]
    pub nodes: Option<Vec<NodeInput>>,
    /// Those between `nodes`.
    #[schemars(length(max = 1000))]
    pub edges: Option<Vec<EdgeInput>>,
}

/// What is tried out of a pipeline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trial {
    pub parameters: Map<String, Value>,
    pub connector_id: Option<String>,
    pub schema_id: Option<String>,
    /// In the place of the stored nodes **and** edges.
    pub graph: Option<Graph>,
    /// The ids that edges were sent with, in their order.
    pub edge_ids: Vec<Option<String>>,
    /// The most rows shown of a node.
    pub limit: usize,
    /// The only node that is wanted.
    pub node_id: Option<String>,
}

/// Checks the body of a check. The fields of a pipeline in it are checked as at save.
pub fn validate(body: &Body) -> (Option<Trial>, Vec<Fault>) {
    read(body, |value, faults| {
        shape::check::<ValidateInput>(value, "", Mode::default(), faults);
    })
}

/// Checks the body of a preview, likewise.
pub fn sample(body: &Body) -> (Option<Trial>, Vec<Fault>) {
    read(body, |value, faults| {
        shape::check::<SampleInput>(value, "", Mode::default(), faults);
    })
}

/// The change that is tried out: what is null is as if it were left out.
pub fn change(body: &Body) -> Body {
    let given = body.value().as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    Body::new(Value::Object(given.map(|(key, value)| (key.clone(), value.clone())).collect()))
}

fn read(body: &Body, shape: impl Fn(&Value, &mut Vec<Fault>)) -> (Option<Trial>, Vec<Fault>) {
    let mut faults = body.faults();
    let value = pipeline::without_what_is_ignored(body.value());
    shape(&value, &mut faults);
    run::parameters(&value, &mut faults);
    pipeline::meaning(&value, &mut faults);
    let absent = |key: &str| value.get(key).is_none_or(Value::is_null);
    if absent("nodes") && !absent("edges") {
        faults.push(pipeline::edges_alone());
    }
    if !faults.is_empty() {
        return (None, faults);
    }
    let graph = field::<Option<Vec<NodeInput>>>(&value, "nodes", &mut faults).flatten().map(|nodes| Graph {
        nodes,
        edges: field::<Option<Vec<EdgeInput>>>(&value, "edges", &mut faults).flatten().unwrap_or_default(),
    });
    let sent = body.value().get("edges").and_then(Value::as_array).into_iter().flatten();
    let edge_ids = sent.map(|edge| edge.get("id").and_then(Value::as_str).map(str::to_owned)).collect();
    let trial = Trial {
        parameters: field::<Option<Map<String, Value>>>(&value, "parameters", &mut faults)
            .flatten()
            .unwrap_or_default(),
        connector_id: field::<Option<String>>(&value, "connectorId", &mut faults).flatten(),
        schema_id: field::<Option<String>>(&value, "schemaId", &mut faults).flatten(),
        graph,
        edge_ids,
        limit: field::<Option<u32>>(&value, "limit", &mut faults).flatten().unwrap_or(20) as usize,
        node_id: field::<Option<String>>(&value, "nodeId", &mut faults).flatten(),
    };
    (faults.is_empty().then_some(trial), faults)
}

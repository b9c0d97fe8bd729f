//! A pipeline: a graph of nodes from a connector to a schema's table, with its schedule and how it is to be run.

use super::connector::ConnectorType;
use super::node::{self, NodeConfig, NodeType};
use super::run::RunStatus;
use super::time::{JsonText, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A node as it is stored and answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// `node_…`.
    pub id: String,
    /// The temporary id that the client gave it.
    pub client_id: Option<String>,
    pub node_type: NodeType,
    pub label: Option<String>,
    /// Its shape depends on `nodeType`.
    pub config: Map<String, Value>,
    pub position: Option<Position>,
}

impl Node {
    /// The config, typed by the node's type.
    ///
    /// # Errors
    /// Where the config does not fit its type; stored nodes always fit.
    pub fn typed(&self) -> Result<NodeConfig, serde_json::Error> {
        node::typed(self.node_type, &self.config)
    }

    /// What people call it: its label, or the client's id, or its own.
    pub fn name(&self) -> &str {
        self.label.as_deref().or(self.client_id.as_deref()).unwrap_or(&self.id)
    }
}

/// The connectors that a node's config names, with their pointers below it: its own, and those of its lookups.
pub fn connectors_of(config: &Map<String, Value>) -> impl Iterator<Item = (String, &str)> {
    let own = config.get("connectorId").map(|id| ("/connectorId".to_owned(), id));
    let ops = config.get("ops").and_then(Value::as_array).into_iter().flatten().enumerate();
    let lookups = ops.filter_map(|(index, op)| Some((format!("/ops/{index}/connectorId"), op.get("connectorId")?)));
    own.into_iter().chain(lookups).filter_map(|(at, id)| Some((at, id.as_str()?)))
}

/// Where an editor draws a node, in its own units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Position {
    pub x: f64,
    pub y: f64,
}

/// An edge as it is stored and answered; it names stored nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// `edge_…`.
    pub id: String,
    pub source: String,
    pub target: String,
    /// Which input it is where the target has several, such as `left` and `right`; the route where the source is a branch.
    pub label: Option<String>,
}

/// How a pipeline is run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExecutionConfig {
    /// The most rows of a batch; 8192. One of wide rows has fewer, so that it takes no more than a small part of the memory.
    #[schemars(range(min = 1, max = 1_000_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// Partitions worked at once; 0, the default, is the worker's cores.
    #[schemars(range(min = 0, max = 64))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitioning: Option<Partitioning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_handling: Option<ErrorHandling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Seconds after which a run fails, 1 to 39,600; 3600.
    #[schemars(range(min = 1, max = 39_600))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_policy: Option<ConcurrencyPolicy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
}

impl ExecutionConfig {
    /// The most rows of a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size.unwrap_or(8192) as usize
    }
    /// Seconds after which a run fails.
    pub fn timeout_seconds(&self) -> u32 {
        self.timeout_seconds.unwrap_or(3600)
    }
    /// What to do with rows that cannot be loaded.
    pub fn errors(&self) -> ErrorHandling {
        self.error_handling.clone().unwrap_or_default()
    }
    /// How often a failing run is tried.
    pub fn max_attempts(&self) -> u32 {
        self.retry.as_ref().and_then(|r| r.max_attempts).unwrap_or(3)
    }
}

/// How a source is divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "strategy", rename_all = "lowercase", deny_unknown_fields)]
pub enum Partitioning {
    None,
    /// A partition a file.
    File,
    Hash {
        #[schemars(length(min = 1, max = 32), extend("items" = {"type": "string", "format": "column"}))]
        columns: Vec<String>,
        #[schemars(range(min = 1, max = 256))]
        count: u16,
    },
    Range {
        #[schemars(extend("format" = "column"))]
        column: String,
        #[schemars(range(min = 1, max = 256))]
        count: u16,
    },
}

/// What to do with rows that cannot be loaded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ErrorHandling {
    pub on_error: OnError,
    /// More rejected rows than this end the run as failed, with nothing written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_errors: Option<u64>,
    /// A larger share of rejected rows, 0 to 1, ends the run as failed, with nothing written. Those of what lookups read are
    /// no rows of the run.
    #[schemars(range(min = 0.0, max = 1.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_error_rate: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnError {
    /// The first rejected row fails the run.
    Fail,
    /// Rejected rows are counted and reported.
    #[default]
    Skip,
    /// They are also kept as a table beside the target's.
    DeadLetter,
}

/// How often a failing run is tried, with an exponential delay and jitter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// 1 to 20; 3.
    #[schemars(range(min = 1, max = 20))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Seconds; 5.
    #[schemars(range(min = 0, max = 900))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_delay_seconds: Option<u32>,
    /// Seconds; 300.
    #[schemars(range(min = 0, max = 900))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay_seconds: Option<u32>,
}

/// What happens when a run is due while another one of the same pipeline is live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConcurrencyPolicy {
    #[default]
    Allow,
    /// A scheduled fire is skipped and recorded; a manual run answers 409.
    Forbid,
    /// The live one is cancelled; one that is committing ends beside the new one.
    Replace,
}

/// Which scheduled fires are made up for that were missed while nothing ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    None,
    #[default]
    Latest,
    /// All, at most 100.
    All,
}

/// A pipeline as the table keeps it; each version is kept the same way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pipeline {
    pub id: String,
    pub tenant_id: String,
    pub name: String,
    pub description: Option<String>,
    pub version: u32,
    pub schedule: Option<String>,
    pub timezone: String,
    pub enabled: bool,
    pub connector_id: String,
    pub schema_id: String,
    pub execution_config: JsonText<ExecutionConfig>,
    pub nodes: JsonText<Vec<Node>>,
    pub edges: JsonText<Vec<Edge>>,
    /// The ids of the schemas whose tables targets write, by the name that the target has for it.
    #[serde(default)]
    pub tables: JsonText<BTreeMap<String, String>>,
    pub created_at: Time,
    pub updated_at: Time,
}

impl Pipeline {
    /// The strong `ETag`: the version.
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    /// The schemas whose tables it writes, its own first, each once.
    pub fn schemas(&self) -> Vec<&str> {
        let mut all = vec![self.schema_id.as_str()];
        for id in self.tables.0.values() {
            if !all.contains(&id.as_str()) {
                all.push(id);
            }
        }
        all
    }

    /// The connectors that it reads, its own first, each once.
    pub fn connectors(&self) -> Vec<&str> {
        let mut all = vec![self.connector_id.as_str()];
        for (_, id) in self.nodes.0.iter().flat_map(|node| connectors_of(&node.config)) {
            if !all.contains(&id) {
                all.push(id);
            }
        }
        all
    }

    /// What callers see.
    pub fn view(self, state: PipelineState, used: Used) -> PipelineView {
        PipelineView {
            id: self.id,
            tenant_id: self.tenant_id,
            name: self.name,
            description: self.description,
            status: if self.enabled { PipelineStatus::Active } else { PipelineStatus::Paused },
            enabled: self.enabled,
            version: self.version,
            schedule: self.schedule,
            timezone: self.timezone,
            next_run_at: state.next_run_at,
            connector_id: self.connector_id,
            schema_id: self.schema_id,
            connector: used.connector,
            schema: used.schema,
            execution_config: self.execution_config.0,
            nodes: self.nodes.0,
            edges: self.edges.0,
            last_run_at: state.last_run_at,
            last_run_status: state.last_run_status,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// What callers see of it when it is made: nothing has happened to it yet.
    pub fn first_view(self, used: Used) -> PipelineView {
        let state = PipelineState { next_run_at: self.next_fire(self.created_at), ..PipelineState::default() };
        self.view(state, used)
    }

    /// When its schedule fires next after `after`; none where it has none, is paused, or never fires again.
    pub fn next_fire(&self, after: Time) -> Option<Time> {
        let schedule = self.schedule.as_deref().filter(|_| self.enabled)?;
        let zone = crate::schedule::parse_timezone(&self.timezone).ok()?;
        crate::schedule::Schedule::parse(schedule).ok()?.next_after(after.0, zone).map(Time)
    }
}

/// What changes of a pipeline while it runs, kept beside it so that a fire never rewrites a large item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineState {
    pub next_run_at: Option<Time>,
    pub last_run_id: Option<String>,
    pub last_run_at: Option<Time>,
    pub last_run_status: Option<RunStatus>,
    /// Every due time up to this one is in the ledger of fires.
    #[serde(default)]
    pub fires_until: Option<Time>,
    /// Raised by each run that had to be alone, so that two of them meet.
    #[serde(default)]
    pub turn: u64,
    /// The version of the pipeline to which this belongs, so that nobody decides by an older one; none where the pipeline
    /// was not changed since that is kept.
    #[serde(default)]
    pub pipeline_version: Option<u32>,
}

/// Whether a pipeline's schedule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PipelineStatus {
    Active,
    Paused,
}

/// The connector of a pipeline, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectorRef {
    pub id: String,
    pub name: String,
    pub r#type: ConnectorType,
}

/// The schema of a pipeline, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SchemaRef {
    pub id: String,
    pub name: String,
    pub display_name: Option<String>,
}

/// What a pipeline's answer shows of the connector and the schema that it names.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    pub connector: Option<ConnectorRef>,
    pub schema: Option<SchemaRef>,
}

/// A pipeline as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Pipeline")]
pub struct PipelineView {
    pub id: String,
    pub tenant_id: String,
    pub name: String,
    pub description: Option<String>,
    pub status: PipelineStatus,
    pub enabled: bool,
    pub version: u32,
    pub schedule: Option<String>,
    pub timezone: String,
    pub next_run_at: Option<Time>,
    pub connector_id: String,
    pub schema_id: String,
    pub connector: Option<ConnectorRef>,
    pub schema: Option<SchemaRef>,
    pub execution_config: ExecutionConfig,
    pub nodes: Vec<Node>,
    pub edges: Vec<Edge>,
    pub last_run_at: Option<Time>,
    pub last_run_status: Option<RunStatus>,
    pub created_at: Time,
    pub updated_at: Time,
}

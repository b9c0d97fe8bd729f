//! The types of nodes and connectors, described so that an editor can draw their forms.

use super::nodes;
use super::shape::schema_of;
use crate::models::connector::{
    AccessKey, AccountKey, ApiKey, AuthMethod, AwsS3Config, AzureBlobConfig, Bearer, ConnectorType, DatabaseConfig,
    GcsConfig, LocalFsConfig, Password, RestApiConfig, SasToken, ServiceAccount,
};
use crate::models::node::{
    AggregateConfig, BranchConfig, DeduplicateConfig, FileFormat, FilterConfig, JoinConfig, NodeType, PivotConfig,
    SortConfig, SourceConfig, SqlConfig, TargetConfig, TransformConfig, TransformOp, UnionConfig, UnpivotConfig,
    ValidateConfig,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A node type.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NodeTypeDescription")]
pub struct NodeTypeView {
    /// As `nodeType` of a node names it.
    pub node_type: NodeType,
    /// What people call it.
    pub title: String,
    /// What it does, in a sentence or two.
    pub description: String,
    /// How many edges may enter it.
    pub inputs: Inputs,
    /// How rows leave it.
    pub outputs: Outputs,
    /// The JSON Schema (2020-12) of its `config`, with all that it refers to.
    pub config_schema: Map<String, Value>,
    /// Of `transform` only: the ops.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<Vec<OpView>>,
}

/// The edges that enter a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Inputs {
    /// The fewest.
    pub min: u32,
    /// The most; null where there is no bound.
    pub max: Option<u32>,
    /// The labels that they must have, one each; null where labels are free.
    pub labels: Option<Vec<&'static str>>,
}

/// How rows leave a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outputs {
    /// `none`: no edge may leave it; `one`: all of them carry the same rows; `byRoute`: an edge carries the rows of the
    /// route whose label it has.
    pub labels: OutputLabels,
}

/// What the labels of the edges that leave a node mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OutputLabels {
    None,
    One,
    ByRoute,
}

/// An op of a transform.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TransformOpDescription")]
pub struct OpView {
    /// As `op` names it.
    pub op: String,
    pub title: String,
    pub description: String,
    /// The JSON Schema (2020-12) of the whole op, with all that it refers to.
    pub schema: Map<String, Value>,
}

/// A connector type.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ConnectorTypeDescription")]
pub struct ConnectorTypeView {
    /// As `type` of a connector names it.
    pub r#type: ConnectorType,
    /// What people call it.
    pub title: &'static str,
    pub description: &'static str,
    /// The JSON Schema (2020-12) of its `config`, with all that it refers to.
    pub config_schema: Map<String, Value>,
    /// How it may prove who it is, the usual way without proof first.
    pub auth_methods: Vec<AuthView>,
    /// Whether source nodes can read it.
    pub can_be_source: bool,
    /// Whether target nodes can write it.
    pub can_be_target: bool,
    /// The formats of files that it can have; empty where it has no files.
    pub formats: Vec<FileFormat>,
}

/// A way to prove who one is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuthMethodDescription")]
pub struct AuthView {
    /// As `authMethod` of a connector names it.
    pub method: AuthMethod,
    pub title: &'static str,
    /// The JSON Schema (2020-12) of `authConfig`; null where it takes none.
    pub auth_schema: Option<Map<String, Value>>,
}

/// All node types, in the order in which rows usually meet them.
pub fn node_types() -> Vec<NodeTypeView> {
    nodes::ALL.iter().filter_map(|name| NodeType::deserialize(&Value::from(*name)).ok()).map(node_type).collect()
}

/// All connector types.
pub fn connector_types() -> Vec<ConnectorTypeView> {
    ConnectorType::ALL.into_iter().map(connector_type).collect()
}

fn node_type(node_type: NodeType) -> NodeTypeView {
    let (title, config_schema) = match node_type {
        NodeType::Source => ("Source", schema::<SourceConfig>()),
        NodeType::Filter => ("Filter", schema::<FilterConfig>()),
        NodeType::Transform => ("Transform", schema::<TransformConfig>()),
        NodeType::Join => ("Join", schema::<JoinConfig>()),
        NodeType::Union => ("Union", schema::<UnionConfig>()),
        NodeType::Aggregate => ("Aggregate", schema::<AggregateConfig>()),
        NodeType::Sort => ("Sort", schema::<SortConfig>()),
        NodeType::Deduplicate => ("Deduplicate", schema::<DeduplicateConfig>()),
        NodeType::Pivot => ("Pivot", schema::<PivotConfig>()),
        NodeType::Unpivot => ("Unpivot", schema::<UnpivotConfig>()),
        NodeType::Branch => ("Branch", schema::<BranchConfig>()),
        NodeType::Sql => ("SQL", schema::<SqlConfig>()),
        NodeType::Validate => ("Validate", schema::<ValidateConfig>()),
        NodeType::Target => ("Target", schema::<TargetConfig>()),
    };
    let (min, max, labels) = match node_type {
        NodeType::Source => (0, Some(0), None),
        NodeType::Join => (2, Some(2), Some(vec!["left", "right"])),
        NodeType::Union => (1, None, None),
        NodeType::Sql => (1, Some(10), None),
        _ => (1, Some(1), None),
    };
    let outputs = match node_type {
        NodeType::Target => OutputLabels::None,
        NodeType::Branch => OutputLabels::ByRoute,
        _ => OutputLabels::One,
    };
    NodeTypeView {
        node_type,
        title: title.to_owned(),
        description: text(&config_schema, "description"),
        inputs: Inputs { min, max, labels },
        outputs: Outputs { labels: outputs },
        config_schema,
        ops: (node_type == NodeType::Transform).then(ops),
    }
}

/// The ops, each with its own part of the schema of all.
fn ops() -> Vec<OpView> {
    let all = schema::<TransformOp>();
    let definitions = all.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    let branches = all.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
    branches
        .into_iter()
        .filter_map(|branch| {
            let Value::Object(mut schema) = branch else { return None };
            let op = schema.get("properties")?.get("op")?.get("const")?.as_str()?.to_owned();
            let used = used_definitions(&Value::Object(schema.clone()), &definitions);
            if !used.is_empty() {
                schema.insert("$defs".to_owned(), Value::Object(used));
            }
            if let Some(draft) = all.get("$schema") {
                schema.shift_insert(0, "$schema".to_owned(), draft.clone());
            }
            Some(OpView { title: titled(&op), description: text(&schema, "description"), op, schema })
        })
        .collect()
}

/// The definitions that `schema` refers to, and those that these refer to.
fn used_definitions(schema: &Value, definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut names = BTreeSet::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                let reference = object.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/"));
                if let Some((name, definition)) = reference.and_then(|name| definitions.get_key_value(name))
                    && names.insert(name.as_str())
                {
                    open.push(definition);
                }
                open.extend(object.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    let used = definitions.iter().filter(|(name, _)| names.contains(name.as_str()));
    used.map(|(name, definition)| (name.clone(), definition.clone())).collect()
}

/// `mask_pii` as `Mask pii`; abbreviations are written as people write them.
fn titled(name: &str) -> String {
    let words = name.split('_').enumerate().map(|(index, word)| match word {
        "pii" => "PII".to_owned(),
        "json" => "JSON".to_owned(),
        word if index == 0 => word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect(),
        word => word.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

fn connector_type(kind: ConnectorType) -> ConnectorTypeView {
    let (title, description, config_schema) = match kind {
        ConnectorType::LocalFs => (
            "Local files",
            "Files under the worker's own files root. Off in deployments without one.",
            schema::<LocalFsConfig>(),
        ),
        ConnectorType::AwsS3 => {
            ("Amazon S3", "Files in a bucket of S3, or of a server that speaks its protocol.", schema::<AwsS3Config>())
        }
        ConnectorType::Gcs => ("Google Cloud Storage", "Files in a bucket of Google's.", schema::<GcsConfig>()),
        ConnectorType::AzureBlob => {
            ("Azure Blob Storage", "Files in a container of a storage account.", schema::<AzureBlobConfig>())
        }
        ConnectorType::Postgresql => {
            ("PostgreSQL", "Tables and queries of a PostgreSQL database.", schema::<DatabaseConfig>())
        }
        ConnectorType::Mysql => ("MySQL", "Tables and queries of a MySQL database.", schema::<DatabaseConfig>()),
        ConnectorType::RestApi => ("REST API", "Records that an HTTP API answers as JSON.", schema::<RestApiConfig>()),
    };
    let formats = match kind {
        ConnectorType::RestApi => vec![FileFormat::Json],
        _ if kind.has_files() => vec![
            FileFormat::Csv,
            FileFormat::Tsv,
            FileFormat::Json,
            FileFormat::Jsonl,
            FileFormat::Parquet,
            FileFormat::Avro,
        ],
        _ => Vec::new(),
    };
    ConnectorTypeView {
        r#type: kind,
        title,
        description,
        config_schema,
        auth_methods: kind.auth_methods().iter().copied().map(auth).collect(),
        can_be_source: true,
        can_be_target: kind.has_tables(),
        formats,
    }
}

fn auth(method: AuthMethod) -> AuthView {
    let (title, auth_schema) = match method {
        AuthMethod::None => ("None", None),
        AuthMethod::AccessKey => ("Access key", Some(schema::<AccessKey>())),
        AuthMethod::ServiceAccount => ("Service account", Some(schema::<ServiceAccount>())),
        AuthMethod::AccountKey => ("Account key", Some(schema::<AccountKey>())),
        AuthMethod::SasToken => ("Shared access signature", Some(schema::<SasToken>())),
        AuthMethod::Password => ("User name and password", Some(schema::<Password>())),
        AuthMethod::Bearer => ("Bearer token", Some(schema::<Bearer>())),
        AuthMethod::ApiKey => ("API key", Some(schema::<ApiKey>())),
    };
    AuthView { method, title, auth_schema }
}

fn schema<T: JsonSchema>() -> Map<String, Value> {
    match schema_of::<T>() {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

fn text(schema: &Map<String, Value>, key: &str) -> String {
    schema.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

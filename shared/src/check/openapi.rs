//! The JSON Schemas of all bodies and answers, by name, for the OpenAPI document.

use super::connector::ConnectorBody;
use super::pipeline::PipelineInput;
use super::run::{NoInput, RollbackInput, RunInput};
use super::schedule::PreviewInput;
use super::schema::SchemaInput;
use super::trial::{SampleInput, ValidateInput};
use super::types::{ConnectorTypeView, NodeTypeView};
use super::{connector, nodes, pipeline, schema};
use crate::models::connector::{
    AccessKey, AccountKey, ApiKey, AwsS3Config, AzureBlobConfig, Bearer, ConnectorView, DatabaseConfig, GcsConfig,
    LocalFsConfig, Password, RestApiConfig, SasToken, ServiceAccount,
};
use crate::models::fire::Fire;
use crate::models::node::{
    AggregateConfig, BranchConfig, DeduplicateConfig, FilterConfig, JoinConfig, PivotConfig, SortConfig, SourceConfig,
    SqlConfig, TargetConfig, TransformConfig, UnionConfig, UnpivotConfig, ValidateConfig,
};
use crate::models::pipeline::PipelineView;
use crate::models::receipt::{Receipt, Rollback};
use crate::models::run::{ProgressView, RowError, RunView};
use crate::models::schema::SchemaView;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

const PATH: &str = "/components/schemas";

/// Components by name; references between them are `#/components/schemas/…`.
///
/// Bodies: `PipelineInput`, `PipelineUpdate`, `ConnectorInput`, `ConnectorUpdate`, `SchemaInput`, `SchemaUpdate`, `RunInput`,
/// `RollbackInput`, `NoInput`, `PreviewInput`. Answers: `Pipeline`, `Connector`, `Schema`, `Run`, `RunProgress`, `RowError`, `Receipt`,
/// `Rollback`, `Fire`, their `…Page`s, `Preview` and
/// `Problem`.
pub fn schemas() -> Map<String, Value> {
    let mut all = bodies();
    for (name, answer) in answers() {
        // What both have is described as it is sent: that is the stricter one.
        all.entry(name).or_insert(answer);
    }
    all.insert("NodeType".into(), json!({"description": "What a node does.", "type": "string", "enum": nodes::ALL}));
    node_configs(&mut all);
    connector_configs(&mut all);
    change(&mut all, "PipelineInput", "PipelineUpdate", pipeline::READ_ONLY);
    change(&mut all, "ConnectorInput", "ConnectorUpdate", connector::READ_ONLY);
    change(&mut all, "SchemaInput", "SchemaUpdate", schema::READ_ONLY);
    resent_graph(&mut all);
    for name in ["Pipeline", "Connector", "Schema", "Run", "RowError", "Fire"] {
        all.insert(format!("{name}Page"), page(name));
    }
    all.extend(by_hand());
    all.extend(trials());
    all
}

fn generator(settings: SchemaSettings) -> SchemaGenerator {
    settings.with(|s| s.definitions_path = PATH.into()).into_generator()
}

/// The components of what is sent.
pub(super) fn bodies() -> Map<String, Value> {
    let mut of = generator(SchemaSettings::draft2020_12().for_deserialize());
    of.subschema_for::<PipelineInput>();
    of.subschema_for::<ConnectorBody>();
    of.subschema_for::<SchemaInput>();
    of.subschema_for::<RunInput>();
    of.subschema_for::<RollbackInput>();
    of.subschema_for::<NoInput>();
    of.subschema_for::<PreviewInput>();
    of.subschema_for::<ValidateInput>();
    of.subschema_for::<SampleInput>();
    of.subschema_for::<SourceConfig>();
    of.subschema_for::<FilterConfig>();
    of.subschema_for::<TransformConfig>();
    of.subschema_for::<JoinConfig>();
    of.subschema_for::<UnionConfig>();
    of.subschema_for::<AggregateConfig>();
    of.subschema_for::<SortConfig>();
    of.subschema_for::<DeduplicateConfig>();
    of.subschema_for::<PivotConfig>();
    of.subschema_for::<UnpivotConfig>();
    of.subschema_for::<BranchConfig>();
    of.subschema_for::<SqlConfig>();
    of.subschema_for::<ValidateConfig>();
    of.subschema_for::<TargetConfig>();
    of.subschema_for::<LocalFsConfig>();
    of.subschema_for::<AwsS3Config>();
    of.subschema_for::<GcsConfig>();
    of.subschema_for::<AzureBlobConfig>();
    of.subschema_for::<DatabaseConfig>();
    of.subschema_for::<RestApiConfig>();
    of.subschema_for::<AccessKey>();
    of.subschema_for::<ServiceAccount>();
    of.subschema_for::<AccountKey>();
    of.subschema_for::<SasToken>();
    of.subschema_for::<Password>();
    of.subschema_for::<Bearer>();
    of.subschema_for::<ApiKey>();
    of.take_definitions(true)
}

fn answers() -> Map<String, Value> {
    let mut of = generator(SchemaSettings::draft2020_12().for_serialize());
    of.subschema_for::<PipelineView>();
    of.subschema_for::<ConnectorView>();
    of.subschema_for::<SchemaView>();
    of.subschema_for::<RunView>();
    of.subschema_for::<ProgressView>();
    of.subschema_for::<RowError>();
    of.subschema_for::<Fire>();
    of.subschema_for::<Receipt>();
    of.subschema_for::<Rollback>();
    of.subschema_for::<NodeTypeView>();
    of.subschema_for::<ConnectorTypeView>();
    of.take_definitions(true)
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#{PATH}/{name}")})
}

/// The config of each node type, told by `nodeType`.
fn node_configs(all: &mut Map<String, Value>) {
    let names = [
        "SourceConfig",
        "FilterConfig",
        "TransformConfig",
        "JoinConfig",
        "UnionConfig",
        "AggregateConfig",
        "SortConfig",
        "DeduplicateConfig",
        "PivotConfig",
        "UnpivotConfig",
        "BranchConfig",
        "SqlConfig",
        "ValidateConfig",
        "TargetConfig",
    ];
    let branches: Vec<Value> = nodes::ALL
        .iter()
        .zip(names)
        .map(|(node_type, config)| json!({"properties": {"nodeType": {"const": node_type}, "config": reference(config)}}))
        .collect();
    for name in ["NodeInput", "Node"] {
        if let Some(node) = all.get_mut(name) {
            if let Some(node_type) = node.pointer_mut("/properties/nodeType") {
                *node_type = reference("NodeType");
            }
            if let Some(node) = node.as_object_mut() {
                node.insert("oneOf".into(), json!(branches));
            }
        }
    }
}

/// The config of each connector type.
const CONNECTOR_CONFIGS: [(&str, &str); 7] = [
    ("local_fs", "LocalFsConfig"),
    ("aws_s3", "AwsS3Config"),
    ("gcs", "GcsConfig"),
    ("azure_blob", "AzureBlobConfig"),
    ("postgresql", "DatabaseConfig"),
    ("mysql", "DatabaseConfig"),
    ("rest_api", "RestApiConfig"),
];

/// The config of each connector type, told by `type`, and the secret, which is only ever written.
fn connector_configs(all: &mut Map<String, Value>) {
    let branch = |(kind, config)| json!({"properties": {"type": {"const": kind}, "config": reference(config)}});
    let branches: Vec<Value> = CONNECTOR_CONFIGS.into_iter().map(branch).collect();
    for name in ["ConnectorInput", "Connector"] {
        if let Some(connector) = all.get_mut(name).and_then(Value::as_object_mut) {
            connector.insert("oneOf".into(), json!(branches));
        }
    }
    if let Some(secret) = all.get_mut("ConnectorInput").and_then(|c| c.pointer_mut("/properties/authConfig")) {
        let mut shapes: Vec<Value> =
            ["AccessKey", "ServiceAccount", "AccountKey", "SasToken", "Password", "Bearer", "ApiKey"]
                .into_iter()
                .map(reference)
                .collect();
        shapes.push(json!({"type": "null"}));
        *secret = json!({
            "description": "Write-only: never in an answer, a log or an error. Its shape depends on authMethod.",
            "anyOf": shapes,
            "writeOnly": true
        });
    }
}

/// The body that changes what `input` creates: nothing is required, and what was read may be sent back.
fn change(all: &mut Map<String, Value>, input: &str, name: &str, read_only: &[&str]) {
    let Some(Value::Object(mut change)) = all.get(input).cloned() else {
        return;
    };
    change.remove("required");
    // A change may bring a config without its type, which is the stored one then.
    if change.remove("oneOf").is_some()
        && let Some(config) = change.get_mut("properties").and_then(|p| p.get_mut("config"))
    {
        let mut shapes: Vec<Value> = CONNECTOR_CONFIGS.into_iter().map(|(_, config)| reference(config)).collect();
        shapes.dedup();
        *config = json!({"anyOf": shapes});
    }
    change.insert("description".into(), json!("Fields that are left out stay; null clears an optional one."));
    if let Some(Value::Object(properties)) = change.get_mut("properties") {
        for field in read_only {
            properties.insert((*field).into(), json!({"description": "Accepted and ignored."}));
        }
        if properties.contains_key("id") {
            let id = "Names what is changed where the path does not; ignored where it does.";
            properties.insert("id".into(), json!({"description": id, "type": "string"}));
        }
    }
    all.insert(name.into(), Value::Object(change));
}

/// Nodes and edges of an update, or of what is tried out, may carry what an answer has.
fn resent_graph(all: &mut Map<String, Value>) {
    let edge_id = "Accepted and ignored, but for the answer to a validation, which names the edge by it.";
    for (input, name, ignored, description) in
        [("NodeInput", "NodeUpdate", "clientId", "Accepted and ignored."), ("EdgeInput", "EdgeUpdate", "id", edge_id)]
    {
        let Some(mut item) = all.get(input).cloned() else {
            continue;
        };
        if let Some(properties) = item.pointer_mut("/properties").and_then(Value::as_object_mut) {
            properties.insert(ignored.into(), json!({"description": description}));
        }
        all.insert(name.into(), item);
    }
    for body in ["PipelineUpdate", "ValidateInput", "SampleInput"] {
        for (list, item) in [("nodes", "NodeUpdate"), ("edges", "EdgeUpdate")] {
            let pointer = format!("/properties/{list}/items");
            if let Some(items) = all.get_mut(body).and_then(|body| body.pointer_mut(&pointer)) {
                *items = reference(item);
            }
        }
    }
}

fn page(name: &str) -> Value {
    json!({
        "description": format!("A page of {name}s."),
        "type": "object",
        "properties": {"data": {"type": "array", "items": reference(name)}, "pagination": reference("Pagination")},
        "required": ["data", "pagination"]
    })
}

/// What no Rust type describes.
fn by_hand() -> Map<String, Value> {
    let schemas = json!({
        "RowsPage": {
            "description": "A page of a table's rows. Decimals are strings, NaN is null, times RFC 3339.",
            "type": "object",
            "properties": {
                "data": {"type": "array", "items": {"type": "object", "additionalProperties": true}},
                "pagination": reference("Pagination")
            },
            "required": ["data", "pagination"]
        },
        "Pagination": {
            "type": "object",
            "properties": {
                "limit": {"description": "Entries a page, as asked for.", "type": "integer", "minimum": 1},
                "hasMore": {"description": "Whether there is another page; a page may be short all the same.", "type": "boolean"},
                "cursor": {"description": "What the next page is asked for with; null at the end.", "type": ["string", "null"]},
                "total": {"description": "With includeTotal=true: all entries.", "type": "integer", "minimum": 0},
                "totalIsAtLeast": {"description": "True where counting ended before all were counted.", "type": "boolean"}
            },
            "required": ["limit", "hasMore", "cursor"]
        },
        "Preview": {
            "type": "object",
            "properties": {"fires": {"type": "array", "items": {"type": "string", "format": "date-time"}}},
            "required": ["fires"]
        },
        "ConnectorTest": {
            "type": "object",
            "properties": {
                "ok": {"type": "boolean"},
                "detail": {"description": "What was found, or why it failed.", "type": "string"},
                "durationMs": {"type": "integer", "minimum": 0}
            },
            "required": ["ok", "detail", "durationMs"]
        },
        "Health": {
            "type": "object",
            "properties": {
                "status": {"type": "string", "const": "ok"},
                "version": {"type": "string"},
                "time": {"type": "string", "format": "date-time"}
            },
            "required": ["status", "version", "time"]
        },
        "Fault": {
            "description": "One fault of a request.",
            "type": "object",
            "properties": {
                "pointer": {"description": "JSON Pointer into the body, ?name for a query parameter, or the name of a header, such as Idempotency-Key.", "type": "string"},
                "code": {"description": "A stable lower-case word, such as required, unknown_field, type, range.", "type": "string"},
                "detail": {"description": "A sentence for people.", "type": "string"}
            },
            "required": ["pointer", "code", "detail"]
        },
        "Problem": {
            "description": "RFC 9457, as application/problem+json.",
            "type": "object",
            "properties": {
                "type": {"type": "string", "format": "uri-reference"},
                "title": {"type": "string"},
                "status": {"type": "integer", "minimum": 400, "maximum": 599},
                "detail": {"type": "string"},
                "instance": {"description": "The id of the request.", "type": "string"},
                "code": {"description": "A stable upper-case word, such as VALIDATION_FAILED.", "type": "string"},
                "errors": {"description": "Every fault of a bad request.", "type": "array", "items": reference("Fault")}
            },
            "required": ["type", "title", "status", "code"]
        }
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

/// What checks and previews answer, and the lists of types.
fn trials() -> Map<String, Value> {
    let text_or_null = |description: &str| json!({"description": description, "type": ["string", "null"]});
    let list =
        |description: &str, item: &str| json!({"description": description, "type": "array", "items": reference(item)});
    let columns = json!({
        "description": "In their order; null where a fault before hides them, or where the answer is shortened.",
        "anyOf": [{"type": "array", "items": reference("Column")}, {"type": "null"}]
    });
    let client_id = text_or_null("The temporary id that the client gave it.");
    let shortened = |description: &str| json!({"description": description, "type": "boolean"});
    let count = json!({"type": "integer", "minimum": 0});
    let schemas = json!({
        "Column": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "type": {"description": "Such as bigint or decimal(10,2); unknown where a fault before hides it.", "type": "string"},
                "nullable": {"type": "boolean"}
            },
            "required": ["name", "type", "nullable"]
        },
        "PipelineFault": {
            "description": "What is wrong with a pipeline, at a place of it.",
            "type": "object",
            "properties": {
                "pointer": {"description": "JSON Pointer into the pipeline, such as /nodes/3/config/ops/1/expr.", "type": "string"},
                "code": {"description": "A stable lower-case word: not_found, invalid, source, source_unavailable, target, data, timeout, resources, internal.", "type": "string"},
                "detail": {"description": "The sentence that a run would fail with.", "type": "string"},
                "nodeId": text_or_null("The node at which it is.")
            },
            "required": ["pointer", "code", "detail", "nodeId"]
        },
        "Validation": {
            "type": "object",
            "properties": {
                "valid": {"description": "Whether there are no faults.", "type": "boolean"},
                "faults": list("All that is wrong.", "PipelineFault"),
                "nodes": {"type": "array", "items": {
                    "type": "object",
                    "properties": {"id": {"type": "string"}, "clientId": client_id.clone(), "columns": columns.clone()},
                    "required": ["id", "clientId", "columns"]
                }},
                "edges": {"type": "array", "items": {
                    "type": "object",
                    "properties": {
                        "id": text_or_null("Null where it is not stored."),
                        "source": {"type": "string"},
                        "target": {"type": "string"},
                        "label": {"type": ["string", "null"]},
                        "columns": columns.clone()
                    },
                    "required": ["id", "source", "target", "label", "columns"]
                }},
                "shortened": shortened("Whether there are more faults, or columns are null, since the answer would be too large.")
            },
            "required": ["valid", "faults", "nodes", "edges", "shortened"]
        },
        "PipelinePreview": {
            "type": "object",
            "properties": {
                "nodes": {"type": "array", "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "clientId": client_id,
                        "columns": list("In their order; none where the answer would be too large, which the note says.", "Column"),
                        "rows": {"type": "array", "items": {"type": "object", "additionalProperties": true}},
                        "rowsIn": count.clone(),
                        "rowsOut": count,
                        "rejected": list("The first rejected rows.", "RejectedRow"),
                        "sampled": {"description": "All numbers are those of a sample.", "type": "boolean", "const": true},
                        "note": text_or_null("What this sample does not show.")
                    },
                    "required": ["id", "clientId", "columns", "rows", "rowsIn", "rowsOut", "rejected", "sampled", "note"]
                }},
                "faults": list("All that is wrong.", "PipelineFault"),
                "shortened": shortened("Whether there are more faults, columns or rejected rows, which would make the answer too large.")
            },
            "required": ["nodes", "faults", "shortened"]
        },
        "RejectedRow": {
            "type": "object",
            "properties": {
                "row": {"description": "The number in its file, from 1 and without the header.", "type": ["integer", "null"]},
                "column": {"type": "string"},
                "value": {"type": ["string", "null"]},
                "error": {"description": "What is wrong with it and what would be right.", "type": "string"}
            },
            "required": ["row", "column", "value", "error"]
        },
        "NodeTypes": {
            "type": "object",
            "properties": {"data": list("All node types.", "NodeTypeDescription")},
            "required": ["data"]
        },
        "ConnectorTypes": {
            "type": "object",
            "properties": {"data": list("All connector types.", "ConnectorTypeDescription")},
            "required": ["data"]
        }
    });
    match schemas {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    }
}

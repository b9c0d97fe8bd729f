//! Parameters of paths, queries and headers, as components.

use super::reference;
use serde_json::{Map, Value, json};

/// The query of a list with 1 to 100 items a page.
pub(super) const PAGE: &[&str] = &["Limit", "Cursor", "IncludeTotal"];

/// The components that describe the parts of a path in braces, in their order.
pub(super) fn of_path(path: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    let mut before = "";
    for part in path.split('/') {
        found.extend(match (before, part) {
            ("pipelines", "{id}") => Some("PipelineId"),
            ("connectors", "{id}") => Some("ConnectorId"),
            ("schemas", "{id}") => Some("SchemaId"),
            ("runs", "{runId}") => Some("RunId"),
            ("versions", "{version}") => Some("Version"),
            _ => None,
        });
        before = part;
    }
    found
}

fn of_an_id(name: &str, what: &str, prefix: &str) -> Value {
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": format!("The id of the {what}; 404 where the tenant has none of this id."),
        "schema": {"type": "string", "examples": [format!("{prefix}_0199b3c4d5e67f8091a2b3c4d5e6f708")]}
    })
}

fn limit(description: &str, default: u32, most: u32) -> Value {
    json!({
        "name": "limit",
        "in": "query",
        "description": description,
        "schema": {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    })
}

fn header(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "header", "description": description, "schema": schema})
}

/// All of them, by name.
pub(super) fn components() -> Map<String, Value> {
    let once = "Makes it safe to send the request again: the same key and body give the first answer for 24 hours, another \
                body answers 422, one that is still in flight may answer 409 `BUSY`. Bound to the tenant, the caller and the path.";
    let if_match = "Changes it only where this names its ETag, or is `*`; otherwise 412.";
    let query = |name: &str, description: &str, schema: Value| json!({"name": name, "in": "query", "description": description, "schema": schema});
    let time = |example: &str| json!({"type": "string", "format": "date-time", "examples": [example]});
    let deleted = json!({
        "name": "id",
        "in": "query",
        "required": true,
        "description": "The id of what to delete.",
        "schema": {"type": "string", "minLength": 1}
    });
    let version = json!({
        "name": "version",
        "in": "path",
        "required": true,
        "description": "The number of the version; 404 where there is none.",
        "schema": {"type": "integer", "minimum": 1}
    });
    let cursor = "Where the page begins: `pagination.cursor` of the page before, as it is. Bound to the tenant, the path and the filters.";
    let all = [
        ("PipelineId", of_an_id("id", "pipeline", "pipe")),
        ("ConnectorId", of_an_id("id", "connector", "conn")),
        ("SchemaId", of_an_id("id", "schema", "schema")),
        ("RunId", of_an_id("runId", "run", "run")),
        ("Version", version),
        ("DeletedId", deleted),
        ("Limit", limit("The most items of a page.", 20, 100)),
        ("RowLimit", limit("The most rows of a page.", 20, 500)),
        (
            "RejectedLimit",
            limit("The most rows of a page: 1 to 100 as JSON (20), 1 to 5,000 as CSV (1,000).", 20, 5000),
        ),
        ("Cursor", query("cursor", cursor, json!({"type": "string"}))),
        (
            "IncludeTotal",
            query(
                "includeTotal",
                "Whether `pagination.total` counts all items. Counting ends after 10,000 that were read, also by a filter that leaves \
                 them out (then `totalIsAtLeast` is true).",
                json!({"type": "boolean", "default": false}),
            ),
        ),
        (
            "IncludeRejectedTotal",
            query(
                "includeTotal",
                "As JSON: whether `pagination.total` counts all rejected rows, to 10,000 at most (`totalIsAtLeast` is true then, and \
                 until the run has ended).",
                json!({"type": "boolean", "default": false}),
            ),
        ),
        (
            "IncludeRowTotal",
            query(
                "includeTotal",
                "Whether `pagination.total` counts all rows, exactly.",
                json!({"type": "boolean", "default": false}),
            ),
        ),
        (
            "RejectedRows",
            query(
                "rejected",
                "Whether the rows are those that were rejected and kept beside the table (`onError: deadLetter`).",
                json!({"type": "boolean", "default": false}),
            ),
        ),
        (
            "From",
            query(
                "from",
                "The earliest due time; a day before now, or before `to` where that is earlier.",
                time("2026-01-15T00:00:00Z"),
            ),
        ),
        (
            "To",
            query(
                "to",
                "The latest due time; a day after now, or after `from` where that is later.",
                time("2026-01-16T00:00:00Z"),
            ),
        ),
        ("Status", query("status", "Only runs with this status.", reference("schemas", "RunStatus"))),
        (
            "IdempotencyKey",
            header("Idempotency-Key", once, &json!({"type": "string", "minLength": 1, "maxLength": 255})),
        ),
        ("IfMatch", header("If-Match", if_match, &json!({"type": "string", "examples": ["\"3\""]}))),
    ];
    all.into_iter().map(|(name, parameter)| (name.to_owned(), parameter)).collect()
}

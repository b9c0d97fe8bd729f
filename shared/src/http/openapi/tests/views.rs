//! Answers as the models write them fit the document.

use super::{document, json, validator};
use crate::models::connector::ConnectorView;
use crate::models::fire::Fire;
use crate::models::pipeline::PipelineView;
use crate::models::run::{ProgressView, RunView};
use crate::models::schema::SchemaView;
use serde_json::Value;

/// The faults of a view that is made of `stored` and answered as the component `name`.
fn faults_of<V: serde::de::DeserializeOwned + serde::Serialize>(name: &str, stored: Value) -> Vec<String> {
    let answered = json!(serde_json::from_value::<V>(stored).expect("a view"));
    let schema = json!({"$ref": format!("#/components/schemas/{name}")});
    validator(&document(), &schema).iter_errors(&answered).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

const AT: &str = "2026-01-15T09:00:00.000Z";

#[test]
fn a_pipeline_as_it_is_answered_fits_the_document() {
    let pipeline = json!({
        "id": "pipe_1", "tenantId": "acme", "name": "Customer Import", "description": null, "status": "active",
        "enabled": true, "version": 3, "schedule": "0 2 * * *", "timezone": "Europe/Berlin", "nextRunAt": AT,
        "connectorId": "conn_1", "schemaId": "schema_1",
        "connector": {"id": "conn_1", "name": "Files", "type": "local_fs"},
        "schema": {"id": "schema_1", "name": "customers", "displayName": null},
        "executionConfig": {"batchSize": 5000, "errorHandling": {"onError": "skip", "maxErrors": 3}},
        "nodes": [
            {"id": "node_1", "clientId": "a", "nodeType": "source", "label": null, "config": {}, "position": null},
            {"id": "node_2", "clientId": null, "nodeType": "target", "label": "Write", "config": {"loadMode": "upsert"},
             "position": {"x": 1.5, "y": 0.0}}
        ],
        "edges": [{"id": "edge_1", "source": "node_1", "target": "node_2", "label": null}],
        "lastRunAt": null, "lastRunStatus": "completed_with_errors", "createdAt": AT, "updatedAt": AT
    });
    assert_eq!(faults_of::<PipelineView>("Pipeline", pipeline), Vec::<String>::new());
}

#[test]
fn a_connector_and_a_schema_as_they_are_answered_fit_the_document() {
    let connector = json!({
        "id": "conn_1", "tenantId": "acme", "name": "Files", "type": "aws_s3", "description": null,
        "config": {"bucket": "acme", "format": "csv"}, "authMethod": "none", "version": 1, "status": "untested",
        "lastTestedAt": null, "lastError": null, "createdAt": AT, "updatedAt": AT
    });
    assert_eq!(faults_of::<ConnectorView>("Connector", connector), Vec::<String>::new());
    let schema = json!({
        "id": "schema_1", "tenantId": "acme", "name": "customers", "displayName": null, "description": null,
        "fields": [{"name": "id", "dataType": "bigint", "isPrimaryKey": true}, {"name": "x", "dataType": "text", "defaultValue": ""}],
        "version": 1, "createdAt": AT, "updatedAt": AT
    });
    assert_eq!(faults_of::<SchemaView>("Schema", schema), Vec::<String>::new());
}

#[test]
fn a_run_and_its_progress_as_they_are_answered_fit_the_document() {
    let run = json!({
        "id": "run_1", "pipelineId": "pipe_1", "pipelineVersion": 3, "status": "failed", "trigger": "manual",
        "triggeredBy": "ann", "attempt": 1, "retryOf": null, "scheduledFor": null, "createdAt": AT, "startedAt": AT,
        "finishedAt": AT, "durationMs": 0, "rowsIn": null, "rowsOut": null, "failedRows": 0, "skippedRows": 0,
        "error": {"code": "SOURCE_ERROR", "message": "no file", "nodeId": null, "retryable": true}
    });
    assert_eq!(faults_of::<RunView>("Run", run), Vec::<String>::new());
    let progress = json!({
        "status": "running", "totalRows": null, "processedRows": 2, "rowsIn": 2, "rowsOut": 1, "failedRows": 1,
        "skippedRows": 0, "partitions": 1, "completedPartitions": 0,
        "partitionDetails": [{"name": "a.csv", "status": "running", "rows": 2}],
        "nodes": [{"id": "node_1", "name": "a", "nodeType": "source", "rowsIn": 2, "rowsOut": 1, "filtered": 0,
                   "rejected": 1, "deduplicated": 0}],
        "validationErrors": [{"row": 2, "column": "age", "value": "x", "error": "no integer", "node": "node_1"}],
        "log": [{"stage": "reading", "message": "a.csv", "timestamp": AT}],
        "etaSeconds": null, "durationMs": 12
    });
    assert_eq!(faults_of::<ProgressView>("RunProgress", progress), Vec::<String>::new());
}

#[test]
fn the_fires_that_the_document_shows_fit_it() {
    let examples = document()["components"]["schemas"]["Fire"]["examples"].clone();
    assert_eq!(examples.as_array().map(Vec::len), Some(3));
    for example in examples.as_array().unwrap() {
        assert_eq!(faults_of::<Fire>("Fire", example.clone()), Vec::<String>::new());
        let read: Fire = serde_json::from_value(example.clone()).unwrap();
        assert_eq!(json!(read), *example);
    }
}

#[test]
fn the_types_as_they_are_answered_fit_the_document() {
    use crate::check::types::{connector_types, node_types};
    for (name, answered) in
        [("NodeTypes", json!({"data": node_types()})), ("ConnectorTypes", json!({"data": connector_types()}))]
    {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        let validator = validator(&document(), &schema);
        let faults: Vec<_> = validator.iter_errors(&answered).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert_eq!(faults, Vec::<String>::new(), "{name}");
    }
}

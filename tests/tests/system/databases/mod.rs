//! Databases as sources and targets, against real servers that the tests start.

mod either;
mod holds;
mod increments;
mod kills;
mod lookups;
mod moments;
mod mysql;
mod names;
mod parameters;
mod postgres;
mod races;
mod receipts;
mod rejected;
mod saving;
mod tables;
mod tls;

use serde_json::{Value, json};
use tests::World;
use tests::servers::{self, Server};

/// A connector to one database of a server.
pub async fn connector(world: &World, name: &str, server: &Server, database: &str, more: Value) -> String {
    let mut config = json!({"host": "127.0.0.1", "port": server.port, "database": database});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = json!({
        "name": name, "type": server.kind(), "config": config, "authMethod": "password",
        "authConfig": {"username": servers::USER, "password": servers::PASSWORD},
    });
    world.api.create("/connectors", &body).await
}

/// A pipeline from a source to a target.
pub async fn pipeline(world: &World, connector: &str, schema: &str, source: Value, target: Value) -> String {
    let body = json!({
        "name": "p", "connectorId": connector, "schemaId": schema,
        "executionConfig": {"retry": {"maxAttempts": 1}},
        "nodes": [
            {"id": "s", "nodeType": "source", "config": source}, {"id": "t", "nodeType": "target", "config": target},
        ],
        "edges": [{"source": "s", "target": "t"}],
    });
    world.api.create("/pipelines", &body).await
}

/// The rejected rows of a run: row, column, value.
pub async fn rejected(world: &World, pipeline: &str, run: &Value) -> Vec<(u64, String, Option<String>)> {
    let path = format!("/pipelines/{pipeline}/runs/{}/errors?limit=100", run["id"].as_str().unwrap());
    let errors = world.api.get(&path).await.expect(200).json();
    let mut all: Vec<_> = errors["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            let text = |key: &str| e[key].as_str().map(str::to_owned);
            (e["row"].as_u64().unwrap_or(0), text("column").unwrap(), text("value"))
        })
        .collect();
    all.sort();
    all
}

/// Rows of the lake by their `id`.
pub async fn by_id(world: &World, schema: &str) -> Vec<Value> {
    let mut rows = world.api.rows(schema).await;
    rows.sort_by_key(|row| row["id"].as_i64());
    rows
}

//! Sources of type `rest_api`, against a server in the test's own process.

mod faults;
mod guard;
mod pages;
pub mod server;

use super::Root;
use serde_json::{Value, json};
use server::Server;
use shared::models::connector::ConnectorType;

/// A source that asks `server`, which the deployment allows.
fn api(server: &Server, path: &str, config: Value) -> Root {
    let mut root = Root::new("unused");
    root.kind = ConnectorType::RestApi;
    root.config = config.as_object().unwrap().clone();
    root.config.insert("url".to_owned(), json!(server.url(path)));
    root.allowed = format!("127.0.0.1:{}", server.port);
    root
}

/// Records with ids of this range.
fn records(ids: std::ops::Range<u64>) -> Value {
    ids.map(|id| json!({"id": id, "name": format!("n{id}")})).collect()
}

/// The ids of the rows.
fn ids(rows: &super::Rows) -> Vec<u64> {
    rows.rows.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect()
}

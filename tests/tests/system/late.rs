//! Requests to which nothing answers in time: their callers are told so by us, and not by whoever ends the function.

use crate::watched::{self, Around, hurried};
use serde_json::{Value, json};
use std::time::Duration;
use tests::named::{CONNECTOR, PIPELINE, RUN, SCHEMA};
use tests::{Answer, World};
use tokio::net::TcpListener;
use worker::engine::job::Lake;

/// Long enough to begin with something, and too short for anything to which nobody answers.
const SHORT: Duration = Duration::from_millis(500);

/// What takes connections and never answers, for as long as it is held; and its address.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// The detail of the problem of a request that took too long.
fn late(answer: Answer) -> String {
    let answer = answer.expect(503);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.header("retry-after").is_empty());
    let problem = answer.json();
    assert_eq!(problem["code"], "TIMEOUT", "{problem}");
    problem["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_store_that_is_silent_keeps_nobody_waiting() {
    let world = World::new().await;
    let (_silent, table) = silent().await;
    let services = watched::services(&world, Around { table, ..Around::of(&world) });
    let api = hurried(&world, &services, watched::lake(&world), SHORT).await;
    let rows = late(api.get(&format!("/schemas/{SCHEMA}/data")).await);
    assert!(rows.starts_with("reading the rows of the table took too long"), "{rows}");
    for path in [
        format!("/connectors/{CONNECTOR}/test"),
        format!("/pipelines/{PIPELINE}/validate"),
        format!("/pipelines/{PIPELINE}/preview"),
        format!("/pipelines/{PIPELINE}/runs/{RUN}/rollback"),
    ] {
        let said = late(api.post(&path, &json!({})).await);
        assert!(said.starts_with("reading ") && said.contains(" took too long"), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_lake_that_is_silent_keeps_nobody_waiting_and_stays_as_it_is() {
    let world = World::new().await;
    world.file("people.csv", "id\n1\n2\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    let run = world.run(&pipeline).await;
    assert_eq!(run["status"], "completed", "{run}");

    let (_silent, url) = silent().await;
    let options = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "nobody"),
        ("AWS_SECRET_ACCESS_KEY", "nothing"),
    ];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let lake = Lake { url: "s3://lake".to_owned(), options };
    let api = hurried(&world, world.stack.services(), lake, SHORT).await;
    late(api.get(&format!("/schemas/{schema}/data")).await);
    let undo = format!("/pipelines/{pipeline}/runs/{}/rollback", run["id"].as_str().unwrap());
    for body in [json!({"dryRun": true}), json!({})] {
        let said = late(api.post(&undo, &body).await);
        assert!(said.contains("no table was changed"), "{said}");
    }
    // And nothing of it stands in the way of the next one.
    assert_eq!(world.api.rows(&schema).await.len(), 2);
    world.api.post(&undo, &json!({})).await.expect(200);
    assert_eq!(world.api.rows(&schema).await, Vec::<Value>::new());
}

//! Receipts: what runs say of themselves, held against the tables' logs, and runs that are undone.

mod rollback;
mod verify;

use serde_json::{Value, json};
use shared::clock::Clock;
use shared::models::run::RunStatus;
use shared::models::time::{JsonText, Time};
use shared::store::receipts::Kept;
use shared::store::runs::{Claim, End, Ender};
use tests::{Answer, Api, World, named};

/// `id` (the primary key) and `name`.
fn people() -> Value {
    json!([
        {"name": "id", "dataType": "integer", "isPrimaryKey": true},
        {"name": "name", "dataType": "varchar", "length": 5}
    ])
}

/// A pipeline from one source to these targets.
fn to(connector: &str, schema: &str, targets: &[Value]) -> Value {
    let mut nodes = vec![json!({"id": "s", "nodeType": "source", "config": {}})];
    let configs = targets.iter().enumerate();
    nodes.extend(configs.map(|(i, config)| json!({"id": format!("t{i}"), "nodeType": "target", "config": config})));
    let edges: Vec<_> = (0..targets.len()).map(|i| json!({"source": "s", "target": format!("t{i}")})).collect();
    json!({"name": "p", "connectorId": connector, "schemaId": schema, "nodes": nodes, "edges": edges})
}

/// A stack with a file of people and a schema.
struct People {
    world: World,
    connector: String,
    schema: String,
}

impl People {
    async fn new() -> Self {
        let world = World::new().await;
        world.file("people.csv", "id,name\n1,Ada\n2,Bob\n");
        let connector = world.connector("people", "people.csv").await;
        let schema = world.schema("people", people()).await;
        Self { world, connector, schema }
    }

    async fn pipeline(&self, targets: &[Value]) -> String {
        self.world.api.create("/pipelines", &to(&self.connector, &self.schema, targets)).await
    }

    /// Runs with these rows in the file, and answers the run.
    async fn run(&self, pipeline: &str, rows: &str) -> Value {
        self.world.file("people.csv", format!("id,name\n{rows}"));
        self.world.run(pipeline).await
    }
}

async fn retried(api: &Api, run: &Value) -> Value {
    let retry = api.post(&format!("{}/retry", path(run)), &json!({})).await.expect(201).json();
    api.finished(run["pipelineId"].as_str().unwrap(), retry["id"].as_str().unwrap()).await
}

async fn rollback(api: &Api, run: &Value, body: Value) -> Answer {
    api.post(&format!("{}/rollback", path(run)), &body).await
}

/// The rows of a table as `id:name`, sorted.
async fn rows(api: &Api, schema: &str) -> Vec<String> {
    let rows = api.rows(schema).await;
    let mut rows: Vec<_> = rows.iter().map(|r| format!("{}:{}", r["id"], r["name"].as_str().unwrap_or("-"))).collect();
    rows.sort();
    rows
}

async fn receipt(api: &Api, run: &Value) -> Value {
    api.get(&format!("{}/receipt", path(run))).await.expect(200).json()
}

fn path(run: &Value) -> String {
    format!("/pipelines/{}/runs/{}", run["pipelineId"].as_str().unwrap(), run["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_receipt_says_what_was_read_and_written_and_by_whom() {
    let people = People::new().await;
    let api = &people.world.api;
    let pipeline = people.pipeline(&[json!({})]).await;
    let first = people.run(&pipeline, "1,Ada\n2,Bob\n").await;
    let run = people.run(&pipeline, "3,Cy\n4,Dorothea\n").await;
    assert_eq!(run["status"], "completed_with_errors", "{run}");
    let found = receipt(api, &run).await;
    for key in ["pipelineId", "pipelineVersion", "status", "createdAt", "startedAt", "finishedAt", "rowsIn", "rowsOut"]
    {
        assert_eq!(found[key], run[key], "{key}");
    }
    assert_eq!((&found["format"], &found["runId"]), (&json!("flowgate-receipt/1"), &run["id"]));
    assert_eq!(found["digest"], shared::receipt::digest(&found));
    let definition = &found["definition"];
    assert_eq!(definition["hash"], shared::canonical::hash(&definition["content"]));
    // Anybody comes to the same hash with what the API answers.
    let version = api.get(&format!("/pipelines/{pipeline}/versions/1")).await.expect(200).json();
    let keys = definition["content"].as_object().unwrap().keys();
    let chosen: serde_json::Map<_, _> = keys.map(|key| (key.clone(), version[key].clone())).collect();
    assert_eq!(shared::canonical::hash(&chosen.into()), definition["hash"]);
    let attempts = found["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!((&attempts[0]["attempt"], &attempts[0]["outcome"]), (&json!(1), &json!("completed_with_errors")));
    assert!(attempts[0]["worker"].as_str().unwrap().starts_with("worker-"));
    assert_eq!(attempts[0]["endedAt"], found["finishedAt"]);
    let input = &found["inputs"][0];
    assert_eq!(
        (&input["connectorId"], &input["rows"], &input["attempt"]),
        (&json!(people.connector), &json!(2), &json!(1))
    );
    assert_eq!((&input["files"]["count"], &input["files"]["bytes"]), (&json!(1), &json!(24)));
    let file = &input["files"]["list"][0];
    assert_eq!((&file["path"], &file["size"]), (&json!("people.csv"), &json!(24)));
    assert!(file["etag"].is_string() && file["modifiedAt"].is_string(), "{file}");
    let nodes: Vec<_> = found["nodes"].as_array().unwrap().iter().map(|n| (&n["nodeType"], &n["rowsOut"])).collect();
    assert_eq!(nodes, [(&json!("source"), &json!(2)), (&json!("target"), &json!(1))]);
    assert_eq!(found["targets"].as_array().unwrap().len(), 1);
    let target = &found["targets"][0];
    assert_eq!((&target["kind"], &target["rows"], &target["writtenBy"]), (&json!("delta"), &json!(1), &run["id"]));
    let delta = &target["delta"];
    assert_eq!(delta["location"], format!("acme/{}", people.schema));
    assert_eq!((&delta["versionBefore"], &delta["versionAfter"]), (&json!(1), &json!(2)));
    assert_eq!(delta["transaction"], json!({"appId": run["id"], "version": 1}));
    assert_eq!(
        (&delta["filesAdded"], &delta["filesRemoved"], &delta["recordsAdded"]),
        (&json!(1), &json!(0), &json!(1))
    );
    let before = receipt(api, &first).await;
    assert_eq!(before["targets"][0]["delta"]["versionAfter"], 1);
    assert_ne!(before["inputs"][0]["files"]["hash"], input["files"]["hash"]);
    assert_eq!(before["rolledBack"], Value::Null);
}

#[tokio::test]
async fn a_run_that_never_ran_has_a_receipt_of_nothing_and_one_that_runs_has_none() {
    let world = World::with(|o| o.worker = false).await;
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("people", people()).await;
    let pipeline = world.copy(&connector, &schema).await;
    let run =
        world.api.post(&format!("/pipelines/{pipeline}/run"), &json!({"parameters": {"secret": "x"}})).await.json();
    let refused = world.api.get(&format!("{}/receipt", path(&run))).await.expect(409).json();
    assert_eq!(refused["code"], "RUN_NOT_FINAL");
    assert!(refused["detail"].as_str().unwrap().contains("pending"), "{refused}");
    world.api.post(&format!("{}/cancel", path(&run)), &json!({})).await.expect(202);
    let found = receipt(&world.api, &run).await;
    assert_eq!(
        (&found["status"], &found["attempts"], &found["targets"]),
        (&json!("cancelled"), &json!([]), &json!([]))
    );
    assert_eq!(found["parameters"], json!(["secret"]));
    assert_eq!(found["definition"]["hash"], shared::canonical::hash(&found["definition"]["content"]));
    world.api.get(&format!("/pipelines/{pipeline}/runs/run_0/receipt")).await.expect(404);
}

#[tokio::test]
async fn a_run_that_fails_says_what_it_had_read_and_that_nothing_was_written() {
    let people = People::new().await;
    let mut body = to(&people.connector, &people.schema, &[json!({})]);
    body["executionConfig"] = json!({"errorHandling": {"onError": "fail"}});
    let pipeline = people.world.api.create("/pipelines", &body).await;
    let run = people.run(&pipeline, "1,Ada\nx,Bob\n").await;
    assert_eq!(run["status"], "failed", "{run}");
    let found = receipt(&people.world.api, &run).await;
    assert_eq!(found["error"], run["error"]);
    assert_eq!((&found["attempts"][0]["outcome"], &found["targets"]), (&json!("failed"), &json!([])));
    assert_eq!(found["inputs"][0]["files"]["count"], 1);
    // What was wrong is mended, and the retry has a receipt of its own.
    people.world.file("people.csv", "id,name\n1,Ada\n2,Bob\n");
    let retry = retried(&people.world.api, &run).await;
    let found = receipt(&people.world.api, &retry).await;
    assert_eq!((&found["retryOf"], &found["targets"][0]["writtenBy"]), (&run["id"], &retry["id"]));
}

#[tokio::test]
async fn two_targets_and_their_rejected_rows_are_all_in_the_receipt() {
    let people = People::new().await;
    let names = people.world.schema("names", json!([{"name": "name", "dataType": "text"}])).await;
    let mut body = to(&people.connector, &people.schema, &[json!({}), json!({"table": "names"})]);
    body["executionConfig"] = json!({"errorHandling": {"onError": "deadLetter"}});
    let pipeline = people.world.api.create("/pipelines", &body).await;
    let run = people.run(&pipeline, "1,Ada\n2,Dorothea\n").await;
    let found = receipt(&people.world.api, &run).await;
    let targets = found["targets"].as_array().unwrap();
    let told: Vec<_> = targets
        .iter()
        .map(|t| (t["kind"].as_str().unwrap(), t["delta"]["schemaId"].as_str().unwrap(), t["rows"].as_u64().unwrap()))
        .collect();
    let rejected = format!("{}_rejected", people.schema);
    assert_eq!(told, [("rejected", rejected.as_str(), 1), ("delta", &people.schema, 1), ("delta", &names, 2)]);
    assert_eq!((&targets[0]["nodeId"], targets[1]["nodeId"].is_string()), (&Value::Null, true));
}

#[tokio::test]
async fn an_attempt_of_which_nobody_heard_again_is_lost() {
    let world = World::with(|o| o.worker = false).await;
    let store = &world.stack.services().store;
    named::keep_connector(store, "acme", "c").await;
    named::keep_schema(store, "acme", "s").await;
    let run = named::keep_pipeline_and_run(store, "acme").await;
    let start = Clock::default().now();
    let mut now = Time(start);
    for worker in ["worker-a", "worker-b", "worker-c"] {
        let claim = store.claim("acme", &run.pipeline_id, &run.id, worker, now).await.unwrap();
        let Claim::Taken(taken) = claim else { panic!("{claim:?}") };
        if worker == "worker-b" {
            assert!(store.let_go(&taken, now).await.unwrap());
        }
        if worker == "worker-c" {
            assert!(store.end_run(&taken, Ender::Holder, &End::cancelled(), now).await.unwrap());
        }
        now = Time(now.0 + chrono::Duration::seconds(30));
    }
    let run = world.api.get(&format!("/pipelines/{}/runs/{}", run.pipeline_id, run.id)).await.json();
    let found = receipt(&world.api, &run).await;
    let attempts = found["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts
        .iter()
        .map(|a| (a["worker"].as_str().unwrap(), a["outcome"].as_str().unwrap(), a["endedAt"].is_string()))
        .collect();
    assert_eq!(told, [("worker-a", "lost", false), ("worker-b", "given_back", true), ("worker-c", "cancelled", true)]);
    assert!((1..=3).all(|number| attempts[number - 1]["attempt"] == number));
}

#[tokio::test]
async fn a_run_ends_although_its_receipt_has_no_room_for_all_and_the_receipt_says_what_is_short() {
    let world = World::with(|o| o.worker = false).await;
    let store = &world.stack.services().store;
    named::keep_connector(store, "acme", "c").await;
    named::keep_schema(store, "acme", "s").await;
    let run = named::keep_pipeline_and_run(store, "acme").await;
    let now = Time(Clock::default().now());
    let Claim::Taken(held) = store.claim("acme", &run.pipeline_id, &run.id, "w", now).await.unwrap() else {
        panic!("nobody else wants it");
    };
    let [before, after] = ["a", "b"].map(|letter| letter.repeat(250_000));
    let written = json!({
        "nodeId": "node_1", "kind": "delta", "table": "s", "writtenBy": run.id, "attempt": 1, "rows": 1, "skippedRows": 0,
        "loadMode": "incremental_watermark", "database": null,
        "delta": {
            "schemaId": named::SCHEMA, "location": format!("acme/{}", named::SCHEMA), "versionBefore": 0, "versionAfter": 1,
            "transaction": {"appId": run.id, "version": 1}, "filesAdded": 1, "filesRemoved": 0, "bytesAdded": 1,
            "recordsAdded": 1, "entryHash": "sha256:1",
            "watermark": {"column": "at", "before": before, "after": after},
        },
    });
    let targets = JsonText(vec![serde_json::from_value(written).unwrap()]);
    let kept = Kept { definition_hash: "sha256:1".to_owned(), targets };
    let end = End { receipt: Some(kept), ..End::of(RunStatus::Completed) };
    assert!(store.end_run(&held, Ender::Holder, &end, now).await.unwrap());
    let run = world.api.get(&format!("/pipelines/{}/runs/{}", run.pipeline_id, run.id)).await.expect(200).json();
    assert_eq!(run["status"], "completed");
    let found = receipt(&world.api, &run).await;
    let [before, after] = ["a", "b"].map(|letter| letter.repeat(100));
    let told = json!({"column": "at", "before": before, "after": after, "shortened": true});
    assert_eq!(found["targets"][0]["delta"]["watermark"], told);
    assert_eq!(found["targets"][0]["delta"]["versionAfter"], 1);
}

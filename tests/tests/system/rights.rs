//! What each function asks of the table and of the queues, held against what template.yaml allows it.

use crate::deployed;
use crate::events;
use crate::scaling::Ecs;
use crate::watched::Watched;
use chrono::Duration;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::models::run::{Progress, Rows};
use shared::store::runs::Claim;
use std::collections::BTreeSet;
use tests::{Answer, World};

/// What is allowed and was not asked for below, with the reason why it is right.
const MORE: &[(&str, &str, &str)] = &[
    ("on_schedule", "sqs:ReceiveMessage", "Lambda's poller does it in its name"),
    ("on_schedule", "sqs:DeleteMessage", "Lambda's poller does it in its name"),
    ("on_dead_letter", "sqs:ReceiveMessage", "Lambda's poller does it in its name"),
    ("on_dead_letter", "sqs:DeleteMessage", "Lambda's poller does it in its name"),
    ("on_dead_letter", "sqs:GetQueueAttributes", "Lambda's poller does it in its name"),
    ("worker", "sqs:SendMessage", "a purge that its time was too short for goes on with a new message"),
];

/// The id in an answer.
fn id(answer: &Answer) -> String {
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// A graph from the pipeline's connector to a table.
fn to_table(table: &str) -> Value {
    json!([{"id": "s", "nodeType": "source", "config": {}}, {"id": "t", "nodeType": "target", "config": {"table": table}}])
}

fn edges() -> Value {
    json!([{"source": "s", "target": "t"}])
}

/// What the calls made: a connector, a schema and a pipeline.
struct Made {
    connector: String,
    schema: String,
    pipeline: String,
}

/// Connectors and schemas are made, read, renamed, and refused to go while they are used.
async fn resources(watched: &mut Watched) -> Made {
    let api = watched.api.clone();
    let connector = json!({"name": "persons", "type": "local_fs", "config": {"path": "people.csv"}});
    for _ in 0..2 {
        let answer = api.post_once("/connectors", "one", &connector).await;
        watched.note("create_connector", answer).expect(201);
    }
    let answer = api.post_once("/connectors", "one", &connector).await;
    let connector = id(&watched.note("create_connector", answer).expect(201));
    let fields =
        json!([{"name": "id", "dataType": "integer", "isPrimaryKey": true}, {"name": "name", "dataType": "text"}]);
    let schema = json!({"name": "persons", "fields": fields});
    for _ in 0..2 {
        let answer = api.post_once("/schemas", "one", &schema).await;
        watched.note("create_schema", answer).expect(201);
    }
    let answer = api.post_once("/schemas", "one", &schema).await;
    let schema = id(&watched.note("create_schema", answer).expect(201));
    for (kind, one, of) in [("connectors", "connector", &connector), ("schemas", "schema", &schema)] {
        let answer = api.get(&format!("/{kind}?limit=1&includeTotal=true")).await;
        watched.note(&format!("list_{kind}"), answer).expect(200);
        let answer = api.get(&format!("/{kind}/{of}")).await;
        watched.note(&format!("get_{one}"), answer).expect(200);
        for name in ["others", "persons"] {
            let answer = api.put(&format!("/{kind}/{of}"), &json!({ "name": name })).await;
            watched.note(&format!("update_{one}"), answer).expect(200);
        }
    }
    let body = json!({
        "name": "p", "connectorId": connector, "schemaId": schema, "schedule": "*/10 * * * *",
        "nodes": to_table("persons"), "edges": edges(),
    });
    for _ in 0..2 {
        let answer = api.post_once("/pipelines", "one", &body).await;
        watched.note("create_pipeline", answer).expect(201);
    }
    let answer = api.post_once("/pipelines", "one", &body).await;
    let pipeline = id(&watched.note("create_pipeline", answer).expect(201));
    for (kind, one, of) in [("connectors", "connector", &connector), ("schemas", "schema", &schema)] {
        let answer = api.delete(&format!("/{kind}/{of}")).await;
        watched.note(&format!("delete_{one}"), answer).expect(409);
    }
    Made { connector, schema, pipeline }
}

/// Pipelines are read, changed in all their parts, and refused where a target's table is that of no schema.
async fn pipelines(watched: &mut Watched, made: &Made) {
    let api = watched.api.clone();
    let path = format!("/pipelines/{}", made.pipeline);
    let typo = json!({
        "name": "q", "connectorId": made.connector, "schemaId": made.schema, "nodes": to_table("persns"), "edges": edges(),
    });
    let answer = api.post("/pipelines", &typo).await;
    let answer = watched.note("create_pipeline", answer).expect(400);
    assert!(answer.text.contains("did you mean \\\"persons\\\""), "{}", answer.text);
    let nodes = json!({"nodes": to_table("persns"), "edges": edges()});
    let answer = api.put(&path, &nodes).await;
    watched.note("update_pipeline", answer).expect(400);
    for check in ["validate", "preview"] {
        let answer = api.post(&format!("{path}/{check}"), &nodes).await;
        watched.note("worker_http", answer).expect(400);
    }
    let other = json!({"name": "other", "type": "local_fs", "config": {"path": "other.csv"}});
    let other = id(&api.post("/connectors", &other).await.expect(201));
    watched.forget();
    let changes = [
        json!({"connectorId": other, "nodes": to_table("persons"), "edges": edges()}),
        json!({"connectorId": made.connector, "schedule": "0 * * * *"}),
        json!({"enabled": false}),
        json!({"enabled": true, "schedule": "*/10 * * * *"}),
    ];
    for change in changes {
        let answer = api.put(&path, &change).await;
        watched.note("update_pipeline", answer).expect(200);
    }
    for (function, read) in [
        ("list_pipelines", "/pipelines?includeTotal=true".to_owned()),
        ("get_pipeline", path.clone()),
        ("list_pipeline_versions", format!("{path}/versions?includeTotal=true")),
        ("get_pipeline_version", format!("{path}/versions/1")),
        ("list_fires", format!("{path}/fires?includeTotal=true")),
    ] {
        let answer = api.get(&read).await;
        watched.note(function, answer).expect(200);
    }
    let answer = api.delete(&format!("/connectors/{other}")).await;
    watched.note("delete_connector", answer).expect(204);
}

/// Runs are started, refused, cancelled, retried, executed, read and undone.
async fn runs(world: &World, watched: &mut Watched, made: &Made) {
    let api = watched.api.clone();
    let path = format!("/pipelines/{}", made.pipeline);
    let body = json!({});
    let mut started = String::new();
    for _ in 0..2 {
        let answer = api.post_once(&format!("{path}/run"), "run", &body).await;
        started = id(&watched.note("run_pipeline", answer).expect(201));
    }
    let answer = api.post(&format!("{path}/runs/{started}/cancel"), &body).await;
    watched.note("cancel_run", answer).expect(202);
    let answer = api.post_once(&format!("{path}/runs/{started}/retry"), "retry", &body).await;
    let retry = id(&watched.note("retry_run", answer).expect(201));
    world.file("people.csv", "id,name\n1,Ada\n2,Bob\nx,Cy\n");
    let run = format!("{path}/runs/{retry}");
    let ended = async || {
        let status = api.get(&run).await.expect(200).json()["status"].clone();
        !["pending", "running"].iter().any(|live| status == *live)
    };
    watched.work(world, "the run ends", ended).await;
    watched.forget();
    for (function, read) in [
        ("list_runs", format!("{path}/runs?status=completed&includeTotal=true")),
        ("get_run", run.clone()),
        ("get_run_progress", format!("{run}/progress")),
        ("get_run_receipt", format!("{run}/receipt")),
        ("list_run_errors", format!("{run}/errors?includeTotal=true")),
        ("worker_http", format!("/schemas/{}/data?includeTotal=true", made.schema)),
    ] {
        let answer = api.get(&read).await;
        watched.note(function, answer).expect(200);
    }
    for (asked, body) in [
        (format!("/connectors/{}/test", made.connector), json!({})),
        (format!("{path}/validate"), json!({})),
        (format!("{path}/preview"), json!({})),
        (format!("{run}/rollback"), json!({})),
    ] {
        let answer = api.post(&asked, &body).await;
        watched.note("worker_http", answer).expect(200);
    }
    for policy in ["forbid", "replace"] {
        let change = json!({"executionConfig": {"concurrencyPolicy": policy}});
        let answer = api.put(&path, &change).await;
        watched.note("update_pipeline", answer).expect(200);
        for _ in 0..2 {
            let answer = api.post(&format!("{path}/run"), &body).await;
            watched.note("run_pipeline", answer);
        }
        let answer = api.post(&format!("{run}/retry"), &body).await;
        watched.note("retry_run", answer);
    }
}

/// The tick of all shards, so many minutes later.
async fn shards(world: &World, watched: &mut Watched, clock: &Clock, minutes: i64) {
    clock.advance(Duration::minutes(minutes));
    for shard in 0..world.stack.services().config.shards {
        let body = json!({ "shard": shard }).to_string();
        let answer = watched.call("on_schedule", json!({"Records": [{"messageId": "1", "body": body}]})).await;
        assert_eq!(answer, json!({"batchItemFailures": []}));
    }
}

/// What is due is fired, what got stuck is sent again, what is over is ended, and dead letters end runs or have them settled.
async fn triggers(world: &World, watched: &mut Watched, made: &Made, clock: &Clock) {
    watched.call("on_schedule", json!({"source": "aws.events"})).await;
    for minutes in [11, 60, 600] {
        shards(world, watched, clock, minutes).await;
    }
    let store = &world.stack.services().store;
    let lost = async || {
        let live = store.live_runs("acme", &made.pipeline).await.unwrap();
        match store.claim("acme", &made.pipeline, &live[0], "died", clock.now().into()).await.unwrap() {
            Claim::Taken(run) => run,
            other => panic!("nobody else wants it: {other:?}"),
        }
    };
    let run = lost().await;
    assert!(store.request_cancel(&run, clock.now().into()).await.unwrap());
    shards(world, watched, clock, 11).await;
    assert!(store.run("acme", &made.pipeline, &run.id).await.unwrap().status.is_final());
    let run = lost().await;
    assert!(store.enter_committing(&run, Rows::default(), &Progress::default(), None).await.unwrap());
    let body = json!({"task": "run", "tenantId": "acme", "pipelineId": made.pipeline, "runId": run.id}).to_string();
    watched.call("on_dead_letter", json!({"Records": [{"messageId": "1", "body": body}]})).await;
    // The lease of the worker that died is over.
    clock.advance(Duration::minutes(1));
}

#[tokio::test]
async fn every_function_may_what_it_does_and_no_more() {
    let ecs = Ecs::start().await;
    let apart = World::with(|o| o.worker = false).await;
    let mut sent = Watched::of(&apart, Some(ecs.workers(2))).await;
    events::all(&apart, &mut sent).await;

    let clock = Clock::fixed("2026-01-15T09:05:00Z".parse().unwrap());
    let world = World::with(|o| {
        o.worker = false;
        o.clock = clock.clone();
    })
    .await;
    let mut watched = Watched::of(&world, Some(ecs.workers(2))).await;
    watched.used = sent.used;
    let made = resources(&mut watched).await;
    pipelines(&mut watched, &made).await;
    runs(&world, &mut watched, &made).await;
    triggers(&world, &mut watched, &made, &clock).await;
    let store = &world.stack.services().store;
    let over = async || store.live_runs("acme", &made.pipeline).await.unwrap().is_empty();
    watched.work(&world, "all runs end", over).await;
    watched.forget();
    let answer = watched.api.delete(&format!("/pipelines/{}", made.pipeline)).await;
    watched.note("delete_pipeline", answer).expect(204);
    watched.work(&world, "the purge", async || !store.is_deleted("acme", &made.pipeline).await.unwrap()).await;

    let of_here = |action: &String| action.starts_with("dynamodb:") || action.starts_with("sqs:");
    for function in deployed::functions() {
        let name = function.binary.as_str();
        let allowed: BTreeSet<String> = deployed::actions(&function).into_iter().filter(of_here).collect();
        let used = watched.used.remove(name).unwrap_or_default();
        let missing: Vec<_> = used.difference(&allowed).collect();
        assert!(missing.is_empty(), "{name} needs {missing:?}, which template.yaml does not allow it");
        let unused: BTreeSet<&str> = allowed.difference(&used).map(String::as_str).collect();
        let known: BTreeSet<&str> = MORE.iter().filter(|(of, ..)| *of == name).map(|(_, action, _)| *action).collect();
        assert_eq!(unused, known, "what {name} may and does not (left), and what of that has a reason (right)");
    }
    assert!(watched.used.is_empty(), "{:?} is not deployed", watched.used);
}

//! Every event of tests/events/ through the function that it is for, as `sam local invoke` would send it.

use crate::watched::Watched;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::models::run::RunStatus;
use shared::roles::Role;
use shared::store::runs::{End, Ender};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tests::{World, named};

/// What a user expects who keeps what the events name, and sends one of them.
const EXPECTED: [(&str, u64); 33] = [
    ("cancel_run", 202),
    ("create_connector", 201),
    ("create_pipeline", 201),
    ("create_schema", 201),
    ("delete_connector", 204),
    ("delete_pipeline", 204),
    ("delete_schema", 204),
    ("get_connector", 200),
    ("get_health", 200),
    ("get_openapi", 200),
    ("get_pipeline", 200),
    ("get_pipeline_version", 200),
    ("get_run", 200),
    ("get_run_progress", 200),
    ("get_run_receipt", 200),
    ("get_schema", 200),
    ("list_connector_types", 200),
    ("list_connectors", 200),
    ("list_fires", 200),
    ("list_node_types", 200),
    ("list_pipeline_versions", 200),
    ("list_pipelines", 200),
    ("list_run_errors", 200),
    ("list_runs", 200),
    ("list_schemas", 200),
    ("not_found", 404),
    ("preview_schedule", 200),
    ("retry_run", 201),
    ("run_pipeline", 201),
    ("update_connector", 200),
    ("update_pipeline", 200),
    ("update_schema", 200),
    ("worker_http", 200),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("events")
}

/// An event with an editor's token of this tenant.
fn event(world: &World, name: &str, tenant: &str) -> Value {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    let token = world.stack.token(Role::Editor, tenant).unwrap();
    serde_json::from_str(&text.replace("Bearer TOKEN", &format!("Bearer {token}"))).unwrap()
}

/// Keeps for a tenant what the event of this name needs.
async fn keep(world: &World, event: &str, tenant: &str) {
    let store = &world.stack.services().store;
    // The names that the events give are left free for those that create.
    named::keep_connector(store, tenant, "Files").await;
    named::keep_schema(store, tenant, "people").await;
    if ["delete_connector", "delete_schema"].contains(&event) {
        return;
    }
    let run = named::keep_pipeline_and_run(store, tenant).await;
    if ["retry_run", "get_run_receipt"].contains(&event) {
        let now = Clock::default().now().into();
        assert!(store.end_run(&run, Ender::WhilePending, &End::cancelled(), now).await.unwrap());
    }
}

/// Sends all of them, for what they ask of table and queues.
pub(crate) async fn all(world: &World, watched: &mut Watched) {
    for (name, expected) in EXPECTED {
        keep(world, name, name).await;
        let answer = watched.call(name, event(world, name, name)).await;
        assert_eq!(answer["statusCode"], expected, "{name}: {answer:#}");
    }
    keep(world, "on_dead_letter", "acme").await;
    for name in ["on_schedule", "on_dead_letter"] {
        watched.call(name, event(world, name, "acme")).await;
    }
}

#[tokio::test]
async fn every_event_is_answered_as_a_user_expects() {
    let world = World::with(|o| o.worker = false).await;
    for (name, expected) in EXPECTED {
        // Each has a tenant of its own, so that none changes what another one finds.
        keep(&world, name, name).await;
        let answer = world.stack.invoke(name, event(&world, name, name)).await.unwrap();
        assert_eq!(answer["statusCode"], expected, "{name}: {answer:#}");
        let body: Value =
            serde_json::from_str(answer["body"].as_str().filter(|b| !b.is_empty()).unwrap_or("null")).unwrap();
        match expected {
            204 => assert_eq!(body, Value::Null, "{name}"),
            404 => assert_eq!(body["code"], "NOT_FOUND", "{name}"),
            _ => assert!(body.is_object(), "{name}: {answer:#}"),
        }
    }
}

#[tokio::test]
async fn the_events_of_triggers_do_what_they_are_for() {
    let world = World::with(|o| o.worker = false).await;
    let answer = world.stack.invoke("on_schedule", event(&world, "on_schedule", "acme")).await.unwrap();
    assert_eq!(answer["shards"], world.stack.services().config.shards, "{answer:#}");
    keep(&world, "on_dead_letter", "acme").await;
    let answer = world.stack.invoke("on_dead_letter", event(&world, "on_dead_letter", "acme")).await.unwrap();
    assert_eq!(answer, json!({"batchItemFailures": []}));
    let run = world.stack.services().store.run("acme", named::PIPELINE, named::RUN).await.unwrap();
    assert_eq!(run.status, RunStatus::Failed);
    assert_eq!(run.error.unwrap().0.code, "DELIVERED_TOO_OFTEN");
}

#[test]
fn no_event_is_left_out() {
    let sent = EXPECTED.iter().map(|(name, _)| *name).chain(["on_schedule", "on_dead_letter"]);
    let sent: BTreeSet<String> = sent.map(|name| format!("{name}.json")).collect();
    let entries = fs::read_dir(folder()).unwrap();
    let there: BTreeSet<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(sent, there);
}

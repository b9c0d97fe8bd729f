//! Runs that are stopped in their middle: nothing of them is left.

use crate::wait;
use crate::watched::{Around, services, worker_of};
use serde_json::json;
use shared::clock::Clock;
use shared::models::run::{Progress, Rows, RunFailure};
use shared::models::time::Time;
use shared::store::runs::{Claim, End, Ender};
use std::time::{Duration, Instant};
use tests::recorded::Recorder;
use tests::stalled::Stalled;
use tests::{World, named};

#[tokio::test]
async fn a_running_run_is_cancelled_within_five_seconds_and_leaves_nothing() {
    let world = World::new().await;
    let stalled = Stalled::start(&world.api, world.folder(), &world.lake(), json!({})).await;
    let asked = Instant::now();
    let cancelled = world.api.post(&format!("{}/cancel", stalled.path()), &json!({})).await.expect(202).json();
    assert_eq!(cancelled["status"], "running", "its worker stops it: {cancelled}");
    let run = world.api.finished(&stalled.pipeline, &stalled.run).await;
    assert!(asked.elapsed() < Duration::from_secs(5), "cancelled after {:?}", asked.elapsed());
    assert_eq!((&run["status"], &run["error"]), (&json!("cancelled"), &json!(null)), "{run}");
    stalled.assert_nothing_is_left(&world.api).await;
    // It was asked to stop, not to start again.
    assert_eq!(run["attempt"], 1);
}

#[tokio::test]
async fn a_run_that_learns_at_its_commit_that_it_is_cancelled_ends_there_and_then() {
    let world = World::new().await;
    let stalled = Stalled::start(&world.api, world.folder(), &world.lake(), json!({})).await;
    world.api.post(&format!("{}/cancel", stalled.path()), &json!({})).await.expect(202);
    // Most times it is at its commit before its next heartbeat; it is cancelled by the one or the other.
    stalled.s3.release();
    let run = world.api.finished(&stalled.pipeline, &stalled.run).await;
    assert_eq!((&run["status"], &run["attempt"]), (&json!("cancelled"), &json!(1)), "{run}");
    let receipt = world.api.get(&format!("{}/receipt", stalled.path())).await.expect(200).json();
    assert_eq!(receipt["attempts"][0]["outcome"], "cancelled", "{receipt}");
    stalled.assert_nothing_is_left(&world.api).await;
}

#[tokio::test]
async fn a_run_is_held_and_can_be_cancelled_while_what_it_needs_is_long_in_coming() {
    let world = World::with(|options| (options.worker, options.lease_seconds) = (false, 2)).await;
    world.file("people.csv", "id\n1\n");
    let connector = world.connector("people", "people.csv").await;
    let schema = world.schema("people", json!([{"name": "id", "dataType": "integer"}])).await;
    let pipeline = world.copy(&connector, &schema).await;
    let table = Recorder::start(world.stack.table_endpoint()).await;
    table.keep(&schema);
    let services = services(&world, Around { table: table.url().to_owned(), ..Around::of(&world) });
    tokio::spawn(worker_of(&world, "slow", &services).poll(1, Duration::ZERO));
    let run = world.api.run(&pipeline, json!({})).await;
    let store = &world.stack.services().store;
    wait("it is held for longer than it was taken for", async || {
        let run = store.find_run("acme", &pipeline, &run).await.unwrap().unwrap();
        run.started_at.zip(run.lease_until).is_some_and(|(start, until)| until.since(start) > 2500)
    })
    .await;
    assert_eq!(table.kept(), 1, "the schema was given up before");
    world.api.post(&format!("/pipelines/{pipeline}/runs/{run}/cancel"), &json!({})).await.expect(202);
    let run = world.api.finished(&pipeline, &run).await;
    assert_eq!((&run["status"], &run["attempt"]), (&json!("cancelled"), &json!(1)), "{run}");
    // By the attempt, and by what removes its files.
    assert!(table.kept() <= 2, "it was asked for {} times before the run ended", table.kept());
}

#[tokio::test]
async fn a_run_that_takes_too_long_fails_and_leaves_nothing() {
    let world = World::new().await;
    let limit = json!({"timeoutSeconds": 1});
    let stalled = Stalled::start(&world.api, world.folder(), &world.lake(), limit).await;
    let run = world.api.finished(&stalled.pipeline, &stalled.run).await;
    assert_eq!((&run["status"], &run["error"]["code"]), (&json!("failed"), &json!("TIMEOUT")), "{run}");
    let said = run["error"]["message"].as_str().unwrap();
    assert!(said.contains("1 s") && said.contains("timeoutSeconds"), "{said}");
    assert_eq!((&run["attempt"], &run["rowsOut"]), (&json!(1), &json!(0)), "{run}");
    stalled.assert_nothing_is_left(&world.api).await;
}

#[tokio::test]
async fn a_pipeline_that_is_deleted_in_the_middle_of_its_run_leaves_nothing_and_nobody_else_feels_it() {
    let world = World::new().await;
    let stalled = Stalled::start(&world.api, world.folder(), &world.lake(), json!({})).await;
    world.api.delete(&format!("/pipelines/{}", stalled.pipeline)).await.expect(204);
    let below = format!("/pipelines/{}/runs", stalled.pipeline);
    for path in [below.clone(), stalled.path(), format!("{}/progress", stalled.path())] {
        world.api.get(&path).await.expect(404);
    }
    world.api.post(&format!("{}/cancel", stalled.path()), &json!({})).await.expect(404);
    // The stack goes on working, also while the run is being stopped.
    world.file("people.csv", "n,text\n1,Ada\n");
    let connector = world.connector("people", "people.csv").await;
    let other = world.copy(&connector, &stalled.schema).await;
    let run = world.run(&other).await;
    assert_eq!((&run["status"], &run["rowsOut"]), (&json!("completed"), &json!(1)), "{run}");
    let of_run = |run: &str| stalled.files().into_iter().filter(|f| f.iter().any(|part| part == run)).count();
    wait("no file of the run is left", async || of_run(&stalled.run) == 0).await;
    assert_eq!(of_run(run["id"].as_str().unwrap()), 1);
    assert_eq!(world.api.rows(&stalled.schema).await, [json!({"n": 1, "text": "Ada"})]);
}

#[tokio::test]
async fn a_run_that_may_have_committed_is_not_cancelled_while_it_waits_for_its_next_attempt() {
    let world = World::with(|options| options.worker = false).await;
    let store = &world.stack.services().store;
    named::keep_connector(store, "acme", "Files").await;
    named::keep_schema(store, "acme", "people").await;
    let run = named::keep_pipeline_and_run(store, "acme").await;
    let now = Time(Clock::default().now());
    let Claim::Taken(held) = store.claim("acme", &run.pipeline_id, &run.id, "w", now).await.unwrap() else {
        panic!("nobody else wants it");
    };
    assert!(store.enter_committing(&held, Rows::default(), &Progress::default(), None).await.unwrap());
    // The lake did not say what became of the commit.
    let error = RunFailure {
        code: "TARGET_UNAVAILABLE".to_owned(),
        message: "no answer".to_owned(),
        node_id: None,
        retryable: true,
    };
    assert!(store.give_back(&held, &error, Duration::ZERO, now).await.unwrap());
    let path = format!("/pipelines/{}/runs/{}", run.pipeline_id, run.id);
    let refused = world.api.post(&format!("{path}/cancel"), &json!({})).await.expect(409).json();
    assert_eq!(refused["code"], "RUN_COMMITTING", "{refused}");
    let over = Time(now.0 + chrono::Duration::hours(1));
    assert!(!store.end_run(&held, Ender::Unheld(over), &End::cancelled(), over).await.unwrap());
    assert_eq!(world.api.get(&path).await.expect(200).json()["status"], "pending");
}

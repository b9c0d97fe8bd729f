//! What is left of a deleted pipeline: how often its purge is sent, and how much of it is done at once.

use super::sent;
use crate::fires::{at, end_all, every_ten_minutes, world_at};
use chrono::Duration;
use serde_json::json;
use shared::clock::Clock;
use shared::launch;
use shared::models::run::{Progress, RowError, Rows, Run, Trigger};
use shared::models::time::{JsonText, Time};
use shared::store::errors::ErrorWriter;
use shared::store::receipts::Reading;
use shared::store::runs::{Claim, End, Ender};
use shared::store::tick::Purged;
use std::time::Instant;
use tests::{World, named};

#[tokio::test]
async fn the_purge_of_a_deleted_pipeline_is_sent_again_less_and_less_often() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    world.api.delete(&format!("/pipelines/{id}")).await.expect(204);
    let ticks = async |minutes: u32| {
        let before = sent(&world).await;
        for _ in 0..minutes {
            clock.advance(Duration::minutes(1));
            world.stack.tick().await.unwrap();
        }
        sent(&world).await - before
    };
    assert_eq!(sent(&world).await, 1);
    assert_eq!(ticks(20).await, 2, "after 1 and 17 minutes");
    // A worker has it now; its message is hidden at times.
    let store = &world.stack.services().store;
    assert!(store.take_purge("acme", &id, clock.now().into()).await.unwrap());
    assert_eq!(ticks(9).await, 0);
    assert_eq!(ticks(1).await, 1, "it was heard of no more");
    let until = Instant::now() + std::time::Duration::from_secs(60);
    assert_eq!(store.purge("acme", &id, until, &|_| Box::pin(async { true })).await.unwrap(), Purged::Done);
    assert!(!store.take_purge("acme", &id, clock.now().into()).await.unwrap());
    assert!(!store.note_purge("acme", &id, clock.now().into()).await.unwrap());
    assert_eq!(ticks(70).await, 0, "nothing is left of it");
}

#[tokio::test]
async fn a_request_stops_so_many_runs_as_it_has_time_for_and_the_purge_all_others() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    let services = world.stack.services();
    let pipeline = services.store.pipeline("acme", &id).await.unwrap();
    // More than a page of them.
    for number in 0..1_010 {
        let run = launch::new_run(&pipeline, format!("run_{number:032x}"), Trigger::Manual, "ada", clock.now().into());
        services.store.create_run(&run, None, None).await.unwrap();
    }
    let live = async || services.store.live_runs("acme", &id).await.unwrap();
    assert_eq!(live().await.len(), 1_010);
    world.api.delete(&format!("/pipelines/{id}")).await.expect(204);
    assert_eq!(sent(&world).await, 1);
    let left = live().await;
    assert_eq!(left.len(), 510);
    let stopped = launch::stop_all(services, "acme", &id, &left).await.unwrap();
    assert_eq!((stopped.cancelled, stopped.committing), (left, Vec::new()));
    assert_eq!(live().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_purge_that_ends_in_time_leaves_the_rest_to_the_next_one() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({"catchUp": "all"})).await;
    clock.advance(Duration::hours(12));
    world.stack.tick().await.unwrap();
    end_all(&world, &id).await;
    world.api.delete(&format!("/pipelines/{id}")).await.expect(204);
    let store = &world.stack.services().store;
    let mut slices = 0;
    loop {
        assert!(store.is_deleted("acme", &id).await.unwrap());
        slices += 1;
        match store.purge("acme", &id, Instant::now(), &|_| Box::pin(async { true })).await.unwrap() {
            Purged::InPart => assert!(slices < 10, "nothing is removed"),
            Purged::Done => break,
            Purged::Waiting(runs) => panic!("{runs} runs are final and waited for"),
        }
    }
    assert!(slices > 1, "it was done at once");
    assert!(!store.is_deleted("acme", &id).await.unwrap());
    let span = (Time(at("2026-01-15T00:00:00Z")), Time(at("2026-01-16T00:00:00Z")));
    assert!(store.fires(("acme", &id), span, 100).await.unwrap().entries.is_empty());
}

#[tokio::test]
async fn what_an_attempt_keeps_after_the_purge_of_its_pipeline_does_not_stay() {
    let world = World::with(|options| options.worker = false).await;
    let store = &world.stack.services().store;
    named::keep_connector(store, "acme", "Files").await;
    named::keep_schema(store, "acme", "people").await;
    let run = named::keep_pipeline_and_run(store, "acme").await;
    let now = Time(Clock::default().now());
    let Claim::Taken(held) = store.claim("acme", &run.pipeline_id, &run.id, "slow", now).await.unwrap() else {
        panic!("nobody else wants it");
    };
    // What an attempt keeps before it asks whether it may commit.
    let keep = async || {
        let (value, error) = (Some("x".to_owned()), "\"x\" is not an integer".to_owned());
        let row = RowError { row: Some(1), column: "age".to_owned(), value, error, node: "node_1".to_owned() };
        let mut writer = ErrorWriter::new(store, &held);
        writer.push(row).await.unwrap();
        writer.flush().await.unwrap();
        let (inputs, nodes) = (JsonText(Vec::new()), JsonText(Vec::new()));
        let reading = Reading { attempt: held.attempt, rows: None, inputs, nodes };
        store.keep_reading(&held, &reading).await.unwrap();
    };
    let kept = async || {
        let run = Run { errors_attempt: Some(held.attempt), ..Run::clone(&held) };
        let (errors, _) = store.run_errors(&run, None, 10).await.unwrap();
        (errors.len(), store.readings(&run).await.unwrap().len())
    };
    keep().await;
    store.remove_late(&held).await.unwrap();
    assert_eq!(kept().await, (1, 1), "the pipeline is there");
    world.api.delete(&format!("/pipelines/{}", run.pipeline_id)).await.expect(204);
    assert!(store.end_run(&held, Ender::Holder, &End::cancelled(), now).await.unwrap());
    let until = Instant::now() + std::time::Duration::from_secs(60);
    let purged = store.purge("acme", &run.pipeline_id, until, &|_| Box::pin(async { true })).await.unwrap();
    assert_eq!((purged, kept().await), (Purged::Done, (0, 0)));
    // The worker was paused all the time, and goes on.
    keep().await;
    assert!(!store.enter_committing(&held, Rows::default(), &Progress::default(), Some(1)).await.unwrap());
    assert_eq!(kept().await, (1, 1), "it came too late for the purge");
    store.remove_late(&held).await.unwrap();
    assert_eq!(kept().await, (0, 0));
}

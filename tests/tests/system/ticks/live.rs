//! Runs that are live when a tick comes: held, committing, or left behind by a worker that died.

use super::{sent, taken};
use crate::fires::{at, every_ten_minutes, past, walked, world_at};
use chrono::Duration;
use serde_json::json;
use shared::clock::Clock;
use shared::models::run::{Progress, Rows, RunStatus};
use shared::models::time::Time;
use shared::store::keys;
use shared::store::runs::{Beat, End, Ender};

#[tokio::test]
async fn a_run_whose_worker_died_is_live_under_forbid_until_another_one_has_ended_it() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({"concurrencyPolicy": "forbid"})).await;
    world.api.run(&id, json!({})).await;
    taken(&world, &id).await;
    let before = sent(&world).await;
    clock.advance(Duration::minutes(6));
    world.stack.tick().await.unwrap();
    assert_eq!(past(&world, &id).await, ["09:10 skipped runActive"]);
    assert_eq!(sent(&world).await, before + 1, "it is sent again in the same tick");
    let again = taken(&world, &id).await;
    assert_eq!(again.attempt, 2);
    let store = &world.stack.services().store;
    assert!(store.end_run(&again, Ender::Holder, &End::cancelled(), clock.now().into()).await.unwrap());
    clock.advance(Duration::minutes(10));
    world.stack.tick().await.unwrap();
    assert_eq!(past(&world, &id).await[1..], ["09:20 fired"]);
}

#[tokio::test]
async fn replace_starts_a_run_beside_one_that_is_committing_and_says_so() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({"concurrencyPolicy": "replace"})).await;
    world.api.run(&id, json!({})).await;
    clock.advance(Duration::minutes(5));
    let store = &world.stack.services().store;
    let run = taken(&world, &id).await;
    assert!(store.enter_committing(&run, Rows::default(), &Progress::default(), None).await.unwrap());
    world.stack.tick().await.unwrap();
    let entries = walked(&world, &id, "from=2026-01-15T09:10:00Z&to=2026-01-15T09:10:00Z", 20).await;
    let told = format!("{} was committing, which nobody cancels, and ends beside it", run.id);
    assert_eq!((&entries[0]["status"], &entries[0]["detail"]), (&json!("fired"), &json!(told)));
    let old = store.run("acme", &id, &run.id).await.unwrap();
    assert_eq!((old.status, old.cancel_requested), (RunStatus::Running, false));
    assert_eq!(store.live_runs("acme", &id).await.unwrap().len(), 2);
    // The next one stops that one, and still not the one that is committing.
    clock.advance(Duration::minutes(10));
    world.stack.tick().await.unwrap();
    let next = walked(&world, &id, "from=2026-01-15T09:20:00Z&to=2026-01-15T09:20:00Z", 20).await;
    let detail = next[0]["detail"].as_str().unwrap();
    assert_eq!(detail, format!("{} was cancelled for it; {told}", entries[0]["runId"].as_str().unwrap()));
}

#[tokio::test]
async fn a_heartbeat_is_not_overwritten_by_a_tick_that_has_found_the_lease_over() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    world.api.run(&id, json!({})).await;
    let store = &world.stack.services().store;
    let run = taken(&world, &id).await;
    clock.advance(Duration::seconds(25));
    let now = Time(clock.now());
    // The worker was paused, and goes on after the tick has read the run.
    let seen = store.run("acme", &id, &run.id).await.unwrap();
    let beat = store.heartbeat(&run, &Progress::default(), now).await.unwrap();
    assert_eq!(beat, Beat::Held { cancel: false });
    assert!(!store.note_resend(&seen, now).await.unwrap());
    let due = async |seconds| {
        let shard = keys::shard("acme", &id, store.shards());
        let found = store.overdue_runs(shard, Time(now.0 + Duration::seconds(seconds)), None).await.unwrap();
        found.items.len()
    };
    assert_eq!((due(19).await, due(21).await), (0, 1), "it is looked after when the new lease is over");
    let seen = store.run("acme", &id, &run.id).await.unwrap();
    assert!(store.note_resend(&seen, now).await.unwrap(), "where the worker was heard of no more");
}

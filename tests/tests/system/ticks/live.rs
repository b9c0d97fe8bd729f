//! Runs that are live when a tick comes: held, committing, or left behind by a worker that died, with another one or without.

use super::{sent, taken};
use crate::fires::{at, every_ten_minutes, past, walked, world_at};
use crate::watched::Watched;
use chrono::Duration;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::models::run::{Progress, Rows, Run, RunStatus};
use shared::models::time::Time;
use shared::store::keys;
use shared::store::runs::{Beat, Claim, End, Ender};
use tests::World;

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

/// A pipeline of these settings, and a run of it that a worker takes at 09:05 and does not end.
async fn held(settings: Value) -> (Clock, World, String, Run) {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, settings).await;
    world.api.run(&id, json!({})).await;
    let held = taken(&world, &id).await;
    (clock, world, id, held)
}

/// Ticks each minute for so long, and answers the run as it is then.
async fn after(world: &World, clock: &Clock, minutes: u32, run: &Run) -> Run {
    for _ in 0..minutes {
        clock.advance(Duration::minutes(1));
        world.stack.tick().await.unwrap();
    }
    world.stack.services().store.run("acme", &run.pipeline_id, &run.id).await.unwrap()
}

async fn cancel(world: &World, run: &Run) -> Value {
    let path = format!("/pipelines/{}/runs/{}/cancel", run.pipeline_id, run.id);
    world.api.post(&path, &json!({})).await.expect(202).json()["status"].clone()
}

#[tokio::test]
async fn a_run_that_takes_too_long_fails_although_its_worker_died_and_no_other_one_comes() {
    let (clock, world, id, held) = held(json!({"concurrencyPolicy": "forbid", "timeoutSeconds": 480})).await;
    let schema = world.api.get(&format!("/pipelines/{id}")).await.expect(200).json()["schemaId"].clone();
    let folder = world.lake().join(schema.as_str().unwrap()).join(&held.id).join("0123");
    std::fs::create_dir_all(&folder).unwrap();
    let staged = folder.join("part-0.parquet");
    std::fs::write(&staged, "rows").unwrap();
    // It is too late at 09:13, and by no clock that is five minutes behind before 09:18.
    assert_eq!(after(&world, &clock, 12, &held).await.status, RunStatus::Running);
    let before = sent(&world).await;
    let ended = after(&world, &clock, 1, &held).await;
    assert_eq!((ended.status, ended.finished_at), (RunStatus::Failed, Some(Time(clock.now()))));
    let error = ended.error.unwrap().0;
    assert_eq!((error.code.as_str(), error.retryable), ("TIMEOUT", false));
    assert!(error.message.contains("480 s") && error.message.contains("timeoutSeconds"), "{}", error.message);
    assert_eq!(sent(&world).await, before + 1, "for the next worker, which removes what was staged");
    // The worker was only paused.
    let store = &world.stack.services().store;
    let now = Time(clock.now());
    assert_eq!(store.heartbeat(&held, &Progress::default(), now).await.unwrap(), Beat::Lost);
    assert!(!store.enter_committing(&held, Rows::default(), &Progress::default(), None).await.unwrap());
    assert!(!store.end_run(&held, Ender::Holder, &End::of(RunStatus::Completed), now).await.unwrap());
    // The schedule goes on.
    after(&world, &clock, 2, &held).await;
    assert_eq!(past(&world, &id).await, ["09:10 skipped runActive", "09:20 fired"]);
    let mut watched = Watched::of(&world, None).await;
    watched.work(&world, "what was staged is removed", async || !staged.exists()).await;
}

#[tokio::test]
async fn a_run_that_is_cancelled_when_its_worker_has_died_is_cancelled_although_no_other_one_comes() {
    let (clock, world, id, held) = held(json!({})).await;
    // It was sent again at once, and would be looked after a quarter of an hour later.
    assert_eq!(after(&world, &clock, 2, &held).await.resends, 1);
    assert_eq!(cancel(&world, &held).await, "running");
    assert_eq!(after(&world, &clock, 3, &held).await.status, RunStatus::Running, "its lease was over at 09:05:20");
    let ended = after(&world, &clock, 1, &held).await;
    assert_eq!((ended.status, ended.error), (RunStatus::Cancelled, None));
    assert!(world.stack.services().store.live_runs("acme", &id).await.unwrap().iter().all(|live| *live != held.id));
}

#[tokio::test]
async fn a_run_that_waits_for_its_next_attempt_fails_when_its_time_is_over_and_one_that_nobody_took_waits_on() {
    let (clock, world, id, held) = held(json!({"timeoutSeconds": 60})).await;
    let store = &world.stack.services().store;
    let delay = std::time::Duration::from_secs(900);
    assert!(store.give_back(&held, &held.given_too_often(), delay, Time(clock.now())).await.unwrap());
    let waiting = world.api.run(&id, json!({})).await;
    // It would be sent again at 09:35.
    assert_eq!(after(&world, &clock, 14, &held).await.status, RunStatus::Pending);
    let ended = after(&world, &clock, 1, &held).await;
    assert_eq!((ended.status, ended.error.unwrap().0.code), (RunStatus::Failed, "TIMEOUT".to_owned()));
    assert_eq!(store.run("acme", &id, &waiting).await.unwrap().status, RunStatus::Pending);
}

#[tokio::test]
async fn a_run_that_is_committing_is_left_to_a_worker_however_late_it_is() {
    let (clock, world, _, held) = held(json!({"timeoutSeconds": 60})).await;
    let store = &world.stack.services().store;
    assert!(store.enter_committing(&held, Rows::default(), &Progress::default(), None).await.unwrap());
    let later = after(&world, &clock, 20, &held).await;
    assert_eq!((later.status, later.resends), (RunStatus::Running, 2), "it is sent again, and again");
}

#[tokio::test]
async fn no_run_is_taken_from_a_worker_whose_clock_is_some_minutes_behind() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    let run = world.api.run(&id, json!({})).await;
    clock.advance(Duration::minutes(10));
    let store = &world.stack.services().store;
    let behind = || Time(clock.now() - Duration::minutes(4));
    let Claim::Taken(held) = store.claim("acme", &id, &run, "behind", behind()).await.unwrap() else {
        panic!("nobody else wants it");
    };
    cancel(&world, &held).await;
    for _ in 0..4 {
        assert_eq!(after(&world, &clock, 1, &held).await.status, RunStatus::Running);
        let beat = store.heartbeat(&held, &Progress::default(), behind()).await.unwrap();
        assert_eq!(beat, Beat::Held { cancel: true });
    }
    assert_eq!(after(&world, &clock, 2, &held).await.status, RunStatus::Cancelled, "it is heard of no more");
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

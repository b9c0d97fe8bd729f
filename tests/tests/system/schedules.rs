//! Schedules: previews, fires, and runs that got stuck.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use shared::clock::Clock;
use tests::World;

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

async fn scheduled(world: &World, config: Value) -> String {
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("s", json!([{"name": "a", "dataType": "text"}])).await;
    let body = json!({"name": "p", "connectorId": connector, "schemaId": schema, "schedule": "*/10 * * * *", "executionConfig": config});
    world.api.create("/pipelines", &body).await
}

async fn fires(world: &World, id: &str) -> Vec<String> {
    let runs = world.api.get(&format!("/pipelines/{id}/runs?limit=100")).await.expect(200).json();
    let mut all: Vec<String> =
        runs["data"].as_array().unwrap().iter().map(|r| r["scheduledFor"].as_str().unwrap().to_owned()).collect();
    all.sort();
    all
}

async fn world_at(clock: &Clock) -> World {
    let clock = clock.clone();
    World::with(move |o| {
        o.worker = false;
        o.clock = clock;
    })
    .await
}

#[tokio::test]
async fn a_preview_keeps_to_posix_and_to_the_zone() {
    let world = World::with(|o| o.clock = Clock::fixed(at("2026-03-28T12:00:00Z"))).await;
    let preview = |body: Value| {
        let api = world.api.clone();
        async move { api.post("/schedules/preview", &body).await }
    };
    let berlin = preview(json!({"schedule": "30 2 * * *", "timezone": "Europe/Berlin", "count": 3})).await.expect(200);
    // 02:30 does not exist on the 29th: it fires at the first instant after the gap, 03:00 summer time.
    assert_eq!(
        berlin.json()["fires"],
        json!(["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z", "2026-03-31T00:30:00.000Z"])
    );
    let either = preview(json!({"schedule": "0 0 1 * MON", "count": 3})).await.expect(200);
    assert_eq!(
        either.json()["fires"],
        json!(["2026-03-30T00:00:00.000Z", "2026-04-01T00:00:00.000Z", "2026-04-06T00:00:00.000Z"])
    );
    for bad in ["* * * *", "5-1 * * * *", "*/0 * * * *", "0 0 31 2 *", "0 0 * * FUN", "60 * * * *"] {
        assert_eq!(preview(json!({"schedule": bad})).await.expect(400).pointers(), ["/schedule"], "{bad}");
    }
}

#[tokio::test]
async fn a_due_time_fires_once_however_often_the_tick_comes() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock).await;
    let id = scheduled(&world, json!({})).await;
    world.stack.tick().await.unwrap();
    assert!(fires(&world, &id).await.is_empty());
    clock.advance(Duration::minutes(5));
    for _ in 0..3 {
        world.stack.tick().await.unwrap();
    }
    assert_eq!(fires(&world, &id).await, ["2026-01-15T09:10:00.000Z"]);
    let read = world.api.get(&format!("/pipelines/{id}")).await.json();
    assert_eq!(read["nextRunAt"], "2026-01-15T09:20:00.000Z");
    world.api.put(&format!("/pipelines/{id}"), &json!({"enabled": false})).await.expect(200);
    clock.advance(Duration::hours(1));
    world.stack.tick().await.unwrap();
    assert_eq!(fires(&world, &id).await.len(), 1);
}

#[tokio::test]
async fn missed_fires_are_made_up_for_as_the_pipeline_says() {
    for (catch_up, wanted) in [("none", 0), ("latest", 1), ("all", 6)] {
        let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
        let world = world_at(&clock).await;
        let id = scheduled(&world, json!({"catchUp": catch_up})).await;
        clock.advance(Duration::minutes(63));
        world.stack.tick().await.unwrap();
        world.stack.tick().await.unwrap();
        assert_eq!(fires(&world, &id).await.len(), wanted, "{catch_up}");
    }
}

#[tokio::test]
async fn a_run_that_no_worker_took_is_sent_again_with_a_growing_delay() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock).await;
    let id = scheduled(&world, json!({})).await;
    let run = world.api.run(&id, json!({})).await;
    let mut sent_at = Vec::new();
    for minute in 1..=50 {
        clock.advance(Duration::minutes(1));
        world.stack.tick().await.unwrap();
        let resends = world.stack.services().store.run("acme", &id, &run).await.unwrap().resends;
        if resends as usize > sent_at.len() {
            sent_at.push(minute);
        }
    }
    assert_eq!(sent_at, [1, 17, 49]);
}

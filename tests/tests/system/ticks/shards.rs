//! Shards that hold more than a page, more than a tick's time, or what an earlier deployment has left in them.

use super::{assert_each_fired_once, parts_of, tick, twenty};
use crate::fires::{at, past, world_at};
use aws_sdk_dynamodb::Client;
use chrono::Duration;
use serde_json::json;
use shared::aws::local_config;
use shared::clock::Clock;
use shared::context::Services;
use shared::store::Store;

#[tokio::test]
async fn all_pages_of_what_is_due_are_fired_in_one_tick() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let ids = twenty(&world).await;
    clock.advance(Duration::minutes(6));
    let parts = parts_of(&world);
    let store = parts.store.clone().with_due_pages(1);
    tick(Services { store, ..parts }).await;
    assert_each_fired_once(&world, &ids).await;
}

#[tokio::test]
async fn a_tick_whose_time_is_over_leaves_the_rest_to_the_next_one() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let ids = twenty(&world).await;
    clock.advance(Duration::minutes(5));
    let services = world.stack.services();
    for shard in 0..services.store.shards() {
        on_schedule::work(services, shard, std::time::Duration::ZERO).await.unwrap();
    }
    for id in &ids {
        assert_eq!(past(&world, id).await, ["09:10 due"]);
    }
    clock.advance(Duration::seconds(60));
    world.stack.tick().await.unwrap();
    assert_each_fired_once(&world, &ids).await;
}

#[tokio::test]
async fn a_shard_of_an_earlier_deployment_is_still_asked_for_what_is_due() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let ids = twenty(&world).await;
    world.stack.tick().await.unwrap();
    clock.advance(Duration::minutes(6));
    let of = |shards: u32| {
        let parts = parts_of(&world);
        let table = Client::new(&local_config(&world.stack.table_endpoint()));
        let store = Store::new(table, &parts.config.table, shards);
        Services { store, ..parts }
    };
    assert_eq!(tick(of(2)).await, json!({"shards": 8}));
    assert_each_fired_once(&world, &ids).await;
    assert_eq!(tick(of(12)).await, json!({"shards": 12}));
    assert_eq!(tick(of(3)).await, json!({"shards": 12}));
}

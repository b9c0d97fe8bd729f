//! What is left of a deleted pipeline: how often its purge is sent, and how much of it is done at once.

use super::sent;
use crate::fires::{at, end_all, every_ten_minutes, world_at};
use chrono::Duration;
use serde_json::json;
use shared::clock::Clock;
use shared::models::time::Time;
use shared::store::tick::Purged;
use std::time::Instant;

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

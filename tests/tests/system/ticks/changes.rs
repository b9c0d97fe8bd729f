//! A pipeline that is changed or deleted while a tick decides on it.

use crate::fires::{at, every_ten_minutes, fire_from, past, world_at};
use aws_sdk_dynamodb::Client;
use chrono::Duration;
use serde_json::json;
use shared::aws::local_config;
use shared::clock::Clock;
use shared::fires::{self, Decision};
use shared::launch;
use shared::models::pipeline::{Pipeline, PipelineState};
use shared::models::run::{Run, Trigger};
use shared::models::time::Time;
use shared::store::fires::{Fired, Step};
use shared::store::keys;
use tests::World;

/// What a tick reads of a pipeline before it decides.
struct Seen {
    pipeline: Pipeline,
    state: PipelineState,
    now: Time,
}

impl Seen {
    async fn of(world: &World, id: &str, now: &str) -> Self {
        let store = &world.stack.services().store;
        let state = store.pipeline_state("acme", id).await.unwrap();
        Self { pipeline: store.pipeline("acme", id).await.unwrap(), state, now: Time(at(now)) }
    }

    fn decision(&self) -> Decision {
        fires::decide(&self.pipeline, &fires::timetable(&self.pipeline).unwrap(), &self.state, self.now, &[])
    }

    fn run(&self) -> Run {
        let due = self.state.next_run_at.unwrap();
        let id = shared::id::scheduled_run("acme", &self.pipeline.id, due.0);
        let mut run = launch::new_run(&self.pipeline, id, Trigger::Schedule, "schedule", self.now);
        run.scheduled_for = Some(due);
        run
    }

    /// Writes what is decided by what was seen.
    async fn write(&self, world: &World) -> Fired {
        let (decision, runs) = (self.decision(), [self.run()]);
        let step = Step { next: decision.next, entries: &decision.entries, runs: &runs, alone: false };
        world.stack.services().store.fire("acme", &self.pipeline.id, &self.state, step).await.unwrap()
    }
}

#[tokio::test]
async fn a_tick_that_has_read_an_older_definition_writes_nothing() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    let path = format!("/pipelines/{id}");
    for change in [
        json!({"schedule": "*/5 * * * *"}),
        json!({"executionConfig": {"concurrencyPolicy": "forbid"}}),
        json!({"schedule": "*/10 * * * *", "executionConfig": {}}),
    ] {
        clock.advance(Duration::milliseconds(295_000));
        let due = world.stack.services().store.pipeline_state("acme", &id).await.unwrap().next_run_at.unwrap();
        let seen = Seen::of(&world, &id, &Time(due.0 + Duration::seconds(1)).text()).await;
        // The change leaves the next fire where it is.
        let changed = world.api.put(&path, &change).await.expect(200).json();
        assert_eq!(changed["nextRunAt"], due.text(), "{change}");
        assert_eq!(seen.write(&world).await, Fired::Before, "{change}");
        clock.advance(Duration::seconds(5) + Duration::milliseconds(1));
        world.stack.tick().await.unwrap();
        clock.advance(Duration::milliseconds(-1));
    }
    clock.advance(Duration::minutes(5));
    world.stack.tick().await.unwrap();
    assert_eq!(past(&world, &id).await, ["09:10 fired", "09:15 skipped runActive", "09:20 fired"]);
}

#[tokio::test]
async fn a_pipeline_whose_state_names_no_version_fires_and_changes_as_before() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    let key = keys::state("acme", &id);
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let client = Client::new(&local_config(&world.stack.table_endpoint()));
    let update = client.update_item().table_name(&world.stack.services().config.table);
    let update = update.key("PK", text(&key.pk)).key("SK", text(&key.sk)).update_expression("REMOVE pipelineVersion");
    update.send().await.unwrap();
    clock.advance(Duration::minutes(6));
    let seen = Seen::of(&world, &id, "2026-01-15T09:20:01Z").await;
    assert_eq!(seen.state.pipeline_version, None);
    world.stack.tick().await.unwrap();
    let seen = Seen::of(&world, &id, "2026-01-15T09:20:01Z").await;
    world.api.put(&format!("/pipelines/{id}"), &json!({"name": "renamed"})).await.expect(200);
    assert_eq!(seen.write(&world).await, Fired::Before);
    clock.advance(Duration::minutes(10));
    world.stack.tick().await.unwrap();
    assert_eq!(past(&world, &id).await, ["09:10 fired", "09:20 fired"]);
}

#[tokio::test]
async fn a_tick_that_has_read_a_pipeline_before_it_was_deleted_writes_nothing() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    let seen = Seen::of(&world, &id, "2026-01-15T09:10:01Z").await;
    clock.advance(Duration::minutes(6));
    world.api.delete(&format!("/pipelines/{id}")).await.expect(204);
    assert_eq!(seen.write(&world).await, Fired::Before);
    let services = world.stack.services();
    assert!(!fire_from(services, &id, &seen.state, seen.now).await);
    world.stack.tick().await.unwrap();
    assert!(services.store.live_runs("acme", &id).await.unwrap().is_empty());
    let span = (Time(at("2026-01-15T00:00:00Z")), Time(at("2026-01-16T00:00:00Z")));
    assert!(services.store.fires(("acme", &id), span, 100).await.unwrap().entries.is_empty());
    assert_eq!(services.store.pipeline_state("acme", &id).await.unwrap(), PipelineState::default());
}

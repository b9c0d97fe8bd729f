//! The ledger of fires: what became of each due time, as the API tells it, also after random ticks on the real table.

use super::oracle::{Random, ZONES, around_a_change, expression, first_seed, walk};
use super::wait;
use chrono::{DateTime, Duration, Utc};
use on_schedule::Outbox;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::context::Services;
use shared::launch;
use shared::models::fire::FireReason;
use shared::models::pipeline::PipelineState;
use shared::models::run::Trigger;
use shared::models::time::Time;
use shared::store::fires::{Fired, Step};
use shared::store::keys;
use shared::store::runs::{End, Ender};
use std::collections::BTreeSet;
use tests::World;

pub fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

pub async fn world_at(clock: &Clock, worker: bool) -> World {
    let clock = clock.clone();
    World::with(move |o| {
        o.worker = worker;
        o.clock = clock;
    })
    .await
}

/// Makes pipelines with these schedules, zones and execution configs.
pub async fn scheduled(world: &World, all: &[(&str, &str, Value)]) -> Vec<String> {
    let connector = world.connector("c", "nothing.csv").await;
    let schema = world.schema("s", json!([{"name": "a", "dataType": "text"}])).await;
    let mut ids = Vec::new();
    for (schedule, timezone, config) in all {
        let body = json!({"name": "p", "connectorId": connector, "schemaId": schema, "schedule": schedule,
                          "timezone": timezone, "executionConfig": config});
        ids.push(world.api.create("/pipelines", &body).await);
    }
    ids
}

pub async fn every_ten_minutes(world: &World, config: Value) -> String {
    scheduled(world, &[("*/10 * * * *", "UTC", config)]).await.remove(0)
}

/// All entries, walked by pages of `limit`.
pub async fn walked(world: &World, id: &str, query: &str, limit: u32) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/pipelines/{id}/fires?limit={limit}&{query}{cursor}");
        let page = world.api.get(&path).await.expect(200).json();
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= limit as usize);
        all.extend(data.iter().cloned());
        match page["pagination"]["cursor"].as_str() {
            None => return all,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
}

/// `09:10 fired`, or `09:00-09:20 3 missed`, with the reason where there is one.
fn told(entries: &[Value]) -> Vec<String> {
    let clock = |value: &Value| value.as_str().unwrap()[11..16].to_owned();
    entries
        .iter()
        .map(|e| {
            let until =
                if e["until"].is_null() { String::new() } else { format!("-{} {}", clock(&e["until"]), e["count"]) };
            let reason = e["reason"].as_str().map(|r| format!(" {r}")).unwrap_or_default();
            format!("{}{until} {}{reason}", clock(&e["at"]), e["status"].as_str().unwrap())
        })
        .collect()
}

pub async fn past(world: &World, id: &str) -> Vec<String> {
    let all = walked(world, id, "from=2026-01-15T00:00:00Z", 20).await;
    told(&all).into_iter().filter(|line| !line.ends_with("coming")).collect()
}

pub async fn end_all(world: &World, id: &str) {
    let store = &world.stack.services().store;
    for run in store.live_runs("acme", id).await.unwrap() {
        let run = store.run("acme", id, &run).await.unwrap();
        assert!(store.end_run(&run, Ender::WhilePending, &End::cancelled(), run.created_at).await.unwrap());
    }
}

#[tokio::test]
async fn the_ledger_tells_what_became_of_each_due_time_and_what_is_coming() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    for minutes in [5, 64, 1] {
        clock.advance(Duration::minutes(minutes));
        world.stack.tick().await.unwrap();
    }
    let path = format!("/pipelines/{id}/fires?to=2026-01-15T10:40:00Z&includeTotal=true");
    let page = world.api.get(&path).await.expect(200).json();
    let entries = page["data"].as_array().unwrap().clone();
    assert_eq!(
        told(&entries),
        [
            "09:10 fired",
            "09:20-10:00 5 missed catchUp",
            "10:10 caughtUp",
            "10:20 coming",
            "10:30 coming",
            "10:40 coming"
        ]
    );
    assert_eq!(page["pagination"]["total"], 6);
    assert_eq!(entries[0]["decidedAt"], "2026-01-15T09:10:00.000Z");
    assert!(entries[1]["detail"].as_str().unwrap().contains("2026-01-15T10:14:00.000Z"), "{:#}", entries[1]);
    let runs = world.api.get(&format!("/pipelines/{id}/runs")).await.expect(200).json();
    let run = |i: usize| (runs["data"][i]["id"].clone(), runs["data"][i]["scheduledFor"].clone());
    assert_eq!(run(1), (entries[0]["runId"].clone(), entries[0]["at"].clone()));
    assert_eq!(run(0), (entries[2]["runId"].clone(), entries[2]["at"].clone()));
    // A range that reaches into what is asked for is told; its time is not yet that of the next tick.
    let inside = walked(&world, &id, "from=2026-01-15T09:45:00Z&to=2026-01-15T10:05:00Z", 20).await;
    assert_eq!(told(&inside), ["09:20-10:00 5 missed catchUp"]);
    clock.advance(Duration::minutes(6));
    let due = walked(&world, &id, "from=2026-01-15T10:15:00Z&to=2026-01-15T10:30:00Z", 20).await;
    assert_eq!(told(&due), ["10:20 due", "10:30 coming"]);
}

#[tokio::test]
async fn a_range_that_cannot_be_is_a_fault_at_its_parameter() {
    let world = World::with(|o| o.worker = false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    let faults = |query: &str| {
        let (api, path) = (world.api.clone(), format!("/pipelines/{id}/fires?{query}"));
        async move { api.get(&path).await.expect(400).pointers() }
    };
    assert_eq!(faults("from=noon&to=2026-01-15").await, ["?from", "?to"]);
    assert_eq!(faults("from=2026-01-15T09:00:00Z&to=2026-01-15T08:00:00Z").await, ["?to"]);
    assert_eq!(faults("limit=101").await, ["?limit"]);
    let first = world.api.get(&format!("/pipelines/{id}/fires?limit=1")).await.expect(200).json();
    let cursor = first["pagination"]["cursor"].as_str().unwrap();
    assert_eq!(faults(&format!("limit=1&from=2026-01-15T09:00:00Z&cursor={cursor}")).await, ["?cursor"]);
    world.api.get("/pipelines/pipe_0/fires").await.expect(404);
}

#[tokio::test]
async fn a_walk_goes_on_where_a_tick_has_decided_in_between() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({"catchUp": "all"})).await;
    clock.advance(Duration::minutes(30));
    let query = format!("/pipelines/{id}/fires?from=2026-01-15T09:00:00Z&to=2026-01-15T10:00:00Z&limit=2");
    let first = world.api.get(&query).await.expect(200).json();
    assert_eq!(told(first["data"].as_array().unwrap()), ["09:10 due", "09:20 due"]);
    world.stack.tick().await.unwrap();
    let cursor = first["pagination"]["cursor"].as_str().unwrap();
    let second = world.api.get(&format!("{query}&cursor={cursor}")).await.expect(200).json();
    assert_eq!(told(second["data"].as_array().unwrap()), ["09:30 caughtUp", "09:40 coming"]);
}

#[tokio::test]
async fn forbid_skips_while_a_run_is_live_and_says_which() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({"concurrencyPolicy": "forbid"})).await;
    for _ in 0..3 {
        clock.advance(Duration::minutes(5));
        world.stack.tick().await.unwrap();
        clock.advance(Duration::minutes(5));
    }
    assert_eq!(past(&world, &id).await, ["09:10 fired", "09:20 skipped runActive", "09:30 skipped runActive"]);
    let entries = walked(&world, &id, "from=2026-01-15T09:00:00Z", 20).await;
    assert!(entries[1]["detail"].as_str().unwrap().starts_with(entries[0]["runId"].as_str().unwrap()));
    end_all(&world, &id).await;
    clock.advance(Duration::minutes(5));
    world.stack.tick().await.unwrap();
    assert_eq!(past(&world, &id).await[3..], ["09:40 fired"]);
}

#[tokio::test]
async fn replace_stops_what_is_live_and_starts_the_newest() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let config = json!({"concurrencyPolicy": "replace", "catchUp": "all"});
    let id = every_ten_minutes(&world, config).await;
    let manual = world.api.run(&id, json!({})).await;
    clock.advance(Duration::minutes(25));
    // Both ticks decide at once; only one of them may stop and start anything.
    let (one, two) = tokio::join!(world.stack.tick(), world.stack.tick());
    one.unwrap();
    two.unwrap();
    assert_eq!(past(&world, &id).await, ["09:10-09:20 2 skipped laterFire", "09:30 fired"]);
    let entries = walked(&world, &id, "from=2026-01-15T09:25:00Z", 20).await;
    assert!(entries[0]["detail"].as_str().unwrap().starts_with(&manual), "{:#}", entries[0]);
    let live = world.stack.services().store.live_runs("acme", &id).await.unwrap();
    assert_eq!(json!(live), json!([entries[0]["runId"]]), "the run that was started is live, and no other");
}

/// A tick that has read this state; false where something came in between.
pub async fn fire_from(services: &Services, id: &str, state: &PipelineState, now: Time) -> bool {
    let fire = |outbox| async move { on_schedule::fire_from(services, &outbox, ("acme", id), state, now).await };
    Outbox::around(&services.queue, fire).await.unwrap()
}

#[tokio::test]
async fn a_tick_that_was_overtaken_stops_nothing_and_starts_nothing() {
    for policy in ["allow", "forbid", "replace"] {
        let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
        let world = world_at(&clock, false).await;
        let id = every_ten_minutes(&world, json!({"concurrencyPolicy": policy})).await;
        let (services, now) = (world.stack.services(), Time(at("2026-01-15T09:10:01Z")));
        clock.advance(Duration::minutes(6));
        // It has read the state; then another tick comes to its end.
        let state = services.store.pipeline_state("acme", &id).await.unwrap();
        world.stack.tick().await.unwrap();
        let live = services.store.live_runs("acme", &id).await.unwrap();
        assert_eq!(live.len(), 1, "{policy}");
        assert!(!fire_from(services, &id, &state, now).await, "{policy}");
        assert_eq!(services.store.live_runs("acme", &id).await.unwrap(), live, "{policy}");
        assert_eq!(past(&world, &id).await, ["09:10 fired"], "{policy}");
    }
}

#[tokio::test]
async fn a_run_that_must_be_alone_and_a_fire_that_must_be_meet() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({"concurrencyPolicy": "forbid"})).await;
    let store = &world.stack.services().store;
    let state = store.pipeline_state("acme", &id).await.unwrap();
    // Between what a tick read and what it writes, somebody starts a run by hand.
    world.api.run(&id, json!({})).await;
    let pipeline = store.pipeline("acme", &id).await.unwrap();
    let mut run = launch::new_run(&pipeline, "run_late".to_owned(), Trigger::Schedule, "schedule", Time(clock.now()));
    run.scheduled_for = state.next_run_at;
    let step = Step { next: None, entries: &[], runs: &[run], alone: true };
    assert_eq!(store.fire("acme", &id, &state, step).await.unwrap(), Fired::Before);
    assert_eq!(store.live_runs("acme", &id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_came_while_a_pipeline_was_paused_never_fires_and_a_change_counts_at_once() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({"catchUp": "all"})).await;
    let path = format!("/pipelines/{id}");
    let put = async |body: Value| world.api.put(&path, &body).await.expect(200).json()["nextRunAt"].clone();
    clock.advance(Duration::minutes(16));
    // 09:10 and 09:20 are due, and no tick has come: a new name leaves them alone, a pause passes them.
    assert_eq!(put(json!({"name": "renamed"})).await, "2026-01-15T09:10:00.000Z");
    assert_eq!(put(json!({"enabled": false})).await, Value::Null);
    clock.advance(Duration::hours(1));
    world.stack.tick().await.unwrap();
    assert_eq!(put(json!({"enabled": true})).await, "2026-01-15T10:30:00.000Z");
    world.stack.tick().await.unwrap();
    assert_eq!(past(&world, &id).await, ["09:10-09:20 2 missed paused"]);
    clock.advance(Duration::minutes(10));
    assert_eq!(put(json!({"schedule": "0 12 * * *", "timezone": "Europe/Berlin"})).await, "2026-01-15T11:00:00.000Z");
    assert_eq!(past(&world, &id).await, ["09:10-09:20 2 missed paused", "10:30 missed changed"]);
    clock.advance(Duration::minutes(29));
    world.stack.tick().await.unwrap();
    assert_eq!(past(&world, &id).await[2..], ["11:00 fired"]);
    // A clock that goes back, and a change by it, repeat nothing.
    clock.advance(Duration::minutes(-40));
    world.stack.tick().await.unwrap();
    assert_eq!(put(json!({"schedule": "*/20 * * * *"})).await, "2026-01-15T11:20:00.000Z");
    assert_eq!(past(&world, &id).await[2..], ["11:00 fired"]);
}

#[tokio::test]
async fn a_schedule_that_was_given_up_fires_again_once_its_pipeline_is_saved() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    // As a tick of an older version does, which does not know the zone.
    let store = &world.stack.services().store;
    let state = store.pipeline_state("acme", &id).await.unwrap();
    clock.advance(Duration::minutes(6));
    let (first, why) = (state.next_run_at.unwrap(), "the zone is not known".to_owned());
    let given_up = shared::fires::give_up(first, FireReason::Invalid, why, Time(clock.now()));
    let step = Step { next: given_up.next, entries: &given_up.entries, runs: &[], alone: false };
    assert_eq!(store.fire("acme", &id, &state, step).await.unwrap(), Fired::Now);
    let path = format!("/pipelines/{id}");
    assert_eq!(world.api.get(&path).await.expect(200).json()["nextRunAt"], Value::Null);
    let same = json!({"schedule": "*/10 * * * *", "timezone": "UTC", "enabled": true});
    assert_eq!(world.api.put(&path, &same).await.expect(200).json()["nextRunAt"], "2026-01-15T09:20:00.000Z");
    clock.advance(Duration::minutes(10));
    world.stack.tick().await.unwrap();
    assert_eq!(past(&world, &id).await, ["09:10 missed invalid", "09:20 fired"]);
}

#[tokio::test]
async fn what_is_due_without_a_definition_is_due_no_more() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    let client = aws_sdk_dynamodb::Client::new(&shared::aws::local_config(&world.stack.table_endpoint()));
    let key = keys::resource("acme", keys::Kind::Pipeline, &id);
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let delete = client.delete_item().table_name(&world.stack.services().config.table);
    delete.key("PK", text(&key.pk)).key("SK", text(&key.sk)).send().await.unwrap();
    clock.advance(Duration::minutes(6));
    world.stack.tick().await.unwrap();
    let store = &world.stack.services().store;
    assert_eq!(store.pipeline_state("acme", &id).await.unwrap().next_run_at, None);
    assert!(store.live_runs("acme", &id).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_ledger_of_a_deleted_pipeline_is_purged() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, true).await;
    let id = every_ten_minutes(&world, json!({"catchUp": "all"})).await;
    clock.advance(Duration::minutes(30));
    world.stack.tick().await.unwrap();
    let store = world.stack.services().store.clone();
    let span = (Time(at("2026-01-15T00:00:00Z")), Time(at("2026-01-16T00:00:00Z")));
    assert_eq!(store.fires(("acme", &id), span, 100).await.unwrap().entries.len(), 3);
    world.api.delete(&format!("/pipelines/{id}")).await.expect(204);
    world.api.get(&format!("/pipelines/{id}/fires")).await.expect(404);
    wait("the purge", async || store.fires(("acme", &id), span, 100).await.unwrap().entries.is_empty()).await;
}

/// A tick, sometimes two at once, sometimes by a clock that went back.
async fn some_tick(world: &World, clock: &Clock, random: &mut Random) {
    match random.below(6) {
        0 => {
            let (one, two) = tokio::join!(world.stack.tick(), world.stack.tick());
            one.unwrap();
            two.unwrap();
        }
        1 => {
            let back = Duration::seconds(random.below(7200));
            clock.advance(-back);
            world.stack.tick().await.unwrap();
            clock.advance(back);
        }
        _ => world.stack.tick().await.unwrap(),
    }
}

#[tokio::test]
async fn random_ticks_on_the_real_table_put_every_due_time_into_the_ledger_once() {
    let seed = first_seed();
    println!("FLOWGATE_SEED={seed}");
    let mut random = Random(seed);
    let zone = random.of(&ZONES[1..]);
    let start = around_a_change(zone, &mut random) - Duration::hours(12);
    let clock = Clock::fixed(start);
    let world = world_at(&clock, false).await;
    let mut wanted = Vec::new();
    for policy in ["allow", "forbid", "replace"] {
        for catch_up in ["none", "latest", "all"] {
            let config = json!({"concurrencyPolicy": policy, "catchUp": catch_up});
            wanted.push((expression(&mut random), random.of(&[zone, ZONES[0]]), config));
        }
    }
    let bodies: Vec<_> = wanted.iter().map(|(s, zone, config)| (s.as_str(), zone.name(), config.clone())).collect();
    let ids = scheduled(&world, &bodies).await;
    for step in 0..200 {
        let most = if step % 20 == 0 { 30_000 } else { 400 };
        clock.advance(Duration::seconds(random.below(most)));
        some_tick(&world, &clock, &mut random).await;
        for (id, (schedule, _, config)) in ids.iter().zip(&wanted) {
            let live = world.stack.services().store.live_runs("acme", id).await.unwrap().len();
            assert!(config["concurrencyPolicy"] == "allow" || live <= 1, "{live} runs of {schedule} {config} at once");
            if random.one_in(4) {
                end_all(&world, id).await;
            }
        }
    }
    world.stack.tick().await.unwrap();
    let mut all = 0;
    for (id, (schedule, zone, config)) in ids.iter().zip(&wanted) {
        println!("{schedule} in {zone} with {config}");
        let due = walk(schedule, *zone, start, clock.now(), 1);
        let query = format!("from={}&to={}", Time::from(start).text(), Time(clock.now()).text());
        let entries = walked(&world, id, &query, 7).await;
        stand_for(&entries, &due);
        let named: BTreeSet<String> = entries.iter().filter_map(|e| e["runId"].as_str().map(str::to_owned)).collect();
        assert_eq!(named, runs(&world, id).await, "entries and runs");
        all += due.len();
    }
    println!("{all} due times of {} pipelines in 200 ticks", ids.len());
    assert!(all > 100, "{all} due times");
}

/// Entries stand for all that was due, once and in order.
pub fn stand_for(entries: &[Value], due: &[Time]) {
    let mut rest = due;
    for entry in entries {
        let (own, later) = rest.split_at(usize::try_from(entry["count"].as_u64().unwrap()).unwrap());
        let last = if entry["until"].is_null() { &entry["at"] } else { &entry["until"] };
        assert_eq!((&entry["at"], last), (&json!(own[0]), &json!(own[own.len() - 1])), "{entry:#}");
        rest = later;
    }
    assert_eq!(rest, [], "not in the ledger");
}

pub async fn runs(world: &World, id: &str) -> BTreeSet<String> {
    let (mut all, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = world.api.get(&format!("/pipelines/{id}/runs?limit=100{cursor}")).await.expect(200).json();
        all.extend(page["data"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()));
        match page["pagination"]["cursor"].as_str() {
            None => return all,
            Some(next) => cursor = format!("&cursor={next}"),
        }
    }
}

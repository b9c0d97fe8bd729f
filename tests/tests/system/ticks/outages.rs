//! A table or a queue that is away in the middle of a tick.

use super::{assert_each_fired_once, parts_of, sent, taken, tick, twenty};
use crate::fires::{at, every_ten_minutes, runs, stand_for, walked, world_at};
use crate::oracle::walk;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use chrono::Duration;
use serde_json::{Value, json};
use shared::aws::local_config;
use shared::clock::Clock;
use shared::context::Services;
use shared::queue::Queue;
use shared::store::Store;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use tests::World;

/// Lets so many transactions through, and none after them.
#[derive(Debug)]
struct CutOff(AtomicI64);

impl Intercept for CutOff {
    fn name(&self) -> &'static str {
        "CutOff"
    }
    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        if target.ends_with("TransactWriteItems") && self.0.fetch_sub(1, Relaxed) <= 0 {
            return Err("cut off".into());
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_tick_that_is_cut_off_between_its_transactions_is_gone_on_with() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({"catchUp": "all"})).await;
    clock.advance(Duration::hours(12));
    let parts = parts_of(&world);
    let cut_off = CutOff(AtomicI64::new(1));
    let table = Builder::from(&local_config(&world.stack.table_endpoint())).interceptor(cut_off).build();
    let store = Store::new(Client::from_conf(table), &parts.config.table, parts.config.shards);
    tick(Services { store, ..parts }).await;
    let query = "from=2026-01-15T09:00:00Z&to=2026-01-15T21:05:00Z";
    let decided = |all: &[Value]| all.iter().filter(|entry| entry["status"] == "caughtUp").count();
    let first = walked(&world, &id, query, 100).await;
    assert_eq!((decided(&first), runs(&world, &id).await.len()), (30, 30));
    world.stack.tick().await.unwrap();
    let all = walked(&world, &id, query, 100).await;
    let due = walk("*/10 * * * *", chrono_tz::UTC, at("2026-01-15T09:05:00Z"), clock.now(), 1);
    stand_for(&all, &due);
    let named: BTreeSet<String> = all.iter().filter_map(|e| e["runId"].as_str().map(str::to_owned)).collect();
    assert_eq!((decided(&all), &named), (due.len(), &runs(&world, &id).await));
    assert_eq!(all[..30], first[..30], "what was decided stays");
}

/// Nothing more of them is fired.
async fn pause(world: &World, ids: &[String]) {
    for id in ids {
        world.api.put(&format!("/pipelines/{id}"), &json!({"enabled": false})).await.expect(200);
    }
}

#[tokio::test]
async fn a_run_that_a_tick_could_not_send_is_sent_by_a_later_one() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let ids = twenty(&world).await;
    clock.advance(Duration::minutes(5));
    let away = || {
        let parts = parts_of(&world);
        // Nobody listens there.
        let queue = aws_sdk_sqs::Client::new(&local_config("http://127.0.0.1:1"));
        let queue = Queue::new(queue, &parts.config.runs_queue_url, "");
        Services { queue, ..parts }
    };
    tick(away()).await;
    assert_each_fired_once(&world, &ids).await;
    assert_eq!(sent(&world).await, 0);
    clock.advance(Duration::seconds(60));
    // As long as the queue is away, nothing counts as sent again.
    assert!(on_schedule::trigger().call(&Arc::new(away()), json!({"source": "aws.events"})).await.is_err());
    world.stack.tick().await.unwrap();
    assert_eq!(sent(&world).await, 20);
    // They are behind others, if they still wait.
    pause(&world, &ids).await;
    for (minutes, messages) in [(15, 20), (1, 40), (31, 40), (1, 60), (63, 60), (1, 80), (63, 80), (1, 100)] {
        clock.advance(Duration::minutes(minutes));
        world.stack.tick().await.unwrap();
        assert_eq!(sent(&world).await, messages, "{minutes} minutes later");
    }
}

/// Loses one of the table's answers: the table has done what it was asked for, and the client asks once more.
#[derive(Debug)]
struct Lost {
    /// How many answers come before it.
    after: u32,
    /// How many there were.
    answers: Arc<AtomicU32>,
}

impl Intercept for Lost {
    fn name(&self) -> &'static str {
        "Lost"
    }
    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.answers.fetch_add(1, Relaxed) == self.after {
            *context.response_mut().status_mut() = 503_u16.try_into()?;
        }
        Ok(())
    }
}

/// The stack's table, whose answer behind the first `after` is lost; and how many there were.
fn losing(world: &World, after: u32) -> (Store, Arc<AtomicU32>) {
    let config = &world.stack.services().config;
    let answers = Arc::new(AtomicU32::new(0));
    let lost = Lost { after, answers: Arc::clone(&answers) };
    let table = Builder::from(&local_config(&world.stack.table_endpoint())).interceptor(lost).build();
    (Store::new(Client::from_conf(table), &config.table, config.shards), answers)
}

#[tokio::test]
async fn a_run_is_sent_again_although_the_answer_that_this_is_noted_was_lost() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    let run = world.api.run(&id, json!({})).await;
    clock.advance(Duration::minutes(2));
    let store = &world.stack.services().store;
    let seen = store.run("acme", &id, &run).await.unwrap();
    let (losing, answers) = losing(&world, 0);
    assert!(losing.note_resend(&seen, clock.now().into()).await.unwrap());
    assert_eq!(answers.load(Relaxed), 3, "it was noted, it met what it had done, and it looked");
    assert_eq!(store.run("acme", &id, &run).await.unwrap().resends, 1);
    // A tick that saw the same is told the same, until a worker has the run.
    assert!(store.note_resend(&seen, clock.now().into()).await.unwrap());
    assert_eq!(store.run("acme", &id, &run).await.unwrap().resends, 1);
    taken(&world, &id).await;
    assert!(!store.note_resend(&seen, clock.now().into()).await.unwrap());
}

#[tokio::test]
async fn a_purge_is_sent_again_although_the_answer_that_this_is_noted_was_lost() {
    let clock = Clock::fixed(at("2026-01-15T09:05:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    world.api.delete(&format!("/pipelines/{id}")).await.expect(204);
    clock.advance(Duration::minutes(2));
    // First it looks what is left.
    let (losing, answers) = losing(&world, 1);
    assert!(losing.note_purge("acme", &id, clock.now().into()).await.unwrap());
    assert_eq!(answers.load(Relaxed), 4, "it looked, it was noted, it met what it had done, and it looked again");
    // It is noted once: the tick waits as long as after the first time.
    for (minutes, messages) in [(15, 1), (2, 2)] {
        clock.advance(Duration::minutes(minutes));
        world.stack.tick().await.unwrap();
        assert_eq!(sent(&world).await, messages, "{minutes} minutes later");
    }
}

//! Ticks that meet something: a change of what they have read, an end of their time, a queue or a table that is away.

mod changes;
mod live;
mod outages;
mod purges;
mod shards;

use super::fires::{past, scheduled};
use aws_sdk_dynamodb::Client;
use serde_json::{Value, json};
use shared::aws::local_config;
use shared::config::{Config, TokenConfig};
use shared::context::Services;
use shared::cursor::Cursors;
use shared::models::run::Run;
use shared::queue::Queue;
use shared::secrets::Sealer;
use shared::store::Store;
use shared::store::runs::Claim;
use shared::token::Verifier;
use std::sync::Arc;
use tests::World;

/// What a function has, in parts of its own at the table and the queue of a stack. A tick with it works its shards by itself.
pub fn parts_of(world: &World) -> Services {
    let of = world.stack.services();
    let config = Config { ticks_queue_url: String::new(), ..of.config.clone() };
    let tokens = TokenConfig {
        algorithms: vec!["HS256".to_owned()],
        secret: Some(world.stack.folder().jwt_secret().unwrap()),
        ..TokenConfig::default()
    };
    let table = Client::new(&local_config(&world.stack.table_endpoint()));
    let queue = aws_sdk_sqs::Client::new(&local_config(&world.stack.queues().endpoint()));
    Services {
        clock: of.clock.clone(),
        store: Store::new(table, &config.table, config.shards),
        queue: Queue::new(queue, &config.runs_queue_url, ""),
        verifier: Verifier::from_config(&tokens).unwrap(),
        cursors: Cursors::new(config.cursor_key.as_bytes()),
        sealer: Sealer::none(),
        workers: None,
        config,
    }
}

/// A tick by these parts, and what it answers.
async fn tick(services: Services) -> Value {
    on_schedule::trigger().call(&Arc::new(services), json!({"source": "aws.events"})).await.unwrap()
}

/// Twenty pipelines that are due at 09:10.
async fn twenty(world: &World) -> Vec<String> {
    let one = ("*/10 * * * *", "UTC", json!({}));
    scheduled(world, &vec![one; 20]).await
}

async fn assert_each_fired_once(world: &World, ids: &[String]) {
    for id in ids {
        assert_eq!(past(world, id).await, ["09:10 fired"]);
    }
}

/// How many messages wait for a worker.
async fn sent(world: &World) -> u32 {
    world.stack.services().queue.depth().await.unwrap().visible
}

/// The pipeline's only run, taken now by a worker that is heard of no more.
async fn taken(world: &World, id: &str) -> Run {
    let services = world.stack.services();
    let live = services.store.live_runs("acme", id).await.unwrap();
    match services.store.claim("acme", id, &live[0], "died", services.clock.now().into()).await.unwrap() {
        Claim::Taken(run) => *run,
        other => panic!("nobody else wants it: {other:?}"),
    }
}

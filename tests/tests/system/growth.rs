//! How one tick grows with the pipelines that are due at the same minute, measured on the embedded table.
//!
//! `FLOWGATE_GROWTH=1000,10000,100000` says how many; without it nothing is measured, since it takes minutes.

use super::fires::{at, every_ten_minutes, world_at};
use super::ticks::parts_of;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use chrono::Duration;
use futures::stream::{self, StreamExt};
use serde_json::json;
use shared::aws::local_config;
use shared::clock::Clock;
use shared::context::Services;
use shared::store::{Store, keys};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tests::World;

type Item = HashMap<String, AttributeValue>;

/// Counts the calls to the table by their names, those that are tried again too, and keeps why some failed.
#[derive(Debug, Clone, Default)]
struct Calls(Arc<Mutex<BTreeMap<String, u64>>>, Arc<Mutex<Vec<String>>>);

impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
    }
    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let target = context.request().headers().get("x-amz-target").unwrap_or_default();
        let name = target.rsplit('.').next().unwrap_or_default().to_owned();
        *self.0.lock().unwrap().entry(name).or_default() += 1;
        Ok(())
    }
    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Err(error)) = context.output_or_error() {
            self.1.lock().unwrap().push(format!("{error:?}"));
        }
        Ok(())
    }
}

impl Calls {
    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).copied().unwrap_or_default()
    }
}

/// What a function has that counts its calls and works its shards by itself.
fn counting(world: &World, calls: &Calls) -> Arc<Services> {
    let of = parts_of(world);
    let table = Builder::from(&local_config(&world.stack.table_endpoint())).interceptor(calls.clone()).build();
    let store = Store::new(Client::from_conf(table), &of.config.table, of.config.shards);
    Arc::new(Services { store, ..of })
}

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

async fn item(client: &Client, table: &str, key: &keys::Key) -> Item {
    let get = client.get_item().table_name(table).key("PK", text(&key.pk)).key("SK", text(&key.sk));
    get.send().await.unwrap().item.unwrap()
}

/// A pipeline and its state, to be copied.
struct Original {
    pipeline: Item,
    state: Item,
    due: String,
    shards: u32,
}

impl Original {
    /// The writes of the copy with this number, which belongs to one of a hundred tenants.
    fn copy(&self, number: usize) -> [WriteRequest; 2] {
        let (tenant, id) = (format!("tenant-{}", number % 100), format!("pipe_{number:032x}"));
        let shard = keys::due_shard(keys::shard(&tenant, &id, self.shards));
        let due = [("GSI1PK", shard), ("GSI1SK", keys::due_at(&self.due, &id))];
        let pipeline = keys::resource(&tenant, keys::Kind::Pipeline, &id);
        let state = keys::state(&tenant, &id);
        [put(&self.pipeline, pipeline, [("id", id), ("tenantId", tenant)]), put(&self.state, state, due)]
    }
}

fn put(item: &Item, key: keys::Key, changed: [(&str, String); 2]) -> WriteRequest {
    let mut item = item.clone();
    let key = [("PK", key.pk), ("SK", key.sk)];
    item.extend(key.into_iter().chain(changed).map(|(name, value)| (name.to_owned(), text(value))));
    WriteRequest::builder().put_request(PutRequest::builder().set_item(Some(item)).build().unwrap()).build()
}

/// Copies a pipeline and its state `count` times.
async fn copy(world: &World, id: &str, count: usize) {
    let client = Client::new(&local_config(&world.stack.table_endpoint()));
    let (table, shards) = (world.stack.services().config.table.clone(), world.stack.services().config.shards);
    let pipeline = item(&client, &table, &keys::resource("acme", keys::Kind::Pipeline, id)).await;
    let state = item(&client, &table, &keys::state("acme", id)).await;
    let due = state["nextRunAt"].as_s().unwrap().clone();
    let original = Original { pipeline, state, due, shards };
    let numbers: Vec<usize> = (0..count).collect();
    stream::iter(numbers.chunks(12))
        .for_each_concurrent(4, |numbers| {
            let writes: Vec<WriteRequest> = numbers.iter().flat_map(|number| original.copy(*number)).collect();
            let (client, table) = (&client, &table);
            async move {
                client.batch_write_item().request_items(table, writes).send().await.unwrap();
            }
        })
        .await;
}

/// Seconds of processor time that this process has had, with the table and the queue in it; on a busy machine they say more
/// than those of the clock.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

async fn measure(count: usize) {
    let clock = Clock::fixed(at("2026-01-14T23:55:00Z"));
    let world = world_at(&clock, false).await;
    let id = every_ten_minutes(&world, json!({})).await;
    copy(&world, &id, count - 1).await;
    let calls = Calls::default();
    let services = counting(&world, &calls);
    clock.advance(Duration::minutes(5) + Duration::seconds(2));
    let tick = async || {
        let started = Instant::now();
        on_schedule::trigger().call(&services, json!({"source": "aws.events"})).await.unwrap();
        started.elapsed().as_secs_f64()
    };
    // A tick ends by itself before its function would be ended; the next one goes on.
    let (mut ticks, mut seconds, before) = (0, 0.0, processor());
    let mut fired = 0;
    while fired < count as u64 {
        assert!(ticks < 1000, "{calls:?}");
        let took = tick().await;
        let now = calls.of("TransactWriteItems");
        let failed = calls.1.lock().unwrap().clone();
        assert!(
            failed.is_empty(),
            "{} calls failed after {now} transactions, the first one: {}",
            failed.len(),
            failed[0]
        );
        println!("  tick {}: {} fired in {took:.1} s", ticks + 1, now - fired);
        (ticks, seconds, fired) = (ticks + 1, seconds + took, now);
    }
    let worked = processor() - before;
    let [queries, reads, transactions] = ["Query", "GetItem", "TransactWriteItems"].map(|name| calls.of(name));
    let idle = tick().await;
    println!(
        "{count} due: {seconds:.1} s ({worked:.1} s of processor time) in {ticks} tick(s), {:.0} a second; {queries} queries, {reads} reads, \
         {transactions} transactions; then a tick with nothing due: {idle:.3} s, {} queries",
        count as f64 / seconds,
        calls.of("Query") - queries
    );
    assert_eq!(transactions, count as u64, "each is fired once");
    assert_eq!(calls.of("TransactWriteItems"), transactions, "nothing is left");
    // A tick also reads how many shards there are.
    assert_eq!(reads, 2 * count as u64 + ticks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_grows_with_what_is_due_and_with_nothing_else() {
    let Ok(counts) = std::env::var("FLOWGATE_GROWTH") else {
        println!("not measured: set FLOWGATE_GROWTH=1000,10000,100000");
        return;
    };
    for count in counts.split(',') {
        measure(count.trim().parse().unwrap()).await;
    }
}

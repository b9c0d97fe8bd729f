//! Each minute: fires what is due, sends again what got stuck, ends what nobody else does, and lets as many workers run as the
//! queue needs.

mod fire;
mod outbox;
mod overdue;

pub use fire::fire_from;
pub use outbox::Outbox;

use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use shared::context::Services;
use shared::events::{Failures, Record};
use shared::models::time::Time;
use shared::runtime::Trigger;
use shared::{Error, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pipelines or runs of a shard that are worked on at once: enough to reach what one partition of the index takes (500
/// fires a second) where a fire takes 60 ms, and few enough not to be throttled for long.
const AT_ONCE: usize = 32;
/// How long one call goes on taking what is due; the function is ended after 30 s, wherever it is.
const LONGEST: Duration = Duration::from_secs(20);

/// The function of the minute rule and of the queue of shards.
pub fn trigger() -> Trigger {
    Trigger::new("on_schedule", handle)
}

/// What calls this function.
#[derive(Deserialize)]
struct Event {
    /// Messages of the queue; none where it is the minute rule.
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
}

/// A message on the ticks queue.
#[derive(Serialize, Deserialize)]
struct Tick {
    shard: u32,
}

/// What is answered to the minute rule, and to the queue.
#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Tick { shards: u32 },
    Batch(Failures),
}

/// An event of the minute rule hands the shards out; messages of the queue are shards to work on.
async fn handle(services: Arc<Services>, event: Event) -> Result<Answer> {
    let Some(records) = event.records else {
        return Ok(Answer::Tick { shards: tick(&services).await? });
    };
    let mut failures = Failures::default();
    for record in records {
        let shard = match serde_json::from_str(&record.body) {
            Ok(Tick { shard }) => shard,
            Err(error) => {
                tracing::error!(%error, body = record.body, "a message names no shard and is dropped");
                continue;
            }
        };
        if let Err(error) = work(&services, shard, LONGEST).await {
            tracing::error!(shard, %error, "the shard could not be worked on; it will be delivered again");
            failures.add(record);
        }
    }
    Ok(Answer::Batch(failures))
}

/// Answers how many shards there are.
async fn tick(services: &Services) -> Result<u32> {
    let shards = services.store.all_shards().await?;
    // Runs that wait want workers also where the shards cannot be handed out.
    let (handed_out, scaled) = (hand_out(services, shards).await, scale(services).await);
    handed_out.and(scaled)?;
    Ok(shards)
}

async fn hand_out(services: &Services, shards: u32) -> Result<()> {
    if services.config.ticks_queue_url.is_empty() {
        // What one shard meets keeps no other one waiting.
        for done in futures::future::join_all((0..shards).map(|shard| work(services, shard, LONGEST))).await {
            done?;
        }
    } else {
        let bodies = (0..shards).map(|shard| serde_json::to_string(&Tick { shard }));
        let bodies = bodies.collect::<Result<Vec<_>, _>>().map_err(Error::internal)?;
        services.queue.send_ticks(&bodies).await?;
    }
    Ok(())
}

/// Works on one shard, and takes up nothing more of it after `longest`: what one pipeline or run meets is logged and never
/// keeps the others waiting.
///
/// # Errors
/// Where the table does not say what is due.
pub async fn work(services: &Services, shard: u32, longest: Duration) -> Result<()> {
    let now: Time = services.clock.now().into();
    let until = Instant::now() + longest;
    Outbox::around(&services.queue, |outbox| async move {
        let (fired, looked_after) = futures::join!(
            fire_due(services, &outbox, shard, now, until),
            look_after_overdue(services, &outbox, shard, now, until)
        );
        fired.and(looked_after)
    })
    .await
}

async fn fire_due(services: &Services, outbox: &Outbox, shard: u32, now: Time, until: Instant) -> Result<()> {
    let mut from = None;
    loop {
        let due = services.store.due_pipelines(shard, now, from).await?;
        let items = due.items.into_iter().take_while(|_| Instant::now() < until);
        let fires = items.map(|(tenant, pipeline)| async move {
            if let Err(error) = fire::fire(services, outbox, &tenant, &pipeline, now).await {
                tracing::error!(pipeline, %error, "the pipeline could not be fired; the next tick will try again");
            }
        });
        stream::iter(fires).buffer_unordered(AT_ONCE).collect::<()>().await;
        from = due.next;
        if is_too_late(until, shard, "pipelines") || from.is_none() {
            return Ok(());
        }
    }
}

async fn look_after_overdue(services: &Services, outbox: &Outbox, shard: u32, now: Time, until: Instant) -> Result<()> {
    let mut from = None;
    loop {
        let overdue = services.store.overdue_runs(shard, now, from).await?;
        // What cannot be sent now must not be noted as sent.
        if !overdue.items.is_empty() {
            services.queue.depth().await?;
        }
        let items = overdue.items.into_iter().take_while(|_| Instant::now() < until && !outbox.is_silent());
        let looks = items.map(|overdue| async move {
            if let Err(error) = overdue::look_after(services, outbox, &overdue, now).await {
                tracing::error!(?overdue, %error, "could not be looked after; the next tick will try again");
            }
        });
        stream::iter(looks).buffer_unordered(AT_ONCE).collect::<()>().await;
        from = overdue.next;
        if outbox.is_silent() || is_too_late(until, shard, "runs") || from.is_none() {
            return Ok(());
        }
    }
}

/// Whether the function should end before it is ended.
fn is_too_late(until: Instant, shard: u32, what: &str) -> bool {
    let late = Instant::now() >= until;
    if late {
        tracing::warn!(shard, what, "the shard is too large for one tick: the rest is left to the next one");
    }
    late
}

/// Lets the worker service follow the queue: its messages that wait or are being worked on.
async fn scale(services: &Services) -> Result<()> {
    let Some(workers) = &services.workers else { return Ok(()) };
    let depth = services.queue.depth().await?;
    workers.follow(depth.visible.saturating_add(depth.in_flight)).await
}

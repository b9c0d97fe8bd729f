//! What a message asks for, and whether this worker may do it.

use crate::life::{Done, Worker};
use crate::{leftovers, life, purge};
use shared::Result;
use shared::models::run::Run;
use shared::models::time::Time;
use shared::queue::{Delivery, Message, Task};
use shared::store::runs::Claim;
use std::time::Duration;

/// Does what a message asks for, and says what is to become of it.
pub(crate) async fn handle(worker: &Worker, delivery: &Delivery) -> Done {
    let message: Message = match serde_json::from_str(&delivery.body) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(%error, body = delivery.body, "a message is none of ours and is dropped");
            return Done::Delete;
        }
    };
    let done = match message.task {
        Task::Purge => purge::purge(worker, &message, delivery).await,
        Task::Run | Task::Settle => run(worker, &message, delivery).await,
    };
    done.unwrap_or_else(|error| {
        // Nothing is lost: the message comes back, and the tick looks after the run.
        tracing::warn!(run = message.run_id, pipeline = message.pipeline_id, %error, "the message is left for later");
        Done::Hide(later(worker.services.store.lease(), delivery.count))
    })
}

/// When a message comes back with which nothing could be done: after a quarter of a lease, doubled with each delivery to
/// fifteen leases, so that with one of 20 s its twenty deliveries outlast an hour in which the store does not answer.
pub(crate) fn later(lease: Duration, deliveries: u32) -> Duration {
    (lease / 4 * (1 << deliveries.saturating_sub(1).min(6))).clamp(Duration::from_secs(1), lease * 15)
}

async fn run(worker: &Worker, message: &Message, delivery: &Delivery) -> Result<Done> {
    let now: Time = worker.services.clock.now().into();
    let (tenant, pipeline, id) = (&message.tenant_id, &message.pipeline_id, &message.run_id);
    let run: Box<Run> = match worker.services.store.claim(tenant, pipeline, id, &worker.name, now).await? {
        Claim::Taken(run) => run,
        Claim::Final(run) if run.may_have_left() => return Ok(leftovers::remove(worker, &run).await),
        Claim::Final(_) | Claim::Gone => return Ok(Done::Delete),
        Claim::Held(until) => {
            let left = u64::try_from(until.since(now)).unwrap_or(0) / 1000 + 1;
            return Ok(Done::Hide(Duration::from_secs(left.min(60))));
        }
    };
    tracing::info!(run = run.id, attempt = run.attempt, worker = worker.name, "run taken");
    life::live(worker, *run, message.task, &delivery.receipt).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_deliveries_outlast_an_hour() {
        let seconds = |deliveries| later(Duration::from_secs(20), deliveries).as_secs();
        assert_eq!([0, 1, 2, 3, u32::MAX].map(seconds), [5, 5, 10, 20, 300]);
        assert!((1..20).map(seconds).sum::<u64>() > 3600);
        assert_eq!(later(Duration::from_secs(2), 1), Duration::from_secs(1));
    }
}

//! What came to the dead-letter queue: runs whose message was delivered too often are ended, with the reason.

use shared::Result;
use shared::context::Services;
use shared::events::{Batch, Failures};
use shared::models::run::{MOST_LOST, Run};
use shared::models::time::Time;
use shared::queue::{Message, Task};
use shared::runtime::Trigger;
use shared::store::runs::{End, Ender};
use std::sync::Arc;
use std::time::Duration;

/// The function of this queue.
pub fn trigger() -> Trigger {
    Trigger::new("on_dead_letter", handle)
}

/// Handles a batch; the messages that could not be handled are answered, and delivered again.
async fn handle(services: Arc<Services>, batch: Batch) -> Result<Failures> {
    let mut failures = Failures::default();
    for record in batch.records {
        if let Err(error) = one(&services, &record.body).await {
            tracing::error!(%error, "a dead letter could not be handled; it will be delivered again");
            failures.add(record);
        }
    }
    Ok(failures)
}

async fn one(services: &Services, body: &str) -> Result<()> {
    let message: Message = match serde_json::from_str(body) {
        Ok(message) => message,
        Err(error) => {
            tracing::error!(%error, body, "a dead letter is no message of ours and is dropped");
            return Ok(());
        }
    };
    if message.task == Task::Purge {
        tracing::error!(
            pipeline = message.pipeline_id,
            "a deleted pipeline could not be purged; the tick will ask again"
        );
        return Ok(());
    }
    let (tenant, pipeline, id) = (&message.tenant_id, &message.pipeline_id, &message.run_id);
    let Some(run) = services.store.find_run(tenant, pipeline, id).await? else { return Ok(()) };
    if run.status.is_final() {
        return remove_leftovers(services, &run, message).await;
    }
    let again = Message { task: Task::Run, ..message.clone() };
    let lease = services.store.lease();
    if run.attempt > 0 && run.lost_attempts() < MOST_LOST {
        // One of several messages, which has only waited while a worker had the run: how often workers die of it is
        // counted on the run itself.
        return services.queue.send(&again, lease).await;
    }
    if run.committing {
        // Whether its rows are in only the target can say.
        return services.queue.send(&Message { task: Task::Settle, ..message }, Duration::ZERO).await;
    }
    let now: Time = services.clock.now().into();
    if !services.store.end_run(&run, Ender::Unheld(now), &End::failed(run.given_too_often()), now).await? {
        // A worker has it, which ends it, or dies of it too.
        return services.queue.send(&again, lease).await;
    }
    match services.store.find_run(tenant, pipeline, id).await? {
        Some(ended) => remove_leftovers(services, &ended, message.clone()).await,
        None => Ok(()),
    }
}

/// What the workers of a final run had staged is removed by whoever gets its message; also where an earlier delivery of this
/// letter has ended the run and could not send that, and where it could not be removed for long.
async fn remove_leftovers(services: &Services, run: &Run, message: Message) -> Result<()> {
    if run.may_have_left() {
        services.queue.send(&Message { task: Task::Settle, ..message }, Duration::ZERO).await?;
    }
    Ok(())
}

//! What came to the dead-letter queue: runs whose message was delivered too often are ended, with the reason.

use serde_json::{Value, json};
use shared::context::Services;
use shared::models::run::RunFailure;
use shared::models::time::Time;
use shared::queue::{Message, Task};
use shared::runtime::Trigger;
use shared::store::runs::{End, Ender};
use shared::{Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// The function of this queue.
pub fn trigger() -> Trigger {
    Trigger::new("on_dead_letter", handle)
}

/// Handles a batch; the messages that could not be handled are answered, and delivered again.
async fn handle(services: Arc<Services>, event: Value) -> Result<Value> {
    let records = event["Records"].as_array().cloned().unwrap_or_default();
    let mut failures = Vec::new();
    for record in records {
        if let Err(error) = one(&services, record["body"].as_str().unwrap_or("")).await {
            tracing::error!(%error, "a dead letter could not be handled; it will be delivered again");
            failures.push(json!({ "itemIdentifier": record["messageId"] }));
        }
    }
    Ok(json!({ "batchItemFailures": failures }))
}

async fn one(services: &Services, body: &str) -> Result<()> {
    let Ok(message) = serde_json::from_str::<Message>(body) else {
        tracing::error!(body, "a dead letter is no message of ours and is dropped");
        return Ok(());
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
        return Ok(());
    }
    if run.committing {
        // Whether its rows are in only the target can say.
        let settle = Message { task: Task::Settle, ..message };
        return services.queue.send(&settle, Duration::ZERO).await;
    }
    let now: Time = services.clock.now().into();
    let error = RunFailure {
        code: "DELIVERED_TOO_OFTEN".to_owned(),
        message: format!(
            "the run was given to workers too often without an end ({} attempts); {}",
            run.attempt,
            run.error
                .as_ref()
                .map_or("no worker reported why".to_owned(), |e| format!("the last error was: {}", e.0.message))
        ),
        node_id: None,
        retryable: false,
    };
    if !services.store.end_run(&run, Ender::Unheld(now), &End::failed(error), now).await? {
        let now_is = services.store.find_run(tenant, pipeline, id).await?;
        if now_is.is_some_and(|r| !r.status.is_final()) {
            // A worker holds it: it will end it, or its lease will be over when this is delivered again.
            return Err(Error::conflict("RUN_HELD", format!("{id} is still held by a worker")));
        }
    }
    Ok(())
}

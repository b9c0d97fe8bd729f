//! What is left of a deleted pipeline is removed once none of its runs is live.

use crate::life::{Done, Worker};
use shared::queue::Message;
use shared::store::tick::Purged;
use shared::{Result, launch};
use std::time::Duration;

/// Cancels what still runs and removes the rest; comes back until nothing is left.
pub(crate) async fn purge(worker: &Worker, message: &Message) -> Result<Done> {
    let (tenant, pipeline) = (&message.tenant_id, &message.pipeline_id);
    let store = &worker.services.store;
    if !store.is_deleted(tenant, pipeline).await? {
        return Ok(Done::Delete);
    }
    let live = store.live_runs(tenant, pipeline).await?;
    launch::stop_all(&worker.services, tenant, pipeline, &live).await?;
    Ok(match store.purge(tenant, pipeline).await? {
        Purged::Done => Done::Delete,
        Purged::Waiting(_) => Done::Hide(Duration::from_secs(5)),
    })
}

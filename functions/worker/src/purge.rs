//! What is left of a deleted pipeline is removed once none of its runs is live.

use crate::leftovers;
use crate::life::{Done, Worker};
use shared::models::run::Run;
use shared::queue::Message;
use shared::store::tick::Purged;
use shared::{Result, launch};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
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
    let leftovers = Leftovers { worker, stuck: AtomicBool::new(false) };
    Ok(match store.purge(tenant, pipeline, &|run| Box::pin(leftovers.discard(run))).await? {
        Purged::Done => Done::Delete,
        Purged::Waiting(_) => Done::Hide(Duration::from_secs(5)),
    })
}

/// What runs have left at their targets, as long as it can be removed.
struct Leftovers<'a> {
    worker: &'a Worker,
    /// Set where it could not: the next run would have to wait as long.
    stuck: AtomicBool,
}

impl Leftovers<'_> {
    async fn discard(&self, run: Run) -> bool {
        if self.stuck.load(Relaxed) {
            return false;
        }
        let done = leftovers::remove(self.worker, &run).await == Done::Delete;
        self.stuck.store(!done, Relaxed);
        done
    }
}

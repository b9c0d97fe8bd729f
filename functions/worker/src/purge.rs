//! What is left of a deleted pipeline is removed once none of its runs is live.

use crate::claim::later;
use crate::leftovers;
use crate::life::{Done, Worker};
use shared::models::run::Run;
use shared::queue::{Delivery, Message};
use shared::store::tick::Purged;
use shared::{Result, launch};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a purge may work before it lets others have this worker.
const SLICE: Duration = Duration::from_secs(15);

/// Cancels what still runs and removes the rest, a slice at a time; comes back until nothing is left.
pub(crate) async fn purge(worker: &Worker, message: &Message, delivery: &Delivery) -> Result<Done> {
    let (tenant, pipeline) = (&message.tenant_id, &message.pipeline_id);
    let (store, queue) = (&worker.services.store, &worker.services.queue);
    if !store.take_purge(tenant, pipeline, worker.services.clock.now().into()).await? {
        return Ok(Done::Delete);
    }
    // There is no heartbeat: a slice ends long before the message comes back.
    queue.hide(&delivery.receipt, SLICE * 4).await?;
    let until = Instant::now() + SLICE;
    let live = store.live_runs(tenant, pipeline).await?;
    launch::stop_all(&worker.services, tenant, pipeline, &live).await?;
    let leftovers = Leftovers { worker, stuck: AtomicBool::new(false) };
    match store.purge(tenant, pipeline, until, &|run| Box::pin(leftovers.discard(run))).await? {
        Purged::Done => Ok(Done::Delete),
        Purged::Waiting(_) => Ok(Done::Hide(later(store.lease(), delivery.count))),
        Purged::InPart => {
            // A new message, since one that comes back twenty times is given up, at the end of the queue.
            queue.send(message, Duration::ZERO).await?;
            Ok(Done::Delete)
        }
    }
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

//! One overdue run: it is sent again, and the worker that gets it decides what becomes of it. One that is over is ended here,
//! since there may be no worker that gets it.

use crate::outbox::Outbox;
use shared::context::Services;
use shared::models::run::{Run, RunStatus};
use shared::models::time::Time;
use shared::queue::{Message, Task};
use shared::store::runs::{End, Ender};
use shared::store::tick::Overdue;
use shared::{Result, launch};

/// Sends a run again that no worker took or whose worker's lease is over, or ends it where it was to be cancelled or takes too
/// long; or sends the purge of a deleted pipeline.
pub async fn look_after(services: &Services, outbox: &Outbox, overdue: &Overdue, now: Time) -> Result<()> {
    let Some(id) = &overdue.run else {
        // A worker that purges moves it on, so that this only happens where no message comes to one.
        if services.store.note_purge(&overdue.tenant, &overdue.pipeline, now).await? {
            tracing::warn!(pipeline = overdue.pipeline, "the purge of a deleted pipeline is sent again");
            outbox.put(Message {
                task: Task::Purge,
                tenant_id: overdue.tenant.clone(),
                pipeline_id: overdue.pipeline.clone(),
                run_id: String::new(),
            });
        }
        return Ok(());
    };
    let Some(run) = services.store.find_run(&overdue.tenant, &overdue.pipeline, id).await? else { return Ok(()) };
    let held = run.status == RunStatus::Running && run.lease_until.is_some_and(|until| until >= now);
    if run.status.is_final() || held {
        return Ok(());
    }
    if run.over_from(services.store.clocks_apart()).is_some_and(|over| over <= now) {
        return end(services, &run, now).await;
    }
    // Noted first: a run that is sent twice is harmless, one that every tick sends for ever is not.
    if services.store.note_resend(&run, now).await? {
        tracing::warn!(run = id, status = run.status.name(), resends = run.resends + 1, "the run is sent again");
        outbox.put(launch::message(&run));
    }
    Ok(())
}

/// Ends a run that is over. A worker that was only paused finds it final before its commit.
async fn end(services: &Services, run: &Run, now: Time) -> Result<()> {
    // Sent first: whoever gets it removes what was staged for the run, and nobody looks after a final one. A worker that is
    // faster comes to the same end.
    services.queue.send_all(&[launch::message(run)]).await?;
    let end = if run.cancel_requested { End::cancelled() } else { End::failed(run.timed_out()) };
    let unheld = Ender::Unheld(Time(now.0 - services.store.clocks_apart()));
    if services.store.end_run(run, unheld, &end, now).await? {
        tracing::warn!(run = run.id, status = end.status.name(), "the run was over, and no worker was there to end it");
    }
    Ok(())
}

//! One overdue run: it is sent again, and the worker that gets it decides what becomes of it.

use crate::outbox::Outbox;
use shared::Result;
use shared::context::Services;
use shared::models::run::RunStatus;
use shared::models::time::Time;
use shared::queue::{Message, Task};
use shared::store::tick::Overdue;

/// Sends a run again that no worker took or whose worker's lease is over, or the purge of a deleted pipeline.
pub async fn look_after(services: &Services, outbox: &Outbox, overdue: &Overdue, now: Time) -> Result<()> {
    let message = |task, run_id: &str| Message {
        task,
        tenant_id: overdue.tenant.clone(),
        pipeline_id: overdue.pipeline.clone(),
        run_id: run_id.to_owned(),
    };
    let Some(id) = &overdue.run else {
        // A worker that purges moves it on, so that this only happens where no message comes to one.
        if services.store.note_purge(&overdue.tenant, &overdue.pipeline, now).await? {
            tracing::warn!(pipeline = overdue.pipeline, "the purge of a deleted pipeline is sent again");
            outbox.put(message(Task::Purge, ""));
        }
        return Ok(());
    };
    let Some(run) = services.store.find_run(&overdue.tenant, &overdue.pipeline, id).await? else { return Ok(()) };
    let held = run.status == RunStatus::Running && run.lease_until.is_some_and(|until| until >= now);
    if run.status.is_final() || held {
        return Ok(());
    }
    // Noted first: a run that is sent twice is harmless, one that every tick sends for ever is not.
    if services.store.note_resend(&run, now).await? {
        tracing::warn!(run = id, status = run.status.name(), resends = run.resends + 1, "the run is sent again");
        outbox.put(message(Task::Run, id));
    }
    Ok(())
}

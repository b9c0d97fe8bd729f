//! What attempts that died had staged for a run that ended without its rows.

use crate::life::{Done, Worker};
use crate::{job, targets};
use shared::models::run::Run;
use std::time::Duration;

/// How long it may take: the run has ended, and others wait for this worker.
const LONGEST: Duration = Duration::from_secs(15);
/// When it is tried again.
const LATER: Duration = Duration::from_secs(60);

/// Removes what was staged for a run that is final without rows. Nothing of it can be committed any more: a worker that was
/// only slow finds the run final before its commit.
pub(crate) async fn remove(worker: &Worker, run: &Run) -> Done {
    match tokio::time::timeout(LONGEST, all(worker, run)).await {
        Ok(Ok(true)) => Done::Delete,
        left => {
            tracing::warn!(
                run = run.id,
                ?left,
                "what was staged for the run could not all be removed; tried again later"
            );
            Done::Hide(LATER)
        }
    }
}

async fn all(worker: &Worker, run: &Run) -> Result<bool, String> {
    let store = &worker.services.store;
    let version = store.pipeline_version(&run.tenant_id, &run.pipeline_id, run.pipeline_version).await;
    let Some(version) = version.map_err(|e| e.to_string())? else { return Ok(true) };
    let written = job::ever_written(worker, &version).await.map_err(|error| error.message)?;
    let mut tables: Vec<_> = written.into_iter().map(|(_, schema)| schema).collect();
    tables.extend(job::beside_databases(worker, &version).await.map_err(|error| error.message)?);
    let mut done = true;
    for schema in &tables {
        let removed = targets::discard(&run.tenant_id, schema, &run.id, &worker.settings).await;
        done &= removed.map_err(|error| error.message)?;
    }
    Ok(done)
}

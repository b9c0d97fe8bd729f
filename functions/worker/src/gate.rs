//! The fence before a run's commit: who may not commit any more is stopped here.

use crate::engine::job::CommitGate;
use crate::engine::progress::Progress;
use crate::error::{Kind, RunError};
use crate::report;
use shared::context::Services;
use shared::models::run::Run;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Moves the run to the stage `committing` with the numbers that it will have come to.
pub(crate) struct Gate {
    pub(crate) services: Arc<Services>,
    /// With the name of its tables, which is kept with it.
    pub(crate) run: Run,
    pub(crate) progress: Arc<Progress>,
    /// Set once it has.
    pub(crate) entered: Arc<AtomicBool>,
}

impl Gate {
    /// The store did not answer.
    fn away(&self, error: shared::Error) -> RunError {
        tracing::warn!(run = self.run.id, %error, "the run cannot start to commit");
        RunError::new(Kind::Internal, "the store did not answer before the commit; nothing was written")
    }

    /// What the store has answered.
    fn asked(&self, may: bool) -> Result<(), RunError> {
        if may {
            self.entered.store(true, Relaxed);
            return Ok(());
        }
        Err(RunError::new(Kind::Superseded, "the run was cancelled, or is another worker's: nothing was written"))
    }
}

#[async_trait::async_trait]
impl CommitGate for Gate {
    async fn enter(&self) -> Result<(), RunError> {
        let spool = self.progress.finish_errors()?;
        let store = &self.services.store;
        let away = |error| self.away(error);
        let errors = report::keep_errors(store, &self.run, spool.as_deref()).await.map_err(away)?;
        // Of an attempt that commits it is known what it has counted: which ones have is seen in the end.
        let reading = report::reading(&self.progress, self.run.attempt);
        store.keep_reading(&self.run, &reading).await.map_err(away)?;
        let rows = report::rows(&self.progress, report::skipped(&self.progress));
        let progress = report::progress(&self.progress);
        self.asked(store.enter_committing(&self.run, rows, &progress, errors).await.map_err(away)?)
    }

    async fn pass(&self) -> Result<(), RunError> {
        // An attempt before this one came to its commits: nobody can cancel the run, and what that one counted stays.
        if self.run.committing {
            return Ok(());
        }
        let progress = report::progress(&self.progress);
        let passed = self.services.store.pass_committing(&self.run, &progress).await;
        self.asked(passed.map_err(|error| self.away(error))?)
    }
}

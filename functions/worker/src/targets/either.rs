//! A target as the engine sees it: a table of the lake, or of a database.

use super::files::unless;
use super::target::Committed;
use super::watermark::Watermark;
use super::{database, target};
use crate::engine::job::{Job, Settings, TableSchema};
use crate::engine::progress::{NodeCounters, Progress};
use crate::error::{Kind, RunError};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use shared::models::node::TargetConfig;
use shared::models::receipt;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One target node of one run.
pub enum Target {
    Lake(Box<target::Target>),
    Database(Box<database::Target>),
}

/// Opens the table of one target node, and makes it where it is not there yet.
///
/// # Errors
/// `Kind::Definition` where the node asks for what cannot be, `Kind::Target` where the table does not fit the schema,
/// `Kind::Superseded` where the run was settled as not committed, `Kind::TargetUnavailable`.
pub async fn open(job: &Job, node: &str, config: &TargetConfig, settings: &Settings) -> Result<Target, RunError> {
    let Some(id) = &config.connector_id else {
        return Ok(Target::Lake(Box::new(target::open(job, node, config, settings).await?)));
    };
    let connector = job.connectors.get(id).ok_or_else(|| {
        RunError::new(Kind::Definition, format!("the connector {id:?} does not exist any more")).at(node)
    })?;
    let database = database::open(job, node, config, connector, settings).await.map_err(|e| e.at(node))?;
    Ok(Target::Database(Box::new(database)))
}

impl Target {
    /// Whether the rows of this run, or of the one that it retries, are in: nothing is to be staged.
    pub fn already_committed(&self) -> bool {
        match self {
            Self::Lake(target) => target.already_committed(),
            Self::Database(target) => target.already_committed(),
        }
    }

    /// What tells a database's table from all others, however a node names it; none of a table of the lake, which has one
    /// name.
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Lake(_) => None,
            Self::Database(target) => Some(target.identity()),
        }
    }

    /// The schema, with the types that the table has.
    pub fn schema(&self) -> &TableSchema {
        match self {
            Self::Lake(target) => target.schema(),
            Self::Database(target) => target.schema(),
        }
    }

    /// The column of an incremental load and the watermark from which it reads, where there is one.
    pub fn watermark(&self) -> Option<(&str, &Watermark)> {
        match self {
            Self::Lake(target) => target.watermark(),
            Self::Database(target) => target.watermark(),
        }
    }

    /// Casts the rows of `plan` to the schema, reports what does not fit, and keeps the rest where no reader sees it before
    /// [`Target::commit`].
    ///
    /// # Errors
    /// The plan's; `Kind::Definition` where a field can get no value; `Kind::Data` where more rows are rejected than the
    /// pipeline allows; `Kind::Cancelled` on `stop`; `Kind::TargetUnavailable`; `Kind::Resources`.
    pub async fn stage(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        counters: Arc<NodeCounters>,
        progress: Arc<Progress>,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        match self {
            Self::Lake(target) => target.stage(plan, context, counters, progress, stop).await,
            Self::Database(target) => target.stage(plan, context, counters, progress, stop).await,
        }
    }

    /// Commits what was staged, once: a second call, or a call after another worker's, changes nothing.
    ///
    /// # Errors
    /// `Kind::Target` where truncate would replace the table with nothing; `Kind::Superseded` where the run was settled
    /// meanwhile; `Kind::Cancelled` on `stop`; `Kind::Target`, `Kind::TargetUnavailable`, `Kind::Resources`.
    pub async fn commit(&mut self, session: &SessionState, stop: &CancellationToken) -> Result<Committed, RunError> {
        match self {
            Self::Lake(target) => target.commit(session, stop).await,
            // The transaction ends with its connection; whether it came to its end the ledger says.
            Self::Database(target) => unless(stop, target.commit()).await,
        }
    }

    /// Does before the gate what of a commit takes long and can be done without being seen.
    ///
    /// # Errors
    /// As [`Target::commit`].
    pub async fn prepare(&mut self, session: &SessionState) -> Result<(), RunError> {
        match self {
            Self::Lake(target) => target.prepare(session).await,
            Self::Database(_) => Ok(()),
        }
    }

    /// What it tells the run's receipt; none before its commit.
    pub fn receipt(&self) -> Option<receipt::Target> {
        match self {
            Self::Lake(target) => target.receipt(),
            Self::Database(target) => target.receipt(),
        }
    }

    /// Removes what was staged, unless a commit may have taken it.
    pub async fn abort(&mut self) {
        match self {
            Self::Lake(target) => target.abort().await,
            Self::Database(target) => target.abort(),
        }
    }
}

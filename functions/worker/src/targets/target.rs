//! One target node of one run, from opening its table to the commit.

use super::columns;
use super::commit::{self, TRIES, Tried};
use super::files::Folder;
use super::log::{self, Facts};
use super::merge::{Incoming, Merge};
use super::stage::{Reporter, Staged, Staging};
use super::table::{COMMITTED, Place, state, transaction};
use crate::engine::job::{Earlier, Job, Settings, TableSchema};
use crate::engine::progress::{NodeCounters, Progress};
use crate::error::{Kind, RunError};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use deltalake::DeltaTable;
use deltalake::kernel::{Action, StructType};
use shared::models::node::{LoadMode, TargetConfig};
use std::collections::HashMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What a commit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Rows that the table took.
    pub rows_out: u64,
    /// Rows that the load mode left out: in an upsert, those that a later row of the same key replaced.
    pub skipped: u64,
    /// The table's version that has the rows.
    pub version: u64,
}

/// One target node of one run.
pub struct Target {
    place: Place,
    node: String,
    run_id: String,
    mode: LoadMode,
    allow_empty: bool,
    /// The keys of an upsert; empty for the other load modes.
    keys: Vec<String>,
    schema: TableSchema,
    earlier: Vec<Earlier>,
    memory: usize,
    table: DeltaTable,
    folder: Folder,
    staged: Staged,
    merge: Merge,
    /// The run in `txn` of the commit that already has the rows.
    done_by: Option<String>,
    /// The files of the earlier run that this one replaces, once they were looked up.
    replaced: Option<Vec<String>>,
    /// Whether what was staged is in a commit, or in one that was sent and whose end is not known: it must stay.
    keep: bool,
}

/// Opens the table of the job's schema for one target node, and makes it where it is not there yet.
///
/// # Errors
/// `Kind::Definition` where the node asks for what cannot be, `Kind::Target` where the table does not fit the schema,
/// `Kind::Superseded` where the run was settled as not committed, `Kind::TargetUnavailable`.
pub async fn open(job: &Job, node: &str, config: &TargetConfig, settings: &Settings) -> Result<Target, RunError> {
    open_at(job, node, config, settings).await.map_err(|e| e.at(node))
}

async fn open_at(job: &Job, node: &str, config: &TargetConfig, settings: &Settings) -> Result<Target, RunError> {
    let mode = config.load_mode.unwrap_or_default();
    let keys = if mode == LoadMode::Upsert { upsert_keys(&job.schema, config)? } else { Vec::new() };
    let place = Place::new(&job.tenant_id, &job.schema, settings)?;
    let table = place.load_or_create(&job.schema).await?;
    place.check_writable(&table)?;
    let folder = Folder::new(&place, table.object_store(), &job.run_id)?;
    let mut target = Target {
        place,
        node: node.to_owned(),
        run_id: job.run_id.clone(),
        mode,
        allow_empty: config.allow_empty.unwrap_or(false),
        keys,
        schema: job.schema.clone(),
        earlier: job.earlier.clone(),
        memory: settings.memory_bytes,
        table,
        folder,
        staged: Staged::default(),
        merge: Merge::default(),
        done_by: None,
        replaced: None,
        keep: false,
    };
    // Types that do not fit are told before a row is read.
    commit::evolve(&target.table, &target.schema)?;
    target.done_by = target.look().await?.done_by;
    Ok(target)
}

fn upsert_keys(schema: &TableSchema, config: &TargetConfig) -> Result<Vec<String>, RunError> {
    let wrong = |why: String| RunError::new(Kind::Definition, why);
    let keys = match &config.upsert_key {
        Some(keys) => keys.clone(),
        None => schema.fields.iter().filter(|f| f.is_primary_key == Some(true)).map(|f| f.name.clone()).collect(),
    };
    if keys.is_empty() {
        return Err(wrong(format!(
            "the load mode upsert needs upsertKey, or a primary key in the schema {:?}",
            schema.name
        )));
    }
    for key in &keys {
        if schema.fields.iter().all(|f| f.name != *key) {
            return Err(wrong(format!("the upsertKey {key:?} is not a field of the schema {:?}", schema.name)));
        }
    }
    Ok(keys)
}

/// What the table says about this run and those that it retries.
#[derive(Default)]
struct Look {
    /// The run whose commit has the rows.
    done_by: Option<String>,
    /// The run whose rows are to be taken out again.
    replaces: Option<String>,
}

impl Target {
    /// Whether the rows of this run, or of the one that it retries, are in: nothing is to be staged.
    pub fn already_committed(&self) -> bool {
        self.done_by.is_some()
    }

    /// Casts the rows of `plan` to the schema, reports what does not fit, and writes the rest into files that no reader
    /// sees before [`Target::commit`]. What fails is removed.
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
        let (columns, _) = commit::evolve(&self.table, &self.schema)?;
        let table = columns::file_schema(&columns, &self.schema.fields)?;
        let staging = Staging {
            folder: &self.folder,
            table: &table,
            fields: &self.schema.fields,
            keys: &self.keys,
            context,
            reporter: Arc::new(Reporter { counters, progress }),
            stop,
        };
        match staging.run(plan).await {
            Ok(staged) => {
                self.staged = staged;
                Ok(())
            }
            Err(error) => {
                self.folder.remove().await;
                Err(error.at(&self.node))
            }
        }
    }

    /// Commits what was staged, once: a second call, or a call after another worker's, changes nothing.
    ///
    /// # Errors
    /// `Kind::Data` where truncate would replace the table with nothing; `Kind::Superseded` where the run was settled
    /// meanwhile; `Kind::Target`, `Kind::TargetUnavailable`, `Kind::Resources`.
    pub async fn commit(&mut self, session: &SessionState) -> Result<Committed, RunError> {
        self.commit_at(session).await.map_err(|e| e.at(&self.node))
    }

    async fn commit_at(&mut self, session: &SessionState) -> Result<Committed, RunError> {
        if self.done_by.is_none()
            && self.mode == LoadMode::Truncate
            && self.staged.written.rows == 0
            && !self.allow_empty
        {
            return Err(RunError::new(
                Kind::Data,
                format!(
                    "no row reached the target, and truncate does not replace the table of the schema {:?} with nothing \
                     unless allowEmpty is set",
                    self.schema.name
                ),
            ));
        }
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                commit::pause(attempt).await;
            }
            // The version that is looked at now is the one that the commit must follow.
            self.table.update_state().await.map_err(|e| self.place.error("read", e))?;
            let look = self.look().await?;
            if let Some(run) = look.done_by {
                return self.found(run).await;
            }
            let actions = self.actions(look.replaces, session).await?;
            self.keep = true;
            match commit::try_once(&self.place, &self.table, actions, &self.facts()).await? {
                Tried::Committed(version) => return Ok(self.committed(version).await),
                Tried::Conflict => {
                    // A try before this one may still be on its way.
                    self.keep = last.is_some();
                }
                Tried::Unknown(error) if error.kind.is_retryable() => last = Some(error),
                Tried::Unknown(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| commit::too_busy(&self.place)))
    }

    /// Removes what was staged, unless a commit may have taken it.
    pub async fn abort(&mut self) {
        if !self.keep {
            self.folder.remove().await;
        }
        self.staged = Staged::default();
        self.merge = Merge::default();
    }

    /// The newest earlier run that is in decides; the older ones were replaced by it.
    async fn look(&self) -> Result<Look, RunError> {
        match transaction(&self.place, &self.table, &self.run_id).await? {
            Some(COMMITTED) => return Ok(Look { done_by: Some(self.run_id.clone()), replaces: None }),
            Some(_) => {
                return Err(RunError::new(
                    Kind::Superseded,
                    "the run was settled as not committed, so that its rows can no longer be written",
                ));
            }
            None => {}
        }
        for earlier in &self.earlier {
            if transaction(&self.place, &self.table, &earlier.run_id).await? == Some(COMMITTED) {
                let run = Some(earlier.run_id.clone());
                return Ok(match (earlier.replace, self.mode) {
                    (false, _) => Look { done_by: run, replaces: None },
                    (true, LoadMode::Append | LoadMode::IncrementalWatermark) => Look { done_by: None, replaces: run },
                    // The others put the rows in the place of the earlier ones by themselves.
                    (true, LoadMode::Truncate | LoadMode::Upsert) => Look::default(),
                });
            }
        }
        Ok(Look::default())
    }

    fn facts(&self) -> Facts {
        Facts {
            run_id: self.run_id.clone(),
            load_mode: Some(self.mode),
            rows_out: self.staged.written.rows,
            skipped_rows: self.staged.superseded,
        }
    }

    async fn actions(&mut self, replaces: Option<String>, session: &SessionState) -> Result<Vec<Action>, RunError> {
        let (columns, mut actions) = commit::evolve(&self.table, &self.schema)?;
        match self.mode {
            LoadMode::Append | LoadMode::IncrementalWatermark => {
                if let Some(run) = replaces {
                    actions.extend(self.replace(&run).await?);
                }
                actions.extend(self.staged.written.adds.iter().cloned().map(Action::Add));
            }
            LoadMode::Truncate => {
                actions.extend(state(&self.table)?.log_data().iter().map(|f| Action::Remove(f.remove_action(true))));
                actions.extend(self.staged.written.adds.iter().cloned().map(Action::Add));
            }
            LoadMode::Upsert => actions.extend(self.merge(&columns, session).await?),
        }
        Ok(actions)
    }

    async fn merge(&mut self, columns: &StructType, session: &SessionState) -> Result<Vec<Action>, RunError> {
        let schema = columns::file_schema(columns, &self.schema.fields)?;
        let incoming = Incoming {
            place: &self.place,
            folder: &self.folder,
            keys: &self.keys,
            adds: &self.staged.written.adds,
            rows: self.staged.written.rows,
            key_bytes: self.staged.key_bytes,
            memory: self.memory,
            session,
        };
        self.merge.actions(&incoming, &self.table, &schema).await
    }

    /// Takes out the rows that `run` appended.
    async fn replace(&mut self, run: &str) -> Result<Vec<Action>, RunError> {
        let files = match self.replaced.take() {
            Some(files) => files,
            None => {
                let entry = log::find(&self.place, &self.table, run).await?;
                if entry.facts.and_then(|facts| facts.load_mode) == Some(LoadMode::Upsert) {
                    return Err(RunError::new(
                        Kind::Target,
                        format!(
                            "the run {run}, which this one retries, merged its rows into the table; they cannot be told apart and taken out again"
                        ),
                    ));
                }
                entry.files
            }
        };
        let current: HashMap<String, _> =
            state(&self.table)?.log_data().iter().map(|file| (file.path().to_string(), file)).collect();
        let removes = files
            .iter()
            .map(|path| match current.get(path) {
                Some(file) => Ok(Action::Remove(file.remove_action(true))),
                None => Err(RunError::new(
                    Kind::Target,
                    format!(
                        "the rows of the run {run}, which this one retries and replaces, were rewritten since (by an upsert, \
                         a truncate or another tool), so that they cannot be taken out again; start a new run instead"
                    ),
                )),
            })
            .collect();
        self.replaced = Some(files);
        removes
    }

    /// After a commit of this attempt.
    async fn committed(&mut self, version: u64) -> Committed {
        self.done_by = Some(self.run_id.clone());
        self.keep = true;
        let mut adds = self.merge.take_adds();
        adds.append(&mut self.staged.written.adds);
        self.folder.remove_others(&adds).await;
        Committed { rows_out: self.staged.written.rows, skipped: self.staged.superseded, version }
    }

    /// The commit was there already: an earlier run's, another attempt's, or this one's after all.
    async fn found(&mut self, run: String) -> Result<Committed, RunError> {
        self.done_by = Some(run.clone());
        // It may have been this attempt's, by a request that was sent again after it had worked.
        self.keep = true;
        let nothing = Committed { rows_out: 0, skipped: 0, version: state(&self.table)?.version() };
        let entry = match log::find(&self.place, &self.table, &run).await {
            Ok(entry) => entry,
            // The rows are in, which is what counts; only their number is forgotten.
            Err(error) if error.kind == Kind::Target => return Ok(nothing),
            Err(error) => return Err(error),
        };
        let kept = entry.files.iter().map(String::as_str).collect();
        self.folder.remove_but(&kept).await;
        Ok(match entry.facts {
            Some(facts) => Committed { rows_out: facts.rows_out, skipped: facts.skipped_rows, version: entry.version },
            None => nothing,
        })
    }
}

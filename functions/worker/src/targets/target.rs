//! One target node of one run, from opening its table to the commit.

use super::cast::Limits;
use super::columns::{self, arrow_type};
use super::commit::{self, TRIES, Tried};
use super::earlier::Look;
use super::files::{Folder, unless};
use super::increment::Increment;
use super::keys::upsert_keys;
use super::log::{self, Entry, Facts};
use super::merge::{Incoming, Merge};
use super::rejected;
use super::stage::{Reporter, Staged, Staging};
use super::table::{Place, state};
use super::unique::{self, Rule};
use super::watermark::Watermark;
use super::whole::Whole;
use super::widen;
use crate::engine::job::{Earlier, Job, Settings, TableSchema};
use crate::engine::progress::{NodeCounters, Progress};
use crate::error::{Kind, RunError};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use deltalake::DeltaTable;
use deltalake::kernel::{Action, StructType};
use object_store::path::Path;
use shared::models::node::{LoadMode, TargetConfig};
use std::collections::HashSet;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How often a commit is read back for the receipt.
const READ_BACK: u32 = 4;

/// What a commit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Rows that the table took.
    pub rows_out: u64,
    /// Rows that the load mode left out: in an upsert, those that a later row of the same key replaced; in an incremental
    /// load, those that are not past the watermark.
    pub skipped: u64,
    /// Rows that the run as a whole had rejected when it committed.
    pub rejected: u64,
    /// The table's version that has the rows.
    pub version: u64,
}

/// What a look at the table comes to.
enum Plan {
    /// This run has the rows, or one before it.
    Found(String),
    /// These actions are to be the version after this one.
    Commit { after: u64, actions: Vec<Action> },
}

/// One target node of one run.
pub struct Target {
    pub(super) place: Place,
    pub(super) node: String,
    pub(super) run_id: String,
    pub(super) attempt: u32,
    /// The table's version when it was opened.
    read_version: u64,
    pub(super) mode: LoadMode,
    allow_empty: bool,
    /// The keys of an upsert; empty for the other load modes.
    keys: Vec<String>,
    /// The schema as the run was given it.
    given: TableSchema,
    /// The same with the types of the table, which may be wider by now.
    pub(super) schema: TableSchema,
    pub(super) earlier: Vec<Earlier>,
    memory: usize,
    pub(super) table: DeltaTable,
    folder: Folder,
    staged: Staged,
    merge: Merge,
    /// What tells the rows of an incremental load.
    increment: Option<Increment>,
    /// What an upsert must keep unique in the whole table, and the files in which it is known to be.
    whole: Option<(Vec<Rule>, HashSet<String>)>,
    progress: Option<Arc<Progress>>,
    /// The run in `txn` of the commit that already has the rows.
    pub(super) done_by: Option<String>,
    /// That commit, once it was read back from the log.
    pub(super) entry: Option<Entry>,
    /// The files of the earlier run that this one replaces, once they were looked up.
    pub(super) replaced: Option<Vec<String>>,
    /// Whether the run's own rows are replaced where an attempt before this one has committed them.
    pub(super) replaces_own: bool,
    /// Whether what was staged is in a commit, or in one that was sent and of which the log has not shown that it is not in:
    /// it must stay.
    keep: bool,
    /// The version of the table after which the last commit was sent.
    sent_after: Option<u64>,
}

/// Opens the table of one target node of the job, and makes it where it is not there yet. Columns whose fields have been
/// given wider types since are widened.
///
/// # Errors
/// `Kind::Definition` where the node asks for what cannot be, `Kind::Target` where the table does not fit the schema,
/// `Kind::Superseded` where the run was settled as not committed, `Kind::TargetUnavailable`.
pub async fn open(job: &Job, node: &str, config: &TargetConfig, settings: &Settings) -> Result<Target, RunError> {
    open_at(job, node, config, settings).await.map_err(|e| e.at(node))
}

async fn open_at(job: &Job, node: &str, config: &TargetConfig, settings: &Settings) -> Result<Target, RunError> {
    let mode = config.load_mode.unwrap_or_default();
    let given = job.schema_of(config)?;
    let keys = if mode == LoadMode::Upsert { upsert_keys(given, config)? } else { Vec::new() };
    let place = Place::new(&job.tenant_id, given, settings)?;
    let mut table = place.load_or_create(given).await?;
    place.check_writable(&table)?;
    let schema = widen::meet(&place, &mut table, given).await?;
    if job.attempt > 1 {
        widen::tidy(&place, &table).await;
    }
    let folder = Folder::new(&place, table.object_store(), &job.run_id, job.attempt)?;
    let mut target = Target {
        place,
        node: node.to_owned(),
        run_id: job.run_id.clone(),
        attempt: job.attempt,
        read_version: state(&table)?.version(),
        mode,
        allow_empty: config.allow_empty.unwrap_or(false),
        keys,
        given: given.clone(),
        schema,
        earlier: job.earlier.clone(),
        memory: settings.memory_bytes,
        table,
        folder,
        staged: Staged::default(),
        merge: Merge::default(),
        increment: None,
        whole: None,
        progress: None,
        done_by: None,
        entry: None,
        replaced: None,
        replaces_own: false,
        keep: false,
        sent_after: None,
    };
    // Types that do not fit are told before a row is read.
    commit::evolve(&target.table, &target.schema, None)?;
    let Look { done_by, replaces } = target.look().await?;
    target.done_by = done_by;
    if mode == LoadMode::IncrementalWatermark && !target.already_committed() {
        target.increment = Some(Increment::open(&target, config.watermark_column.as_deref(), replaces).await?);
    }
    Ok(target)
}

impl Target {
    /// Whether the rows of this run, or of the one that it retries, are in: nothing is to be staged.
    pub fn already_committed(&self) -> bool {
        self.done_by.is_some()
    }

    /// The schema, with the types that the table has.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The column of an incremental load and the watermark from which it reads, where there is one.
    pub fn watermark(&self) -> Option<(&str, &Watermark)> {
        let increment = self.increment.as_ref()?;
        Some((&increment.column, increment.from.as_ref()?))
    }

    /// Whether the rows of an earlier run are to be taken out by the commit.
    ///
    /// # Errors
    /// `Kind::Superseded` where the run was settled; `Kind::TargetUnavailable`.
    pub async fn replaces(&self) -> Result<bool, RunError> {
        Ok(self.look().await?.replaces.is_some())
    }

    /// Lets this attempt replace the rows that one before it has committed; false where it was this one itself, or a later
    /// one, or where the log does not say.
    ///
    /// # Errors
    /// `Kind::TargetUnavailable`.
    pub async fn replace_own(&mut self) -> Result<bool, RunError> {
        self.replaces_own = self.is_of_attempt_before().await?;
        if self.replaces_own {
            self.done_by = None;
        }
        Ok(self.replaces_own)
    }

    /// Whether another attempt has staged files of the run.
    pub async fn is_staged_before(&self) -> bool {
        self.folder.is_used().await
    }

    /// Casts the rows of `plan` to the schema, reports what does not fit, and writes the rest into files that no reader
    /// sees before [`Target::commit`]. What fails is removed.
    ///
    /// # Errors
    /// The plan's; `Kind::Definition` where a field can get no value; `Kind::Data` where more rows are rejected than the
    /// pipeline allows; `Kind::Target` where truncate would replace the table with nothing, or the watermark would be too long;
    /// `Kind::Cancelled` on `stop`; `Kind::TargetUnavailable`; `Kind::Resources`.
    pub async fn stage(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        counters: Arc<NodeCounters>,
        progress: Arc<Progress>,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        self.progress = Some(Arc::clone(&progress));
        let reporter = Arc::new(Reporter { counters, progress });
        match self.stage_at(plan, context, reporter, stop).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.folder.remove().await;
                self.staged = Staged::default();
                Err(error.at(&self.node))
            }
        }
    }

    async fn stage_at(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        reporter: Arc<Reporter>,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        let (columns, _) = commit::evolve(&self.table, &self.schema, None)?;
        let table = columns::file_schema(&columns, &self.schema.fields)?;
        let rules =
            if self.keys.is_empty() { Vec::new() } else { unique::rules(&self.schema.fields, &table, &self.keys) };
        let past = match &mut self.increment {
            Some(increment) => {
                // It reads the table, of which much may have just the watermark's value.
                let past = increment.past(&self.place, &self.table, &table, &self.schema.fields, &context);
                Some(unless(stop, past).await?)
            }
            None => None,
        };
        let staging = Staging {
            into: &self.folder,
            table: &table,
            fields: &self.schema.fields,
            keys: &self.keys,
            limits: Limits::new(),
            past,
            with_rows: !rules.is_empty(),
            context: Arc::clone(&context),
            reporter: Arc::clone(&reporter),
            stop,
        };
        self.staged = staging.run(plan).await?;
        if !rules.is_empty() {
            let whole = Whole {
                place: &self.place,
                folder: &self.folder,
                table: &self.table,
                keys: &self.keys,
                rules: &rules,
                key_bytes: self.staged.key_bytes,
                memory: self.memory,
                context: &context,
            };
            let written = std::mem::take(&mut self.staged.written);
            self.staged.written = whole.enforce(written, &table, &reporter, stop).await?;
            let known = state(&self.table)?.log_data().iter().map(|file| file.path().to_string()).collect();
            self.whole = Some((rules, known));
        }
        self.may_be_empty()
    }

    fn may_be_empty(&self) -> Result<(), RunError> {
        if self.mode != LoadMode::Truncate || self.staged.written.rows > 0 || self.allow_empty {
            return Ok(());
        }
        Err(RunError::new(
            Kind::Target,
            format!(
                "no row reached the target, and truncate does not replace the table of the schema {:?} with nothing \
                 unless allowEmpty is set",
                self.schema.name
            ),
        ))
    }

    /// Commits what was staged, once: a second call, or a call after another worker's, changes nothing.
    ///
    /// # Errors
    /// `Kind::Superseded` where the run was settled meanwhile; `Kind::TargetUnavailable`, also where another run has
    /// moved the watermark or brought the same unique values since the rows were read, so that they must be read again;
    /// `Kind::Cancelled` on `stop`, which comes too late once the commit was sent; `Kind::Target`, `Kind::Resources`.
    pub async fn commit(&mut self, session: &SessionState, stop: &CancellationToken) -> Result<Committed, RunError> {
        self.commit_at(session, stop).await.map_err(|e| e.at(&self.node))
    }

    async fn commit_at(&mut self, session: &SessionState, stop: &CancellationToken) -> Result<Committed, RunError> {
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                commit::pause(attempt).await;
            }
            let (version, actions) = match unless(stop, self.look_and_plan(session)).await? {
                Plan::Found(run) => return unless(stop, self.found(run)).await,
                Plan::Commit { after, actions } => (after, actions),
            };
            let facts = self.facts();
            // Whoever wants it to stop from here on learns what it came to.
            (self.keep, self.sent_after) = (true, Some(version));
            match commit::try_once(&self.place, &self.table, actions, &facts).await? {
                Tried::Committed(version) => return Ok(self.committed(version, &facts).await),
                Tried::Conflict => {}
                Tried::Unknown(error) if error.kind.is_retryable() => last = Some(error),
                Tried::Unknown(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| commit::too_busy(&self.place)))
    }

    /// Does before the gate what a commit has to do that reads and writes rows: of an upsert, its merge. The commit does
    /// again what others have changed in between.
    ///
    /// # Errors
    /// As [`Target::commit`].
    pub async fn prepare(&mut self, session: &SessionState) -> Result<(), RunError> {
        if self.mode == LoadMode::Upsert && !self.already_committed() {
            self.look_and_plan(session).await.map_err(|e| e.at(&self.node))?;
        }
        Ok(())
    }

    /// What is to be committed to the table as it is now; or the run that has the rows.
    async fn look_and_plan(&mut self, session: &SessionState) -> Result<Plan, RunError> {
        // The version that is looked at now is the one that the commit must follow.
        self.table.update_state().await.map_err(|e| self.place.error("read", e))?;
        if self.done_by.is_none() {
            self.follow_types().await?;
        }
        let look = self.look().await?;
        if self.replaces_own {
            // Yet another attempt may have replaced them.
            self.replaced = None;
        }
        if let Some(run) = look.done_by {
            return Ok(Plan::Found(run));
        }
        if self.already_committed() {
            return Err(RunError::new(
                Kind::TargetUnavailable,
                format!(
                    "the rows of the run that this one retries were taken out of the table of the schema {:?} while it ran \
                     (a rollback); they must be read again",
                    self.place.schema
                ),
            ));
        }
        let after = state(&self.table)?.version();
        // The version that was tried is another one's: that commit is not in, and cannot come in any more. A conflict alone
        // does not say so, since a request that is sent again meets what it has written itself.
        if self.sent_after.is_none_or(|sent| sent < after) {
            self.keep = false;
        }
        Ok(Plan::Commit { after, actions: self.actions(look.replaces, session).await? })
    }

    /// Removes what was staged, unless a commit may have taken it.
    pub async fn abort(&mut self) {
        if !self.keep {
            self.folder.remove().await;
        }
        self.staged = Staged::default();
        self.merge = Merge::default();
    }

    /// Writes the staged files anew where the table has been given wider types since.
    async fn follow_types(&mut self) -> Result<(), RunError> {
        let schema = widen::meet(&self.place, &mut self.table, &self.given).await?;
        let types = |schema: &TableSchema| schema.fields.iter().map(arrow_type).collect::<Vec<_>>();
        if types(&schema) == types(&self.schema) {
            return Ok(());
        }
        self.schema = schema;
        let (columns, _) = commit::evolve(&self.table, &self.schema, None)?;
        let files = columns::file_schema(&columns, &self.schema.fields)?;
        let old = std::mem::take(&mut self.staged.written.adds);
        for add in &old {
            let bytes = u64::try_from(add.size).unwrap_or(0);
            let path = Path::from(add.path.as_str());
            let files = (&files, &CancellationToken::new());
            let new = widen::rewrite(&self.place, &self.table, &self.folder, &path, bytes, files).await?;
            self.staged.written.adds.extend(new);
        }
        if !self.keep {
            self.folder.remove_files(&old).await;
        }
        Ok(())
    }

    fn facts(&self) -> Facts {
        Facts {
            load_mode: Some(self.mode),
            rows_out: self.staged.written.rows,
            skipped_rows: self.staged.superseded,
            attempt: self.attempt,
            read_version: Some(self.read_version),
            rejected_rows: self.progress.as_ref().map_or(0, |progress| progress.rejected()),
            watermark: self.increment.as_ref().map(Increment::moved),
            ..Facts::settled(&self.run_id)
        }
    }

    async fn actions(&mut self, replaces: Option<String>, session: &SessionState) -> Result<Vec<Action>, RunError> {
        let property = match &self.increment {
            Some(increment) => increment.property(&self.place, &self.table)?,
            None => None,
        };
        let (columns, mut actions) = commit::evolve(&self.table, &self.schema, property)?;
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
            LoadMode::Upsert => {
                self.still_unique(session).await?;
                actions.extend(self.merge(&columns, session).await?);
            }
        }
        Ok(actions)
    }

    /// Looks into the files that came since the rows were checked against the whole table.
    async fn still_unique(&self, session: &SessionState) -> Result<(), RunError> {
        let Some((rules, known)) = &self.whole else { return Ok(()) };
        let context = session.task_ctx();
        let whole = Whole {
            place: &self.place,
            folder: &self.folder,
            table: &self.table,
            keys: &self.keys,
            rules,
            key_bytes: self.staged.key_bytes,
            memory: self.memory,
            context: &context,
        };
        whole.still_holds(&self.staged.written, known).await
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

    /// The last attempt of which no commit can come in any more, now that the run is in. Of rejected rows those of a later one
    /// may still take their place.
    fn last_to_remove(&self) -> u32 {
        if rejected::is_one(&self.schema.id) { self.attempt } else { u32::MAX }
    }

    /// After a commit of this attempt.
    async fn committed(&mut self, version: u64, facts: &Facts) -> Committed {
        self.done_by = Some(self.run_id.clone());
        self.keep = true;
        let mut adds = self.merge.take_adds();
        adds.append(&mut self.staged.written.adds);
        // Those that were the run's before are still named by older versions of the table.
        let before = if self.replaces_own { self.replaced.as_deref().unwrap_or_default() } else { &[] };
        let kept = adds.iter().map(|add| add.path.as_str()).chain(before.iter().map(String::as_str));
        self.folder.remove_up_to(self.last_to_remove(), &kept.collect()).await;
        self.entry = self.read_back(version).await;
        facts.committed(version)
    }

    /// The commit of this attempt, as the log has it. It is in: that it cannot be read is no error of the run.
    async fn read_back(&self, version: u64) -> Option<Entry> {
        for attempt in 0..READ_BACK {
            if attempt > 0 {
                commit::pause(attempt).await;
            }
            match log::read(&self.place, &self.table, version, &self.run_id).await {
                Ok(entry) => return entry,
                Err(error) => tracing::warn!(run = self.run_id, version, %error, "a commit cannot be read back"),
            }
        }
        None
    }

    /// The commit was there already: an earlier run's, another attempt's, or this one's after all.
    async fn found(&mut self, run: String) -> Result<Committed, RunError> {
        self.done_by = Some(run.clone());
        // It may have been this attempt's, by a request that was sent again after it had worked.
        self.keep = true;
        let nothing = Facts::settled(&run).committed(state(&self.table)?.version());
        if rejected::is_one(&self.schema.id) && (run != self.run_id || self.is_of_attempt_before().await?) {
            commit::close(&self.place, &mut self.table, &self.run_id, self.attempt).await?;
        }
        let entry = match log::find(&self.place, &self.table, &run).await {
            Ok(entry) => entry,
            // The rows are in, which is what counts; only their number is forgotten.
            Err(error) if error.kind == Kind::Target => return Ok(nothing),
            Err(error) => return Err(error),
        };
        // Whoever committed may have died before it removed what others had staged.
        self.folder.remove_up_to(self.last_to_remove(), &entry.named()).await;
        let committed = entry.facts.as_ref().map_or(nothing, |facts| facts.committed(entry.version));
        self.entry = Some(entry);
        Ok(committed)
    }
}

//! Writes a table of a database: rows are staged in a temporary table of the connection, and one transaction brings them
//! into the table and the run into its ledger.

mod connection;
mod copy;
mod increment;
mod ledger;
mod limits;
mod lines;
mod load;
mod merge;
mod table;
mod taken;
mod types;

use super::columns::arrow_type;
use super::files::unless;
use super::keys::upsert_keys;
use super::settle::Settled;
use super::stage::{Reporter, Staged, Staging};
use super::target::Committed;
use super::watermark::Watermark;
use crate::databases::{Fault, Server, TableName};
use crate::engine::job::{Connector, Earlier, Job, Settings, TableSchema};
use crate::engine::progress::{NodeCounters, Progress};
use crate::error::{Kind, RunError};
use connection::{Connection, Failed};
use datafusion::arrow::datatypes::{Field as ArrowField, Schema, SchemaRef};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use increment::Increment;
use ledger::{Entry, Ledger};
use load::Load;
use shared::models::node::{LoadMode, TargetConfig};
use shared::models::receipt::{self, DatabaseWrite, TargetKind};
use std::sync::Arc;
use std::time::Duration;
use table::Table;
use tokio_util::sync::CancellationToken;

/// How often a commit is tried that meets another one.
const TRIES: u32 = 8;

/// One target node of one run that writes a database.
pub struct Target {
    node: String,
    run_id: String,
    mode: LoadMode,
    allow_empty: bool,
    /// The keys of an upsert; empty for the other load modes.
    keys: Vec<String>,
    server: Arc<Server>,
    /// None once the target is aborted: the staging table goes with it.
    connection: Option<Connection>,
    table: Table,
    /// What tells the table from all others.
    identity: String,
    schema: TableSchema,
    ledger: Ledger,
    /// What tells the rows of an incremental load.
    increment: Option<Increment>,
    rows: u64,
    skipped: u64,
    progress: Option<Arc<Progress>>,
    /// What the run that already has the rows came to.
    done: Option<Entry>,
    /// The run that has the rows.
    done_by: String,
    connector_id: String,
    attempt: u32,
}

/// Opens the table of a database for one target node, and makes it where it is not there yet.
///
/// # Errors
/// `Kind::Definition` where the node asks for what cannot be, `Kind::Target` where the table does not fit the schema or
/// the server refuses, `Kind::Superseded` where the run was settled as not committed, `Kind::TargetUnavailable`.
pub async fn open(
    job: &Job,
    node: &str,
    config: &TargetConfig,
    connector: &Connector,
    settings: &Settings,
) -> Result<Target, RunError> {
    let mode = config.load_mode.unwrap_or_default();
    let keys = if mode == LoadMode::Upsert { upsert_keys(&job.schema, config)? } else { Vec::new() };
    let server = Arc::new(Server::of(connector)?);
    let name = TableName::parse(job.table_of(config));
    let mut connection = Connection::new(&server).await.map_err(Fault::target)?;
    let ledger = Ledger::of(&name, server.dialect);
    let failed = |failed: Failed| failed.fault.target();
    ledger.make(&mut connection).await.map_err(failed)?;
    let table = Table::open(&mut connection, &name, &job.schema).await?;
    let identity = table.identity(&mut connection).await.map_err(failed)?;
    let found = look(&mut connection, &ledger, &job.run_id, &job.earlier, mode).await?;
    let (done_by, done) = found.map_or((job.run_id.clone(), None), |(run, entry)| (run, Some(entry)));
    let increment = match (mode, done) {
        (LoadMode::IncrementalWatermark, None) => {
            let column = config.watermark_column.as_deref();
            Some(Increment::open(&mut connection, &table, &job.schema.name, column, (connector, settings)).await?)
        }
        _ => None,
    };
    Ok(Target {
        node: node.to_owned(),
        run_id: job.run_id.clone(),
        mode,
        allow_empty: config.allow_empty.unwrap_or(false),
        keys,
        server,
        connection: Some(connection),
        schema: TableSchema { fields: table.fields.clone(), ..job.schema.clone() },
        table,
        identity,
        ledger,
        increment,
        rows: 0,
        skipped: 0,
        progress: None,
        done,
        done_by,
        connector_id: connector.id.clone(),
        attempt: job.attempt,
    })
}

/// What the ledger says of the run, and of those that it retries, and of which: the newest that is in decides.
async fn look(
    connection: &mut Connection,
    ledger: &Ledger,
    run: &str,
    earlier: &[Earlier],
    mode: LoadMode,
) -> Result<Option<(String, Entry)>, RunError> {
    let failed = |failed: Failed| failed.fault.target();
    match ledger.find(connection, run).await.map_err(failed)? {
        Some(Entry::Void) => return Err(superseded()),
        Some(entry) => return Ok(Some((run.to_owned(), entry))),
        None => {}
    }
    for before in earlier {
        let Some(entry @ Entry::Committed { .. }) = ledger.find(connection, &before.run_id).await.map_err(failed)?
        else {
            continue;
        };
        return match (before.replace, mode) {
            (false, _) => Ok(Some((before.run_id.clone(), entry))),
            // They put the rows in the place of the earlier ones by themselves.
            (true, LoadMode::Truncate | LoadMode::Upsert) => Ok(None),
            (true, LoadMode::Append | LoadMode::IncrementalWatermark) => Err(RunError::new(
                Kind::Target,
                format!(
                    "the rows that the run {run} took are in the table, where nothing tells them from others, so this retry \
                     cannot replace them and has written nothing; bring only the rows that it rejected, which \
                     GET …/runs/{run}/errors lists, from a source of their own, or delete its rows by hand and start a new \
                     run; with the load mode upsert a retry replaces rows by their key",
                    run = before.run_id
                ),
            )),
        };
    }
    Ok(None)
}

fn superseded() -> RunError {
    let why = "the run was settled as not committed, so that its rows can no longer be written";
    RunError::new(Kind::Superseded, why)
}

fn internal(why: impl Into<String>) -> RunError {
    RunError::new(Kind::Internal, why)
}

impl Target {
    /// Whether the rows of this run, or of the one that it retries, are in: nothing is to be staged.
    pub fn already_committed(&self) -> bool {
        self.done.is_some()
    }

    /// What tells the table from all others.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The schema, with the types that the table has.
    pub fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// The column of an incremental load and the watermark from which it reads, where there is one.
    pub fn watermark(&self) -> Option<(&str, &Watermark)> {
        let increment = self.increment.as_ref()?;
        Some((&increment.column, increment.stored.as_ref()?))
    }

    /// Casts the rows of `plan`, reports what does not fit, and brings the rest into the staging table.
    ///
    /// # Errors
    /// The plan's; `Kind::Definition` where a field can get no value; `Kind::Data` where more rows are rejected than the
    /// pipeline allows; `Kind::Cancelled` on `stop`; `Kind::Target`, `Kind::TargetUnavailable`; `Kind::Resources`.
    pub async fn stage(
        &mut self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        counters: Arc<NodeCounters>,
        progress: Arc<Progress>,
        stop: &CancellationToken,
    ) -> Result<(), RunError> {
        let Some(connection) = &mut self.connection else { return Err(aborted()) };
        let arrow = self.table.fields.iter().map(|f| ArrowField::new(&f.name, arrow_type(f), f.nullable()));
        let schema: SchemaRef = Arc::new(Schema::new(arrow.collect::<Vec<_>>()));
        let past = match &mut self.increment {
            Some(increment) => {
                // It reads the target, which may take long, or be locked.
                let past = unless(stop, increment.past(connection, &self.table, &schema, &context)).await;
                Some(past.map_err(|e| e.at(&self.node))?)
            }
            None => None,
        };
        let rules = taken::rules(&self.table, self.mode, &self.keys);
        let reporter = Arc::new(Reporter { counters, progress: Arc::clone(&progress) });
        let with_rows = !rules.is_empty();
        let staging = Staging {
            into: Load { connection: &mut *connection, table: &self.table, with_rows },
            table: &schema,
            fields: &self.table.fields,
            keys: &self.keys,
            limits: limits::of(&self.table),
            past,
            with_rows,
            context,
            reporter: Arc::clone(&reporter),
            stop,
        };
        let mut staged = staging.run(plan).await;
        if let (true, Ok(rows)) = (with_rows, &mut staged) {
            // It reads the target too. A statement that is under way ends with the connection.
            let rejected = taken::reject(connection, &self.table, &rules, &self.keys, &reporter);
            match unless(stop, rejected).await {
                Ok(rejected) => rows.written.rows -= rejected,
                Err(error) => staged = Err(error),
            }
        }
        self.progress = Some(progress);
        match staged.and_then(|staged| self.may_be_empty(staged)) {
            Ok(staged) => {
                (self.rows, self.skipped) = (staged.written.rows, staged.superseded);
                Ok(())
            }
            Err(error) => {
                self.connection = None;
                Err(error.at(&self.node))
            }
        }
    }

    /// Commits what was staged, once: a second call, or a call after another worker's, changes nothing.
    ///
    /// # Errors
    /// `Kind::Target` where truncate would replace the table with nothing; `Kind::Superseded` where the run was settled
    /// meanwhile; `Kind::Target` where the table refuses a row; `Kind::TargetUnavailable`.
    pub async fn commit(&mut self) -> Result<Committed, RunError> {
        self.commit_at().await.map_err(|e| e.at(&self.node))
    }

    async fn commit_at(&mut self) -> Result<Committed, RunError> {
        if let Some(entry) = self.done {
            return committed(entry);
        }
        let rejected = self.progress.as_ref().map_or(0, |progress| progress.rejected());
        let (rows, skipped) = (self.rows, self.skipped);
        let entry = Entry::Committed { rows, skipped, rejected, attempt: Some(self.attempt) };
        let mut last = None;
        for attempt in 0..TRIES {
            if attempt > 0 {
                super::commit::pause(attempt + 3).await;
            }
            self.same_keys_differ(attempt).await?;
            let Some(connection) = self.connection.as_mut() else { return Err(aborted()) };
            let work = Work {
                table: &self.table,
                ledger: &self.ledger,
                mode: self.mode,
                keys: &self.keys,
                run: &self.run_id,
                increment: self.increment.as_ref(),
            };
            match work.transaction(connection, entry).await {
                Ok(Done::Now) => return self.finish(entry),
                Ok(Done::Before) => {
                    let found = self.ledger.find(connection, &self.run_id).await.map_err(|f| f.fault.target())?;
                    return self.finish(found.unwrap_or(Entry::Void));
                }
                Ok(Done::Moved(error)) => return Err(error),
                Err(failed) if failed.again => last = Some(failed.fault.target()),
                Err(failed) if failed.is_away() => return self.unknown(failed).await,
                Err(failed) if failed.duplicate && !taken::rules(&self.table, self.mode, &self.keys).is_empty() => {
                    let why = "another run or somebody else may have brought the same value meanwhile; the rows must be \
                               checked again";
                    let message = format!("{}: {why}", failed.fault.message);
                    return Err(RunError::new(Kind::TargetUnavailable, message));
                }
                Err(failed) => return Err(failed.fault.target()),
            }
        }
        Err(last.unwrap_or_else(|| internal("a commit was never tried")))
    }

    fn may_be_empty(&self, staged: Staged) -> Result<Staged, RunError> {
        if self.mode == LoadMode::Truncate && staged.written.rows == 0 && !self.allow_empty {
            return Err(RunError::new(
                Kind::Target,
                format!(
                    "no row reached the target, and truncate does not replace the table {:?} with nothing unless allowEmpty \
                     is set",
                    self.table.name.to_string()
                ),
            ));
        }
        Ok(staged)
    }

    /// Two keys that differ for us and not for the database would silently become one row.
    async fn same_keys_differ(&mut self, attempt: u32) -> Result<(), RunError> {
        let (Some(connection), rows) = (&mut self.connection, self.rows) else { return Ok(()) };
        if self.keys.is_empty() || attempt > 0 {
            return Ok(());
        }
        let counted = connection.rows(&merge::different_keys(&self.table, &self.keys)).await;
        let counted = counted.map_err(|failed| failed.fault.target())?;
        let different = counted.first().and_then(|row| row.first().cloned().flatten()).and_then(|n| n.parse().ok());
        if different == Some(rows) {
            return Ok(());
        }
        Err(RunError::new(
            Kind::Target,
            format!(
                "of {rows} rows with different keys in {}, some are equal for the database, by the collation of the columns in \
                 the table {:?} (such as in letters' case or blanks at the end)",
                self.keys.join(", "),
                self.table.name.to_string()
            ),
        ))
    }

    /// The connection was lost: the ledger tells whether the commit has worked.
    async fn unknown(&mut self, failed: Failed) -> Result<Committed, RunError> {
        self.connection = None;
        match self.ledger.ask(&self.server, &self.run_id).await.map_err(Fault::target)? {
            Some(entry) => self.finish(entry),
            // Nothing is in; the next attempt stages again.
            None => Err(failed.fault.target()),
        }
    }

    fn finish(&mut self, entry: Entry) -> Result<Committed, RunError> {
        let committed = committed(entry)?;
        self.done = Some(entry);
        // The staging table goes with the connection.
        self.connection = None;
        Ok(committed)
    }

    /// What it tells the run's receipt; none before its commit.
    pub fn receipt(&self) -> Option<receipt::Target> {
        let Some(Entry::Committed { rows, skipped, attempt, .. }) = self.done else { return None };
        Some(receipt::Target {
            node_id: Some(self.node.clone()),
            attempt,
            load_mode: Some(self.mode),
            ..written(&self.connector_id, &self.ledger, &self.table.name, &self.done_by, (rows, skipped))
        })
    }

    /// Forgets what was staged.
    pub fn abort(&mut self) {
        self.connection = None;
    }
}

/// The target with the rows that `run` has written, and how many it left out.
fn written(
    connector_id: &str,
    ledger: &Ledger,
    table: &TableName,
    run: &str,
    (rows, skipped_rows): (u64, u64),
) -> receipt::Target {
    receipt::Target {
        node_id: None,
        kind: TargetKind::Database,
        table: table.to_string(),
        written_by: run.to_owned(),
        attempt: None,
        load_mode: None,
        rows,
        skipped_rows,
        delta: None,
        database: Some(DatabaseWrite {
            connector_id: connector_id.to_owned(),
            ledger: ledger.name(),
            run_id: run.to_owned(),
            target_table: table.table.clone(),
        }),
    }
}

/// What the ledger says of a run whose target writes `table` in this mode and was settled, or of an earlier one that it left
/// to stand; none where its rows are not in.
///
/// # Errors
/// `Kind::TargetUnavailable` where the database does not answer.
pub async fn recorded(
    connector: &Connector,
    table: &str,
    mode: LoadMode,
    run: &str,
    earlier: &[Earlier],
) -> Result<Option<receipt::Target>, RunError> {
    let server = Arc::new(Server::of(connector)?);
    let name = TableName::parse(table);
    let ledger = Ledger::of(&name, server.dialect);
    let mut connection = Connection::new(&server).await.map_err(Fault::target)?;
    let left = earlier.iter().filter(|run| !run.replace).map(|run| run.run_id.as_str());
    for run in std::iter::once(run).chain(left) {
        let found = ledger.find(&mut connection, run).await.map_err(|failed| failed.fault.target())?;
        if let Some(Entry::Committed { rows, skipped, attempt, .. }) = found {
            let target = written(&connector.id, &ledger, &name, run, (rows, skipped));
            return Ok(Some(receipt::Target { attempt, load_mode: Some(mode), ..target }));
        }
    }
    Ok(None)
}

fn aborted() -> RunError {
    internal("a target was used after it was aborted")
}

fn committed(entry: Entry) -> Result<Committed, RunError> {
    match entry {
        // A database's table has no versions.
        Entry::Committed { rows, skipped, rejected, .. } => {
            Ok(Committed { rows_out: rows, skipped, rejected, version: 0 })
        }
        Entry::Void => Err(superseded()),
    }
}

/// What one transaction does.
struct Work<'a> {
    table: &'a Table,
    ledger: &'a Ledger,
    mode: LoadMode,
    keys: &'a [String],
    run: &'a str,
    increment: Option<&'a Increment>,
}

/// How a transaction ended that did not fail.
enum Done {
    /// The rows are in.
    Now,
    /// The run is in the ledger already, so that nothing was changed.
    Before,
    /// Another run has moved the watermark, so that nothing was changed.
    Moved(RunError),
}

impl Work<'_> {
    /// One try.
    async fn transaction(&self, connection: &mut Connection, entry: Entry) -> Result<Done, Failed> {
        connection.begin().await?;
        let worked = self.statements(connection, entry).await;
        if !matches!(worked, Ok(Done::Now)) {
            let _ = connection.run("ROLLBACK").await;
        }
        worked
    }

    async fn statements(&self, connection: &mut Connection, entry: Entry) -> Result<Done, Failed> {
        // First of all: whoever else commits or settles the run waits here.
        if !self.ledger.enter(connection, self.run, entry).await? {
            return Ok(Done::Before);
        }
        if let Some(increment) = self.increment
            && let Some(error) = increment.store(connection, self.run).await?
        {
            return Ok(Done::Moved(error));
        }
        for statement in merge::statements(self.table, self.mode, self.keys) {
            connection.run(&statement).await?;
        }
        connection.run("COMMIT").await?;
        Ok(Done::Now)
    }
}

/// Whose rows are in the table `table` of a database; if neither the run's are nor those of an earlier one that it left to
/// stand, enters the run as void so that they never will be.
///
/// # Errors
/// `Kind::TargetUnavailable` where the database does not answer: nothing is settled then.
pub async fn settle(connector: &Connector, table: &str, run: &str, earlier: &[Earlier]) -> Result<Settled, RunError> {
    let server = Arc::new(Server::of(connector)?);
    let ledger = Ledger::of(&TableName::parse(table), server.dialect);
    let failed = |failed: Failed| failed.fault.target();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let mut connection = Connection::new(&server).await.map_err(Fault::target)?;
        ledger.make(&mut connection).await.map_err(failed)?;
        if ledger.find(&mut connection, run).await.map_err(failed)?.is_none() {
            for before in earlier {
                if let Some(Entry::Committed { .. }) =
                    ledger.find(&mut connection, &before.run_id).await.map_err(failed)?
                {
                    if !before.replace {
                        return Ok(Settled::Earlier);
                    }
                    break;
                }
            }
        }
        match ledger.settle(&mut connection, run).await {
            Ok(Entry::Committed { .. }) => return Ok(Settled::Own),
            Ok(Entry::Void) => return Ok(Settled::Nothing),
            Err(error) if error.again => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(RunError::new(Kind::TargetUnavailable, format!("{}: the run could not be settled", server.name)))
}

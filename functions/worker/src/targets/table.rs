//! Finds, makes and reads the Delta table of a schema.

use super::columns;
use crate::engine::job::{Lake, Settings, TableSchema};
use crate::error::{Kind, RunError};
use deltalake::kernel::transaction::{CommitProperties, TransactionError};
use deltalake::logstore::ObjectStoreRef;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, ObjectStoreError};
use std::io::ErrorKind;
use std::sync::Once;
use url::Url;

/// The version of the `txn` action of a commit that has the run's rows.
pub const COMMITTED: i64 = 1;
/// The version of the `txn` action of an empty commit that keeps the run's rows out for ever.
pub const VOIDED: i64 = 0;

/// A Delta table that may not be there yet, and whose it is.
#[derive(Debug, Clone)]
pub struct Place {
    url: Url,
    lake: Lake,
    /// The schema's name, for messages.
    pub schema: String,
    /// The folder below the lake's root.
    pub location: String,
}

impl Place {
    /// The table of `schema`: `<lake>/<tenant>/<schema id>`.
    ///
    /// # Errors
    /// `Kind::Internal` where the lake's URL is none, or an id is not a plain name.
    pub fn new(tenant: &str, schema: &TableSchema, settings: &Settings) -> Result<Self, RunError> {
        static HANDLERS: Once = Once::new();
        HANDLERS.call_once(|| deltalake::aws::register_handlers(None));
        for id in [tenant, &schema.id] {
            if id.is_empty() || id.starts_with('.') || id.contains(['/', '\\', '%', '?', '#']) {
                return Err(RunError::new(Kind::Internal, format!("{id:?} cannot name a folder of the lake")));
            }
        }
        let location = format!("{tenant}/{}", schema.id);
        let text = format!("{}/{location}", settings.lake.url.trim_end_matches('/'));
        let url = Url::parse(&text)
            .map_err(|e| RunError::new(Kind::Internal, format!("the lake's address is not a URL: {e}")))?;
        Ok(Self { url, lake: settings.lake.clone(), schema: schema.name.clone(), location })
    }

    /// The folder, where the lake is one.
    pub fn folder(&self) -> Option<std::path::PathBuf> {
        if self.url.scheme() == "file" { self.url.to_file_path().ok() } else { None }
    }

    fn builder(&self) -> Result<DeltaTableBuilder, RunError> {
        let mut options = self.lake.options.clone();
        // A rename that does not look first could overwrite another run's commit.
        options.retain(|name, _| !name.eq_ignore_ascii_case("aws_s3_allow_unsafe_rename"));
        if self.url.scheme() != "file" {
            options.insert("AWS_S3_ALLOW_UNSAFE_RENAME".to_owned(), "false".to_owned());
        }
        Ok(DeltaTableBuilder::from_url(self.url.clone())
            .map_err(|e| self.error("opened", e))?
            .with_storage_options(options))
    }

    /// Where the table's files lie, whether it is there yet or not.
    ///
    /// # Errors
    /// `Kind::TargetUnavailable` where the lake cannot be opened.
    pub fn storage(&self) -> Result<ObjectStoreRef, RunError> {
        Ok(self.builder()?.build_storage().map_err(|e| self.error("opened", e))?.object_store(None))
    }

    /// The table at `version`, or at its newest; none where it is not there yet.
    ///
    /// # Errors
    /// `Kind::TargetUnavailable` where the lake does not answer, `Kind::Target` where the table cannot be understood.
    pub async fn load(&self, version: Option<u64>) -> Result<Option<DeltaTable>, RunError> {
        if let Some(folder) = self.folder()
            && !tokio::fs::try_exists(folder.join("_delta_log")).await.unwrap_or(false)
        {
            return Ok(None);
        }
        let mut builder = self.builder()?;
        if let Some(version) = version {
            builder = builder.with_version(version);
        }
        match builder.load().await {
            Ok(table) => Ok(Some(table)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(self.error("read", e)),
        }
    }

    /// The table at its newest version, made with the columns of `schema` where it is not there yet.
    ///
    /// # Errors
    /// As [`Place::load`], and `Kind::Definition` where a type cannot be.
    pub async fn load_or_create(&self, schema: &TableSchema) -> Result<DeltaTable, RunError> {
        if let Some(table) = self.load(None).await? {
            return Ok(table);
        }
        if let Some(folder) = self.folder() {
            tokio::fs::create_dir_all(&folder).await.map_err(|e| {
                RunError::new(
                    Kind::TargetUnavailable,
                    format!("the folder for the table of the schema {:?} cannot be made: {}", self.schema, e.kind()),
                )
            })?;
        }
        let log_store = self.builder()?.build_storage().map_err(|e| self.error("opened", e))?;
        let made = CreateBuilder::new()
            .with_log_store(log_store)
            .with_table_name(&schema.name)
            .with_columns(columns::delta_columns(&schema.fields)?)
            .with_save_mode(SaveMode::ErrorIfExists)
            // Whoever comes second must not describe the table a second time.
            .with_commit_properties(CommitProperties::default().with_max_retries(0))
            .await;
        match made {
            Ok(table) => Ok(table),
            Err(e) => match self.load(None).await? {
                Some(table) => Ok(table),
                None => Err(self.error("made", e)),
            },
        }
    }

    /// Refuses a table that another tool has made into something that Flowgate would break.
    ///
    /// # Errors
    /// `Kind::Target`.
    pub fn check_writable(&self, table: &DeltaTable) -> Result<(), RunError> {
        let metadata = state(table)?.metadata();
        let why = if !metadata.partition_columns().is_empty() {
            "it is partitioned"
        } else if metadata.configuration().get("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
            "its columns are mapped (delta.columnMapping.mode)"
        } else if metadata.configuration().get("delta.enableChangeDataFeed").is_some_and(|on| on == "true") {
            "it keeps a change data feed (delta.enableChangeDataFeed)"
        } else {
            return Ok(());
        };
        Err(RunError::new(
            Kind::Target,
            format!(
                "the table of the schema {:?} cannot be written: another tool has changed it so that {why}",
                self.schema
            ),
        ))
    }

    /// What delta-rs says, for the tenant: without addresses of the lake, which go to the log.
    pub fn error(&self, done: &str, error: DeltaTableError) -> RunError {
        tracing::warn!(table = %self.url, %error, "the table could not be {done}");
        let schema = &self.schema;
        let say = |kind, why: &str| {
            RunError::new(kind, format!("the table of the schema {schema:?} could not be {done}: {why}"))
        };
        if is_full(&error) {
            return say(Kind::TargetUnavailable, "no room is left on the disk of the lake");
        }
        match &error {
            DeltaTableError::ObjectStore { source }
            | DeltaTableError::Transaction { source: TransactionError::ObjectStore { source } } => match source {
                ObjectStoreError::PermissionDenied { .. } | ObjectStoreError::Unauthenticated { .. } => {
                    say(Kind::TargetUnavailable, "the lake refuses access")
                }
                ObjectStoreError::NotFound { .. } => say(Kind::TargetUnavailable, "a file of the table is not there"),
                _ => say(Kind::TargetUnavailable, "the lake does not answer"),
            },
            DeltaTableError::Io { .. } => say(Kind::TargetUnavailable, "the lake does not answer"),
            DeltaTableError::Transaction { source: TransactionError::UnsupportedTableFeatures(features) } => say(
                Kind::Target,
                &format!("another tool has switched on Delta features that Flowgate does not write: {features:?}"),
            ),
            DeltaTableError::Transaction { source: TransactionError::DeltaTableAppendOnly } => {
                say(Kind::Target, "it is append-only (delta.appendOnly), and this would remove rows")
            }
            DeltaTableError::InvalidVersion(version) => {
                say(Kind::Target, &format!("its version {version} is not there any more"))
            }
            DeltaTableError::KernelError(_) => say(Kind::TargetUnavailable, "its log could not be read"),
            _ => say(Kind::TargetUnavailable, "the table's format library gave up; the worker's log says why"),
        }
    }
}

/// Whether a disk had no room, wherever that lies in what was reported.
fn is_full(error: &DeltaTableError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(e) = cause {
        let kind = e.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = e.source();
    }
    false
}

/// Whether there is no table, as opposed to one that cannot be read.
fn is_missing(error: &DeltaTableError) -> bool {
    match error {
        DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_) => true,
        DeltaTableError::ObjectStore { source: ObjectStoreError::NotFound { .. } } => true,
        DeltaTableError::KernelError(e) => e.to_string().contains("No files in log segment"),
        _ => false,
    }
}

/// The state that `table` was loaded in.
///
/// # Errors
/// `Kind::Internal` where it was not.
pub fn state(table: &DeltaTable) -> Result<&DeltaTableState, RunError> {
    table.snapshot().map_err(|_| RunError::new(Kind::Internal, "the table was used before it was loaded"))
}

/// The version of the `txn` action of `run_id` in the state that `table` was loaded in.
///
/// # Errors
/// `Kind::TargetUnavailable` where the log cannot be read.
pub async fn transaction(place: &Place, table: &DeltaTable, run_id: &str) -> Result<Option<i64>, RunError> {
    state(table)?.transaction_version(table.log_store().as_ref(), run_id).await.map_err(|e| place.error("read", e))
}

/// What the `txn` action of the commit that undid the rows of `run_id` is called.
pub fn rollback_id(run_id: &str) -> String {
    format!("{run_id}_rollback")
}

/// What the `txn` action is called of the commit that keeps attempts of `run_id` before one, which is its version, from
/// replacing the run's rejected rows.
pub fn closing_id(run_id: &str) -> String {
    format!("{run_id}_closed")
}

/// Whether the rows of `run_id`, which were in, were taken out again.
///
/// # Errors
/// `Kind::TargetUnavailable` where the log cannot be read.
pub async fn rolled_back(place: &Place, table: &DeltaTable, run_id: &str) -> Result<bool, RunError> {
    Ok(transaction(place, table, &rollback_id(run_id)).await?.is_some())
}

/// Whether another commit came first, so that nothing of ours was written.
pub fn is_conflict(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::MaxCommitAttempts(_) | TransactionError::VersionAlreadyExists(_)
            }
    )
}

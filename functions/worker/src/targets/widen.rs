//! Gives the table the wider types that its schema has got, by writing its files anew.
//!
//! Delta's feature `typeWidening` would leave the files as they are, but not every reader has it (DuckDB and older
//! versions of the Python package refuse such a table as a whole), and no statistics or checkpoints of the narrow type
//! may be met by a wide one. Files of the new type are read right by all. Values stay what they are, so the commit says
//! that no data changed; a table is one version with the old types or the next with the new ones, never a mixture.

use super::columns::{self, Meeting};
use super::commit::{self, TRIES, Tried, pause, too_busy};
use super::files::{Folder, run_errors};
use super::merge::conform;
use super::parquet::StoredFile;
use super::table::{Place, state};
use crate::engine::job::TableSchema;
use crate::error::{Kind, RunError};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use deltalake::DeltaTable;
use deltalake::kernel::{Action, Add, StructType};
use deltalake::logstore::get_actions;
use deltalake::protocol::DeltaOperation;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use std::collections::HashSet;
use tokio_util::sync::CancellationToken;

/// The folder of the table in which files of wider types lie, each under the path of the one that it stands for.
const FOLDER: &str = "widened";
/// How many versions back it is looked for widenings whose worker has died.
const LOOK_BACK: u64 = 31;
/// Log entries that are read at once.
const AT_ONCE: usize = 16;
/// Rows of a batch while a file is written anew.
const ROWS: usize = 8 * 1024;

/// Brings the table at its newest version and `schema` together: columns that are narrower than their fields are
/// widened, in a commit of their own. Answers the schema with the types that the table has then.
///
/// # Errors
/// `Kind::Target` where a type cannot become the other; `Kind::TargetUnavailable`.
pub async fn meet(place: &Place, table: &mut DeltaTable, schema: &TableSchema) -> Result<TableSchema, RunError> {
    for attempt in 0..TRIES {
        if attempt > 0 {
            pause(attempt).await;
            table.update_state().await.map_err(|e| place.error("read", e))?;
        }
        let Meeting { fields, widened } = columns::meet(state(table)?.schema().as_ref(), &schema.fields, &schema.name)?;
        let met = TableSchema { fields, ..schema.clone() };
        let Some(columns) = widened else { return Ok(met) };
        if widen(place, table, &met, &columns).await? {
            table.update_state().await.map_err(|e| place.error("read", e))?;
        }
    }
    Err(too_busy(place))
}

/// One try; false where another commit came first.
async fn widen(
    place: &Place,
    table: &mut DeltaTable,
    schema: &TableSchema,
    columns: &StructType,
) -> Result<bool, RunError> {
    let files = columns::file_schema(columns, &schema.fields)?;
    let mut actions = commit::describe(table, Some(columns), None)?;
    let mut written = Vec::new();
    let done = write_all(place, table, &files, &mut actions, &mut written).await;
    let tried = match done {
        Ok(()) => {
            let operation = DeltaOperation::UpdateFieldMetadata { fields: columns.fields().cloned().collect() };
            commit::try_rewrite(place, table, actions, operation).await
        }
        Err(error) => Err(error),
    };
    let folder = Folder::at(place, table.object_store(), Path::from(FOLDER));
    let replaced: HashSet<Path> = state(table)?.log_data().iter().map(|file| successors(&file.path())).collect();
    match tried {
        Ok(Tried::Committed(version)) => {
            tracing::info!(schema = schema.name, version, files = written.len(), "the table has wider types now");
        }
        Ok(Tried::Conflict) => {
            // A request that is sent again meets what it has written itself: the log says whose the version is.
            table.update_state().await.map_err(|e| place.error("read", e))?;
            let ours: HashSet<&str> = written.iter().map(|add| add.path.as_str()).collect();
            if !state(table)?.log_data().iter().any(|file| ours.contains(file.path().as_ref())) {
                folder.remove_files(&written).await;
                return Ok(false);
            }
        }
        // It may be in: the files stay.
        Ok(Tried::Unknown(error)) => return Err(error),
        Err(error) => {
            folder.remove_files(&written).await;
            return Err(error);
        }
    }
    // What others had written in the place of these files, before they were killed or stopped: no commit can take it any more.
    let kept = written.iter().map(|add| add.path.as_str()).collect();
    folder.remove_in(&replaced, &kept).await;
    Ok(true)
}

/// Removes what attempts that died have left of the newest widenings of a table: after their commit, or since another one's
/// came first. Whatever can be done of it is done.
pub async fn tidy(place: &Place, table: &DeltaTable) {
    if let Err(error) = tidy_newest(place, table).await {
        tracing::warn!(schema = place.schema, %error, "files that no commit took may be left behind");
    }
}

async fn tidy_newest(place: &Place, table: &DeltaTable) -> Result<(), RunError> {
    let newest = state(table)?.version();
    let mut entries = stream::iter(newest.saturating_sub(LOOK_BACK)..=newest)
        .map(|version| {
            let log = table.log_store();
            async move { (version, log.read_commit_entry(version).await) }
        })
        .buffered(AT_ONCE);
    let (mut folders, mut kept) = (HashSet::new(), HashSet::new());
    while let Some((version, entry)) = entries.next().await {
        let Some(entry) = entry.map_err(|e| place.error("read", e))? else { continue };
        let actions = get_actions(version, &entry).map_err(|e| place.error("read", e))?;
        let replaced = actions.iter().filter_map(|action| match action {
            Action::Remove(remove) => Some(successors(&remove.path)),
            _ => None,
        });
        let replaced: HashSet<Path> = replaced.collect();
        for action in &actions {
            if let Action::Add(add) = action
                && let Some((folder, _)) = add.path.rsplit_once('/')
                && let Some(folder) = replaced.get(&Path::from(folder))
            {
                folders.insert(folder.clone());
                kept.insert(add.path.clone());
            }
        }
    }
    if !folders.is_empty() {
        let kept = kept.iter().map(String::as_str).collect();
        Folder::at(place, table.object_store(), Path::from(FOLDER)).remove_in(&folders, &kept).await;
    }
    Ok(())
}

async fn write_all(
    place: &Place,
    table: &DeltaTable,
    schema: &SchemaRef,
    actions: &mut Vec<Action>,
    written: &mut Vec<Add>,
) -> Result<(), RunError> {
    let current: Vec<_> = state(table)?.log_data().iter().collect();
    for file in current {
        if file.deletion_vector_descriptor().is_some() {
            return Err(RunError::new(
                Kind::Target,
                format!(
                    "another tool has marked rows of the table of the schema {:?} as deleted (a deletion vector), so that its \
                     files cannot be written anew with wider types; let that tool rewrite the table",
                    place.schema
                ),
            ));
        }
        let folder = Folder::at(place, table.object_store(), successors(&file.path()));
        let bytes = u64::try_from(file.size()).unwrap_or(0);
        let files = (schema, &CancellationToken::new());
        let adds = rewrite(place, table, &folder, &file.object_store_path(), bytes, files).await?;
        written.extend(adds.iter().cloned());
        actions.push(Action::Remove(file.remove_action(false)));
        actions.extend(adds.into_iter().map(|add| Action::Add(Add { data_change: false, ..add })));
    }
    Ok(())
}

/// The folder of the files that stand for the one at `path`, of which a table has one at most. It lies outside of the
/// run's own folder, in which what no commit took is removed.
pub fn successors(path: &str) -> Path {
    let own = path.strip_suffix(".parquet").unwrap_or(path);
    let own = own.strip_prefix(FOLDER).map_or(own, |rest| rest.trim_start_matches('/'));
    let plain: String =
        own.chars().map(|c| if c.is_ascii_alphanumeric() || "/-_.".contains(c) { c } else { '_' }).collect();
    Path::from(format!("{FOLDER}/{plain}"))
}

/// Writes the rows of one file into `folder` with the columns `schema`, one batch at a time: a value becomes the same
/// one of the wider type, and a column that the file lacks is null.
///
/// # Errors
/// `Kind::TargetUnavailable` where the file cannot be read or written; `Kind::Cancelled` on `stop`.
pub async fn rewrite(
    place: &Place,
    table: &DeltaTable,
    folder: &Folder,
    path: &Path,
    bytes: u64,
    (schema, stop): (&SchemaRef, &CancellationToken),
) -> Result<Vec<Add>, RunError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, %path, "a file of a table cannot be read");
        RunError::new(
            Kind::TargetUnavailable,
            format!("a file of the table of the schema {:?} cannot be read", place.schema),
        )
    };
    let file = StoredFile::new(table.object_store(), path.clone(), bytes);
    let builder = ParquetRecordBatchStreamBuilder::new(file).await.map_err(|e| unreadable(&e))?;
    let stored = builder.schema().clone();
    let sources: Vec<Option<usize>> = schema.fields().iter().map(|f| stored.index_of(f.name()).ok()).collect();
    let batches = builder.with_batch_size(ROWS).build().map_err(|e| unreadable(&e))?;
    let target = SchemaRef::clone(schema);
    let rows = batches.map_err(|e| DataFusionError::ParquetError(Box::new(e))).map(move |batch| {
        let batch = conform(&batch?, &target, &sources)?;
        Ok(batch)
    });
    let rows = run_errors(rows.boxed());
    let written = folder.writer_of_one(schema)?.write(rows, stop).await?;
    Ok(written.adds)
}

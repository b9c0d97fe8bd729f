//! Commits to a table so that a run's rows are in it once or never, whoever else commits meanwhile.

use super::columns;
use super::files;
use super::log::{FACTS, Facts};
use super::table::{COMMITTED, VOIDED};
use super::table::{Place, is_conflict, state, transaction};
use crate::engine::job::{Settings, TableSchema};
use crate::error::{Kind, RunError};
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, MetadataExt, Protocol, StructType, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use rand::RngExt;
use shared::models::node::LoadMode;
use std::time::Duration;

/// Tries before a table is given up that others commit to all the time.
pub const TRIES: u32 = 40;

/// Waits a little before the try with this number, from 1: the longer the more there were.
pub async fn pause(attempt: u32) {
    let most = 20_u64.saturating_mul(1 << attempt.min(6));
    let millis = rand::rng().random_range(most / 2..=most);
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

/// What one try came to.
pub enum Tried {
    /// It is in, as this version.
    Committed(u64),
    /// Another commit came first; ours is not in.
    Conflict,
    /// Nobody knows: it may be in, or even come in later.
    Unknown(RunError),
}

/// Tries once to commit `actions` right after the version that `table` was loaded in, with the run's transaction.
pub async fn try_once(
    place: &Place,
    table: &DeltaTable,
    actions: Vec<Action>,
    facts: &Facts,
) -> Result<Tried, RunError> {
    let version = if facts.load_mode.is_some() { COMMITTED } else { VOIDED };
    let value = serde_json::to_value(facts)
        .map_err(|e| RunError::new(Kind::Internal, format!("the commit cannot be described: {e}")))?;
    let properties = CommitProperties::default()
        .with_metadata([(FACTS.to_owned(), value)])
        .with_application_transaction(Transaction::new(&facts.run_id, version))
        // No tries of its own: they would not look for the transaction.
        .with_max_retries(0);
    let snapshot = state(table)?;
    let commit = CommitBuilder::from(properties)
        .with_actions(actions)
        .build(Some(snapshot), table.log_store(), operation(facts.load_mode))
        .await;
    Ok(match commit {
        Ok(commit) => Tried::Committed(commit.version()),
        Err(error) if is_conflict(&error) => Tried::Conflict,
        Err(error) => Tried::Unknown(place.error("written", error)),
    })
}

fn operation(mode: Option<LoadMode>) -> DeltaOperation {
    let write = |mode| DeltaOperation::Write { mode, partition_by: None, predicate: None };
    match mode {
        None | Some(LoadMode::Append | LoadMode::IncrementalWatermark) => write(SaveMode::Append),
        Some(LoadMode::Truncate) => write(SaveMode::Overwrite),
        Some(LoadMode::Upsert) => DeltaOperation::Merge {
            predicate: None,
            merge_predicate: None,
            matched_predicates: Vec::new(),
            not_matched_predicates: Vec::new(),
            not_matched_by_source_predicates: Vec::new(),
        },
    }
}

/// The columns of the table once this run has committed, and the actions that make them so.
///
/// # Errors
/// `Kind::Target` where a column has another type than its field.
pub fn evolve(table: &DeltaTable, schema: &TableSchema) -> Result<(StructType, Vec<Action>), RunError> {
    let internal = |e: String| RunError::new(Kind::Internal, format!("the table's columns cannot be changed: {e}"));
    let snapshot = state(table)?;
    let current = snapshot.schema();
    let Some(columns) = columns::evolve(&current, &schema.fields, &schema.name)? else {
        return Ok((current.as_ref().clone(), Vec::new()));
    };
    let metadata = snapshot.metadata().clone().with_schema(&columns).map_err(|e| internal(e.to_string()))?;
    let mut actions = vec![Action::Metadata(metadata)];
    if let Some(protocol) = raised(snapshot.protocol(), &columns).map_err(|e| internal(e.to_string()))? {
        actions.push(Action::Protocol(protocol));
    }
    Ok((columns, actions))
}

/// The protocol with the feature that times without a zone need, where the table has it not yet.
fn raised(protocol: &Protocol, columns: &StructType) -> Result<Option<Protocol>, serde_json::Error> {
    const FEATURE: &str = "timestampNtz";
    let mut value = serde_json::to_value(protocol)?;
    let has = |list: &str| value.get(list).and_then(|l| l.as_array()).is_some_and(|l| l.iter().any(|f| f == FEATURE));
    if !columns::needs_timestamp_ntz(columns) || (has("readerFeatures") && has("writerFeatures")) {
        return Ok(None);
    }
    let listed = |list: &str, implied: &[&str]| -> serde_json::Value {
        let mut all: Vec<String> = match value.get(list).and_then(|l| l.as_array()) {
            Some(features) => features.iter().filter_map(|f| f.as_str().map(str::to_owned)).collect(),
            None => implied.iter().map(|f| (*f).to_owned()).collect(),
        };
        all.push(FEATURE.to_owned());
        all.sort();
        all.dedup();
        all.into()
    };
    let readers = listed("readerFeatures", &[]);
    // What writer version 2 asks for without saying so.
    let writers = listed("writerFeatures", &["appendOnly", "invariants"]);
    if let Some(protocol) = value.as_object_mut() {
        protocol.insert("minReaderVersion".to_owned(), 3.into());
        protocol.insert("minWriterVersion".to_owned(), 7.into());
        protocol.insert("readerFeatures".to_owned(), readers);
        protocol.insert("writerFeatures".to_owned(), writers);
    }
    serde_json::from_value(value).map(Some)
}

/// Whether the run's rows are in the table of `schema`; if they are not, commits an empty version with the run's
/// transaction so that they never will be. A commit of the run that comes later meets it and changes nothing.
///
/// # Errors
/// `Kind::TargetUnavailable` where the lake does not answer: nothing is settled then.
pub async fn settle(tenant: &str, schema: &TableSchema, run_id: &str, settings: &Settings) -> Result<bool, RunError> {
    let place = Place::new(tenant, schema, settings)?;
    let facts = Facts { run_id: run_id.to_owned(), load_mode: None, rows_out: 0, skipped_rows: 0 };
    let mut last = None;
    for attempt in 0..TRIES {
        if attempt > 0 {
            pause(attempt).await;
        }
        let table = place.load_or_create(schema).await?;
        match transaction(&place, &table, run_id).await? {
            Some(COMMITTED) => return Ok(true),
            Some(_) => return Ok(false),
            None => {}
        }
        match try_once(&place, &table, Vec::new(), &facts).await? {
            Tried::Committed(_) => {
                // From now on no commit can take them.
                files::remove_run(&place, table.object_store(), run_id).await;
                return Ok(false);
            }
            Tried::Conflict => last = None,
            Tried::Unknown(error) if !error.kind.is_retryable() => return Err(error),
            Tried::Unknown(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| too_busy(&place)))
}

/// The error of a table that never had a moment for this commit.
pub fn too_busy(place: &Place) -> RunError {
    RunError::new(
        Kind::TargetUnavailable,
        format!(
            "the table of the schema {:?} is committed to all the time: {TRIES} tries met another commit each",
            place.schema
        ),
    )
}

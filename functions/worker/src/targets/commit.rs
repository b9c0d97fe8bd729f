//! Commits to a table so that a run's rows are in it once or never, whoever else commits meanwhile.

use super::columns;
use super::log::{FACTS, Facts};
use super::rollback::Undone;
use super::table::{COMMITTED, VOIDED};
use super::table::{Place, closing_id, is_conflict, rollback_id, state, transaction};
use crate::engine::job::TableSchema;
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
    send(place, table, actions, properties, operation(facts.load_mode)).await
}

/// Keeps attempts of the run before `attempt` from replacing its rejected rows any more, so that what they have staged can be
/// removed: by an empty commit, which the table then includes.
///
/// # Errors
/// `Kind::TargetUnavailable` where that cannot be committed.
pub async fn close(place: &Place, table: &mut DeltaTable, run_id: &str, attempt: u32) -> Result<(), RunError> {
    let mut last = None;
    for again in 0..TRIES {
        if again > 0 {
            pause(again).await;
        }
        table.update_state().await.map_err(|e| place.error("read", e))?;
        let closed = transaction(place, table, &closing_id(run_id)).await?;
        if closed.is_some_and(|by| by >= i64::from(attempt)) {
            return Ok(());
        }
        let properties = CommitProperties::default()
            .with_application_transaction(Transaction::new(closing_id(run_id), i64::from(attempt)))
            .with_max_retries(0);
        match send(place, table, Vec::new(), properties, operation(None)).await? {
            // The next look finds it.
            Tried::Committed(_) | Tried::Conflict => {}
            Tried::Unknown(error) if error.kind.is_retryable() => last = Some(error),
            Tried::Unknown(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| too_busy(place)))
}

/// Tries once to commit `actions` that leave the rows as they are, right after the version that `table` was loaded in.
pub async fn try_rewrite(
    place: &Place,
    table: &DeltaTable,
    actions: Vec<Action>,
    operation: DeltaOperation,
) -> Result<Tried, RunError> {
    send(place, table, actions, CommitProperties::default().with_max_retries(0), operation).await
}

/// Tries once to commit `actions` that undo a run, right after the version that `table` was loaded in, with the rollback's
/// own transaction: it has the version that it makes.
pub async fn try_undo(
    place: &Place,
    table: &DeltaTable,
    actions: Vec<Action>,
    undone: &Undone,
    restores: bool,
) -> Result<Tried, RunError> {
    let internal = |e: String| RunError::new(Kind::Internal, format!("the commit cannot be described: {e}"));
    let version = i64::try_from(state(table)?.version() + 1).map_err(|e| internal(e.to_string()))?;
    let value = serde_json::to_value(undone).map_err(|e| internal(e.to_string()))?;
    let properties = CommitProperties::default()
        .with_metadata([(FACTS.to_owned(), value)])
        .with_application_transaction(Transaction::new(rollback_id(&undone.rollback_of), version))
        .with_max_retries(0)
        // Whoever answers a request has no time for these, and no right to remove files.
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false));
    let operation = if restores {
        DeltaOperation::Restore { version: Some(undone.undoes.saturating_sub(1)), datetime: None }
    } else {
        DeltaOperation::Delete { predicate: None }
    };
    send(place, table, actions, properties, operation).await
}

async fn send(
    place: &Place,
    table: &DeltaTable,
    actions: Vec<Action>,
    properties: CommitProperties,
    operation: DeltaOperation,
) -> Result<Tried, RunError> {
    let builder = CommitBuilder::from(properties).with_actions(actions);
    Ok(match builder.build(Some(state(table)?), table.log_store(), operation).await {
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

/// A property of the table that a commit sets, or removes.
pub type Property = (String, Option<String>);

/// The columns of the table once this run has committed, and the actions that make them so and set `property`.
///
/// # Errors
/// `Kind::Target` where a column has another type than its field.
pub fn evolve(
    table: &DeltaTable,
    schema: &TableSchema,
    property: Option<Property>,
) -> Result<(StructType, Vec<Action>), RunError> {
    let snapshot = state(table)?;
    let current = snapshot.schema();
    let columns = columns::evolve(&current, &schema.fields, &schema.name)?;
    let actions = describe(table, columns.as_ref(), property)?;
    Ok((columns.unwrap_or_else(|| current.as_ref().clone()), actions))
}

/// The actions that give the table these columns and a property; none where nothing is to change.
///
/// # Errors
/// `Kind::Internal` where the description cannot be written.
pub fn describe(
    table: &DeltaTable,
    columns: Option<&StructType>,
    property: Option<Property>,
) -> Result<Vec<Action>, RunError> {
    let internal = |e: String| RunError::new(Kind::Internal, format!("the table cannot be described anew: {e}"));
    if columns.is_none() && property.is_none() {
        return Ok(Vec::new());
    }
    let snapshot = state(table)?;
    let mut metadata = snapshot.metadata().clone();
    let mut actions = Vec::new();
    if let Some(columns) = columns {
        metadata = metadata.with_schema(columns).map_err(|e| internal(e.to_string()))?;
        if let Some(protocol) = raised(snapshot.protocol(), columns).map_err(|e| internal(e.to_string()))? {
            actions.push(Action::Protocol(protocol));
        }
    }
    if let Some((key, value)) = property {
        let changed = match value {
            Some(value) => metadata.add_config_key(key, value),
            None => metadata.remove_config_key(&key),
        };
        metadata = changed.map_err(|e| internal(e.to_string()))?;
    }
    actions.insert(0, Action::Metadata(metadata));
    Ok(actions)
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

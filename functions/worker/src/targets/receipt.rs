//! What a target tells a run's receipt: the commit that has its rows, read back from the table's log.

use super::log::{self, Entry};
use super::rejected;
use super::table::{COMMITTED, Place, rolled_back, transaction};
use super::target::Target;
use super::watermark::Watermark;
use crate::engine::job::{Earlier, Settings, TableSchema};
use crate::error::{Kind, RunError};
use shared::models::receipt::{self, DeltaTransaction, DeltaWrite, TargetKind, WatermarkMove};

/// The target with the rows that `run` has written; `entry` is none where the log no longer reaches back to its commit.
pub fn of(place: &Place, schema: &TableSchema, run: &str, entry: Option<&Entry>) -> receipt::Target {
    let facts = entry.and_then(|entry| entry.facts.as_ref());
    let value = |mark: &Option<Watermark>| mark.as_ref().map(|mark| mark.value.clone());
    let watermark = facts.and_then(|facts| facts.watermark.as_ref()).map(|moved| WatermarkMove {
        column: moved.column.clone(),
        before: value(&moved.before),
        after: value(&moved.after),
        shortened: false,
    });
    receipt::Target {
        node_id: None,
        kind: if rejected::is_one(&schema.id) { TargetKind::Rejected } else { TargetKind::Delta },
        table: schema.name.clone(),
        written_by: run.to_owned(),
        attempt: facts.map(|facts| facts.attempt).filter(|attempt| *attempt > 0),
        load_mode: facts.and_then(|facts| facts.load_mode),
        rows: facts.map_or(0, |facts| facts.rows_out),
        skipped_rows: facts.map_or(0, |facts| facts.skipped_rows),
        delta: entry.map(|entry| DeltaWrite {
            schema_id: schema.id.clone(),
            location: place.location.clone(),
            version_before: facts.and_then(|facts| facts.read_version),
            version_after: entry.version,
            transaction: DeltaTransaction { app_id: run.to_owned(), version: COMMITTED },
            files_added: entry.files.len() as u64,
            files_removed: entry.removed.len() as u64,
            bytes_added: entry.bytes,
            records_added: entry.records,
            watermark,
            entry_hash: entry.hash.clone(),
        }),
        database: None,
    }
}

/// What the table of `schema` says of a run that was settled: the commit that has its rows, or those of an earlier run
/// that it left to stand; none where there are none.
///
/// # Errors
/// `Kind::TargetUnavailable` where the lake does not answer.
pub async fn recorded(
    tenant: &str,
    schema: &TableSchema,
    run_id: &str,
    earlier: &[Earlier],
    settings: &Settings,
) -> Result<Option<receipt::Target>, RunError> {
    let place = Place::new(tenant, schema, settings)?;
    let Some(table) = place.load(None).await? else { return Ok(None) };
    let left = earlier.iter().filter(|run| !run.replace).map(|run| run.run_id.as_str());
    for run in std::iter::once(run_id).chain(left) {
        if transaction(&place, &table, run).await? != Some(COMMITTED) || rolled_back(&place, &table, run).await? {
            continue;
        }
        return Ok(Some(match log::find(&place, &table, run).await {
            Ok(entry) => of(&place, schema, run, Some(&entry)),
            Err(error) if error.kind == Kind::Target => of(&place, schema, run, None),
            Err(error) => return Err(error),
        }));
    }
    Ok(None)
}

impl Target {
    /// What it tells the run's receipt; none before its commit.
    pub fn receipt(&self) -> Option<receipt::Target> {
        let run = self.done_by.as_deref()?;
        let target = of(&self.place, &self.schema, run, self.entry.as_ref());
        let node_id = (target.kind == TargetKind::Delta).then(|| self.node.clone());
        Some(receipt::Target { node_id, ..target })
    }
}

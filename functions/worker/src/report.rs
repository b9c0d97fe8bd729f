//! What the engine counted, as the store keeps it.

use crate::engine::progress::{Progress, RowError, Spooled};
use crate::error::RunError;
use shared::Result;
use shared::models::node::NodeType;
use shared::models::run::{self, LogLine, NodeProgress, PartitionDetail, Rows, RuleWarnings, Run, RunFailure};
use shared::models::time::JsonText;
use shared::store::Store;
use shared::store::errors::ErrorWriter;
use shared::store::receipts::Reading;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

/// The most rejected rows that are sorted at once, in memory; of more, each such part is sorted by itself.
const SORTED: usize = 20_000;
/// How many partitions the progress shows by name.
const PARTITIONS: usize = 200;

/// The progress of a run.
pub(crate) fn progress(progress: &Progress) -> run::Progress {
    let nodes: Vec<NodeProgress> = progress
        .nodes()
        .iter()
        .map(|n| NodeProgress {
            id: n.id.clone(),
            name: n.name.clone(),
            node_type: n.node_type,
            rows_in: n.rows_in.load(Relaxed),
            rows_out: n.rows_out.load(Relaxed),
            filtered: n.filtered.load(Relaxed),
            rejected: n.rejected.load(Relaxed),
            deduplicated: n.deduplicated.load(Relaxed),
            warnings: n.warnings.all().into_iter().map(|(rule, rows)| RuleWarnings { rule, rows }).collect(),
        })
        .collect();
    let rows = rows(progress, 0);
    let total = progress.total_rows.load(Relaxed);
    let partitions = progress.partition_details();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    run::Progress {
        total_rows: (total > 0).then_some(total.max(rows.rows_in)),
        processed_rows: rows.rows_in,
        rows_in: rows.rows_in,
        rows_out: rows.rows_out,
        failed_rows: rows.failed,
        skipped_rows: skipped(progress),
        partitions: count(partitions.len()),
        completed_partitions: count(partitions.iter().filter(|p| p.status == "completed").count()),
        partition_details: partitions
            .into_iter()
            .take(PARTITIONS)
            .map(|p| PartitionDetail { name: p.name, status: p.status, rows: p.rows })
            .collect(),
        nodes,
        validation_errors: progress.first_errors().into_iter().map(row_error).collect(),
        log: progress
            .log_lines()
            .into_iter()
            .map(|l| LogLine { stage: l.stage, message: l.message, timestamp: l.timestamp })
            .collect(),
    }
}

/// The rows that load modes left out so far.
pub(crate) fn skipped(progress: &Progress) -> u64 {
    let targets = progress.nodes();
    let targets = targets.iter().filter(|n| n.node_type == NodeType::Target);
    targets.map(|n| n.filtered.load(Relaxed) + n.deduplicated.load(Relaxed)).sum()
}

/// What an attempt has read so far, for the receipt.
pub(crate) fn reading(progress: &Progress, attempt: u32) -> Reading {
    let rows = Some(rows(progress, skipped(progress)));
    let nodes = self::progress(progress).nodes;
    Reading { attempt, rows, inputs: JsonText(progress.inputs.of(attempt)), nodes: JsonText(nodes) }
}

/// The rows so far: what sources gave and targets took.
pub(crate) fn rows(progress: &Progress, skipped: u64) -> Rows {
    let nodes = progress.nodes();
    let of = |kind: NodeType| nodes.iter().filter(move |n| n.node_type == kind);
    Rows {
        rows_in: of(NodeType::Source).map(|n| n.rows_in.load(Relaxed)).sum(),
        rows_out: of(NodeType::Target).map(|n| n.rows_out.load(Relaxed)).sum(),
        failed: progress.rejected(),
        skipped,
    }
}

fn row_error(e: RowError) -> run::RowError {
    run::RowError { row: e.row, column: e.column, value: e.value, error: e.error, node: e.node }
}

/// Keeps the rejected rows of a run's attempt, so that callers can read all of them; answers the attempt where
/// there are any.
///
/// # Errors
/// Where the store does not take them, or the worker's disk does not give them back.
pub(crate) async fn keep_errors(store: &Store, run: &Run, spool: Option<&Path>) -> Result<Option<u32>> {
    let Some(path) = spool else { return Ok(None) };
    let file = std::fs::File::open(path).map_err(shared::Error::internal)?;
    let mut writer = ErrorWriter::new(store, run);
    let mut sorted: Vec<Spooled> = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(shared::Error::internal)?;
        sorted.push(serde_json::from_str(&line).map_err(shared::Error::internal)?);
        if sorted.len() >= SORTED {
            push_all(&mut writer, &mut sorted).await?;
        }
    }
    push_all(&mut writer, &mut sorted).await?;
    writer.flush().await?;
    Ok(Some(run.attempt))
}

/// Adds rejected rows in the order of their sources and rows: partitions reject at the same time.
async fn push_all(writer: &mut ErrorWriter<'_>, rows: &mut Vec<Spooled>) -> Result<()> {
    rows.sort_by_key(Spooled::place);
    for row in rows.drain(..) {
        writer.push(row_error(row.error)).await?;
    }
    Ok(())
}

/// A run's end, as callers read it.
pub(crate) fn failure(error: &RunError) -> RunFailure {
    RunFailure {
        code: error.kind.code().to_owned(),
        message: error.message.clone(),
        node_id: error.node.clone(),
        retryable: error.kind.is_retryable(),
    }
}
